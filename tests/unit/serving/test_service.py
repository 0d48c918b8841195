"""The warm side of /predict: switches are noticed, broken ones refused, an outage survived."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from dropforge.errors import BundleRejected, NotFound, Unavailable
from dropforge.serving.prediction_service import REFRESH_INTERVAL_SECONDS, PredictService

BODY = json.dumps({"records": [{"age": 40, "job": "cook", "member": True, "joined": "2021-05-01"}]}).encode()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """The service over a fake store, with a clock that tests move."""

    def __init__(self, stored: Any) -> None:
        self.store, self.activate = stored
        self.clock = Clock()
        self.service = PredictService(self.store, "bucket", logging.getLogger("test"), self.clock)

    def version(self) -> str:
        return str(self.service.predict(BODY, "application/json")["model"]["version"])

    def later(self) -> None:
        self.clock.now += REFRESH_INTERVAL_SECONDS


@pytest.fixture
def served(stored: Any) -> Service:
    return Service(stored)


def test_nothing_active_is_told_with_the_way_out(served: Service) -> None:
    """409 with the call that makes a model active; once it is, the same instance answers."""
    with pytest.raises(NotFound) as caught:
        served.version()
    assert (caught.value.status, caught.value.code) == (409, "no_active_model")
    assert "POST /set_model" in caught.value.fix
    served.activate("1")
    served.later()
    assert served.version() == "1"


def test_a_switch_is_noticed_without_a_restart(served: Service) -> None:
    """Within the look interval, and not before the interval is over: the store is not asked at every request."""
    served.activate("1")
    assert served.version() == "1"
    served.activate("2")
    assert served.version() == "1"
    served.later()
    assert served.version() == "2"


def test_the_memory_of_a_replaced_model_is_returned(served: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a switch the C library is asked for its free pages: else the process grows with each. A first model replaces none."""
    trims: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(malloc_trim=trims.append))
    served.activate("1")
    served.version()
    assert trims == []
    for version in ("2", "3"):
        served.activate(version)
        served.later()
        assert [served.version() for _ in range(3)] == [version] * 3
    assert trims == [0, 0]


def test_a_replaced_model_is_gone_at_once(served: Service) -> None:
    """No cycle of references holds it and its session until the collector looks at all objects, which is seldom."""
    served.activate("1")
    served.version()
    gc.collect()
    gc.disable()
    try:
        loaded = served.service._loaded
        assert loaded is not None
        old = [weakref.ref(loaded[1]), weakref.ref(loaded[1]._session)]
        del loaded
        assert all(part() is not None for part in old)
        served.activate("2")
        served.later()
        served.version()
        assert [part() for part in old] == [None, None]
    finally:
        gc.enable()


def test_a_broken_bundle_is_refused_and_the_old_model_goes_on(served: Service) -> None:
    """An altered graph behind the pointer changes no answer; a good one afterwards does."""
    served.activate("1")
    assert served.version() == "1"
    served.activate("2", onnx=b"altered")
    served.later()
    assert served.version() == "1"
    served.activate("3")
    served.later()
    assert served.version() == "3"


def test_a_broken_bundle_with_no_old_model_is_told(served: Service) -> None:
    """The first model of an instance cannot be replaced by nothing: the caller gets the reason."""
    served.activate("1", onnx=b"altered")
    with pytest.raises(BundleRejected):
        served.version()


def test_the_old_model_answers_while_the_store_is_away(served: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer stops no prediction."""
    served.activate("1")
    assert served.version() == "1"

    def away(*_: Any) -> Any:
        raise Unavailable("the store is away")

    monkeypatch.setattr(served.store, "get_if_changed", away)
    served.later()
    assert served.version() == "1"


def test_the_answer_carries_the_models_identity(served: Service) -> None:
    """Name, version, alias and run; probabilities by class that add up to one; the threshold used."""
    served.activate("1")
    answer = served.service.predict(BODY, "application/json")
    assert answer["model"] == {"name": "demo-forest", "version": "1", "alias": "Production", "run_id": "r1"}
    assert sum(answer["predictions"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["threshold"] == 0.4
    json.dumps(answer, allow_nan=False)
