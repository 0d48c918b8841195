"""A canary answers its share, a shadow answers nobody, and neither can harm the active model."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from dropforge import background_worker
from dropforge.deployment.active_model import Active, ActivePointer, Candidate
from dropforge.errors import InvalidRequest, Unavailable
from dropforge.inference.predictor import Predictor
from dropforge.serving.prediction_service import REFRESH_INTERVAL_SECONDS, PredictService
from dropforge.serving.query_options import Options

BODY = json.dumps({"records": [{"age": 40, "job": "cook", "member": True, "joined": "2021-05-01"}]}).encode()
IDS = [f"id-{i}" for i in range(400)]


class Beside:
    """Version 1 answers, version 2 is the candidate."""

    def __init__(self, stored: Any) -> None:
        self.store, self.activate = stored
        self.now = 0.0
        self.service = PredictService(self.store, "bucket", logging.getLogger("test"), lambda: self.now)

    def begin(
        self, weight: float = 0.0, *, shadow: bool = False, capture: float = 0.0, onnx: bytes | None = None
    ) -> None:
        self.activate("1")
        second = self.activate("2", point=False, onnx=onnx)
        pointer = ActivePointer(self.store, "bucket")
        active, etag = pointer.read()
        named = Candidate(
            second.model,
            "2",
            "Staging",
            second.run_id,
            second.bundle_uri,
            second.bundle_sha256,
            weight=weight,
            shadow=shadow,
        )
        pointer.replace(replace(active, number=5, candidate=named, capture=capture), etag)

    def versions(self, options: Options = Options()) -> list[str]:  # noqa: B008 - frozen
        created = [self.service.predict(BODY, "application/json", options, i) for i in IDS]
        return [m["model"]["version"] for m in created]


@pytest.fixture
def beside(stored: Any, monkeypatch: pytest.MonkeyPatch) -> Beside:
    """Work beside the answers is done when the test asks for it."""
    monkeypatch.setattr(background_worker.BackgroundWorker, "_run", lambda _self: None)
    return Beside(stored)


def _metrics(caplog: Any) -> list[dict[str, int]]:
    return [r.metrics for r in caplog.records if getattr(r, "metrics", None)]


def test_a_canary_answers_its_share(beside: Beside) -> None:
    """About as many requests as asked for, the same ones every time, and the answer says who gave it."""
    beside.begin(0.2)
    first = beside.versions()
    assert 0.13 < first.count("2") / len(first) < 0.27
    assert beside.versions() == first


def test_who_names_a_model_gets_that_model(beside: Beside) -> None:
    """A request that names the active model is none for the canary."""
    beside.begin(0.9)
    assert set(beside.versions(Options(model="forest"))) == {"1"}


@pytest.mark.parametrize("how", ["altered", "gone"])
def test_a_broken_candidate_is_left_out(beside: Beside, how: str, caplog: Any) -> None:
    """It cannot be loaded: the active model answers everything, and the metric says so once."""
    beside.begin(0.9, shadow=True, onnx=b"altered")
    if how == "gone":
        get = beside.store.get
        beside.store.get = lambda uri, version="": get(uri.replace("/2/", "/none/"), version)
    with caplog.at_level(logging.INFO):
        assert set(beside.versions()) == {"1"}
        beside.now += REFRESH_INTERVAL_SECONDS
        assert set(beside.versions()) == {"1"}
    assert _metrics(caplog) == [{"CandidateFailed": 1}]


def test_a_candidate_that_fails_on_a_request_leaves_it_to_the_active_model(
    beside: Beside, monkeypatch: Any, caplog: Any
) -> None:
    """Whatever it raises: no caller feels it, each failure is counted; a caller's own mistake is told as such and is not."""
    beside.begin(0.99)
    beside.versions()
    second = beside.service._candidate._second
    assert second is not None
    predict = Predictor.predict

    def breaks(self: Predictor, records: Any) -> Any:
        if self is second.predictor:
            raise ZeroDivisionError("broken")
        return predict(self, records)

    monkeypatch.setattr(Predictor, "predict", breaks)
    with caplog.at_level(logging.INFO):
        assert set(beside.versions()) == {"1"}
    assert len(_metrics(caplog)) > 380
    caplog.clear()
    with pytest.raises(InvalidRequest), caplog.at_level(logging.INFO):
        beside.service.predict(b'{"records": [{"age": 1}]}', "application/json", Options(), "id-1")
    assert _metrics(caplog) == []


def test_a_candidate_is_loaded_once_the_store_is_back(beside: Beside, monkeypatch: Any) -> None:
    """An outage while it is loaded leaves it out for now, not for good."""
    beside.begin(0.9)
    get = beside.store.get

    def away(uri: str, version: str = "") -> Any:
        if "/2/" in uri:
            raise Unavailable("away", code="store_unavailable")
        return get(uri, version)

    monkeypatch.setattr(beside.store, "get", away)
    assert set(beside.versions()) == {"1"}
    monkeypatch.setattr(beside.store, "get", get)
    beside.now += REFRESH_INTERVAL_SECONDS
    assert "2" in beside.versions()


def test_a_shadow_answers_nobody_and_its_disagreement_is_counted(beside: Beside, monkeypatch: Any, caplog: Any) -> None:
    """Every answer is the active model's; after it the candidate is scored, and what it says otherwise is a metric."""
    beside.begin(shadow=True)
    assert set(beside.versions()) == {"1"}
    second = beside.service._candidate._second
    assert second is not None
    with caplog.at_level(logging.INFO):
        beside.service.shadow.flush()
    assert _metrics(caplog) == [{"ShadowRows": 400, "ShadowDisagreements": 0}]
    caplog.clear()
    decide = Predictor.decide
    monkeypatch.setattr(
        Predictor, "decide", lambda self, p: 1 - decide(self, p) if self is second.predictor else decide(self, p)
    )
    beside.versions()
    with caplog.at_level(logging.INFO):
        beside.service.shadow.flush()
    assert _metrics(caplog) == [{"ShadowRows": 400, "ShadowDisagreements": 400}]


def test_what_the_shadow_says_is_kept_beside_the_answers(beside: Beside) -> None:
    """For monitoring: under the candidate's own version and the same prediction ids, marked as shadow."""
    beside.begin(shadow=True, capture=1.0)
    beside.versions()
    beside.service.shadow.flush()
    beside.service.capture.flush()
    lines: dict[str, list[Any]] = {}
    for o in beside.store.list("s3://bucket/captured/"):
        for line in beside.store.get(o.uri).body.splitlines():
            value = json.loads(line)
            lines.setdefault(f"{value['version']} {value['shadow']}", []).append(value["prediction_id"])
    assert {k: sorted(v) for k, v in lines.items()} == {"1 False": sorted(IDS), "2 True": sorted(IDS)}


def test_a_failing_shadow_is_counted(beside: Beside, monkeypatch: Any, caplog: Any) -> None:
    """Rows it could not score are failures, not agreement."""
    beside.begin(shadow=True)
    beside.versions()

    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(Predictor, "predict", breaks)
    with caplog.at_level(logging.INFO):
        beside.service.shadow.flush()
    assert _metrics(caplog) == [{"ShadowRows": 0, "ShadowDisagreements": 0, "CandidateFailed": 400}]


def test_the_pointer_keeps_its_candidate(stored: Any) -> None:
    """Written and read again it is the same, whatever the candidate."""
    _, activate = stored
    active = replace(activate("3"), candidate=Candidate("m", "2", "a", "r", "u", "s", weight=0.25, shadow=True))
    assert Active.from_json(active.to_json()) == active
