"""What is kept of live traffic: by id, beside the answer, whole objects that are written once."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from dropforge import background_worker
from dropforge.api import predict, proxy_event, resolver
from dropforge.deployment.active_model import Active
from dropforge.errors import Unavailable
from dropforge.monitoring import capture
from dropforge.serving.prediction_service import PredictService
from dropforge.serving.query_options import DEFAULT
from dropforge_local.memory import MemoryStore

ROW = {"age": 40, "job": "cook", "member": True, "joined": "2021-05-01"}


def _body(rows: int = 1) -> bytes:
    return json.dumps({"records": [{**ROW, "extra": "not kept"}] * rows}).encode()


@pytest.fixture
def service(stored: Any, monkeypatch: pytest.MonkeyPatch) -> PredictService:
    """Every request is kept; nothing is written before the test asks for it."""
    monkeypatch.setattr(capture.Capture, "_run", lambda _self: None)
    store, activate = stored
    active: Active = activate("7")
    store.put("s3://bucket/serving/active.json", json.dumps({**json.loads(active.to_json()), "capture": 1.0}).encode())
    return PredictService(store, "bucket", logging.getLogger("test"))


def _lines(store: MemoryStore) -> list[dict[str, Any]]:
    result = store.list("s3://bucket/captured/")
    return [json.loads(line) for o in result for line in store.get(o.uri).body.splitlines()]


def test_a_request_is_kept_with_its_answer(service: PredictService, stored: Any) -> None:
    """One line a row, under the model's name and version: the id of the answer, the features as sent, what was answered."""
    created = service.predict(_body(2), "application/json", DEFAULT, "id-1")
    assert _lines(stored[0]) == []  # answered before anything is written
    assert service.capture.flush()
    first, second = _lines(stored[0])
    assert (first["prediction_id"], first["row"], second["row"]) == (created["prediction_id"], 0, 1)
    assert first["features"] == ROW
    assert first["label"] == created["predictions"][0]["label"]
    assert first["probabilities"] == created["predictions"][0]["probabilities"]
    uris = [o.uri for o in stored[0].list("s3://bucket/captured/")]
    assert len(uris) == 1
    assert uris[0].startswith("s3://bucket/captured/20")
    assert uris[0].split("/")[5:7] == ["demo-forest", "7"]


def test_a_share_is_chosen_by_id_alone() -> None:
    """The same request falls the same way every time, about as many as asked for fall, and purposes do not go together."""
    ids = [f"request-{i}" for i in range(4000)]
    stored = {i for i in ids if capture.is_sampled(i, 0.25, "capture")}
    assert stored == {i for i in ids if capture.is_sampled(i, 0.25, "capture")}
    assert 0.22 < len(stored) / len(ids) < 0.28
    both = [i for i in stored if capture.is_sampled(i, 0.25, "canary")]
    assert 0.2 < len(both) / len(stored) < 0.3
    assert not [i for i in ids if capture.is_sampled(i, 0.0, "capture")]
    assert all(capture.is_sampled(i, 1.0, "capture") for i in ids)


def test_an_outage_of_the_store_loses_no_row(service: PredictService, stored: Any, monkeypatch: Any) -> None:
    """Rows wait while the store is away, are written once under the name they were given, and no answer fails."""
    store = stored[0]
    service.predict(_body(), "application/json", DEFAULT, "a")
    put, tried = store.put, []

    def away(uri: str, *_: Any, **__: Any) -> str:
        tried.append(uri)
        raise Unavailable("away", code="store_unavailable")

    monkeypatch.setattr(store, "put", away)
    assert not service.capture.flush()
    service.predict(_body(), "application/json", DEFAULT, "b")
    assert not service.capture.flush()
    monkeypatch.setattr(store, "put", put)
    assert service.capture.flush()
    assert sorted(line["prediction_id"] for line in _lines(store)) == ["a", "b"]
    assert tried[0] in {o.uri for o in store.list("s3://bucket/captured/")}
    assert service.capture.flush()
    assert len(_lines(store)) == 2


def test_what_cannot_be_held_is_counted(service: PredictService, stored: Any, monkeypatch: Any, caplog: Any) -> None:
    """Memory is bounded: rows beyond it are let go, and the metric says how many."""
    monkeypatch.setattr(service.capture, "_most", 2)
    for i in range(3):
        service.predict(_body(), "application/json", DEFAULT, str(i))
    with caplog.at_level(logging.INFO):
        service.capture.flush()
    assert len(_lines(stored[0])) == 2
    assert [r.metrics for r in caplog.records if r.message == "captured"] == [{"Captured": 2, "CaptureLost": 1}]


def test_nothing_is_kept_unless_asked_for(stored: Any) -> None:
    """Requests are the callers' data: the default keeps none and starts no thread."""
    store, activate = stored
    activate("1")
    service = PredictService(store, "bucket", logging.getLogger("test"))
    service.predict(_body(), "application/json", DEFAULT, "a")
    service.capture.flush()
    assert _lines(store) == []


def test_the_thread_writes_by_itself(stored: Any) -> None:
    """The first row after a quiet time is written at once, by the thread, without anybody asking."""
    store, activate = stored
    active = activate("7")
    store.put("s3://bucket/serving/active.json", json.dumps({**json.loads(active.to_json()), "capture": 1.0}).encode())
    service = PredictService(store, "bucket", logging.getLogger("test"))
    service.predict(_body(), "application/json", DEFAULT, "a")
    for _ in range(500):
        if _lines(store):
            break
        time.sleep(0.01)
    assert [line["prediction_id"] for line in _lines(store)] == ["a"]


class _Frozen:
    """A store whose writes take a moment, and fail once the process is frozen: Lambda runs no thread between two requests."""

    def __init__(self, store: MemoryStore) -> None:
        self._store, self.frozen = store, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, uri: str, body: bytes, **arguments: Any) -> str:
        time.sleep(0.05)
        if self.frozen:
            raise AssertionError("a thread ran after the answer")
        return self._store.put(uri, body, **arguments)


@pytest.fixture
def lambda_like(stored: Any) -> tuple[PredictService, _Frozen]:
    """A service that keeps every request, over a store that a frozen process cannot reach."""
    store, activate = stored
    active: Active = activate("7")
    store.put("s3://bucket/serving/active.json", json.dumps({**json.loads(active.to_json()), "capture": 1.0}).encode())
    frozen = _Frozen(store)
    return PredictService(frozen, "bucket", logging.getLogger("test")), frozen  # type: ignore[arg-type] # a store as far as it is used


def _call(service: PredictService, request_id: str, left: float = 10.0) -> proxy_event.Response:
    """One request as the Lambda handler serves it."""
    event = {
        "httpMethod": "POST",
        "resource": "/predict",
        "body": _body().decode(),
        "requestContext": {"requestId": request_id},
    }
    event["headers"] = {"content-type": "application/json"}
    answered = resolver.dispatch(proxy_event.read(event), predict, lambda: service)
    return predict.settled(answered, service, left)


def test_a_sparse_request_is_written_before_its_answer(
    lambda_like: tuple[PredictService, _Frozen], stored: Any
) -> None:
    """Whatever happens to the process after the answer, the row is in the store: no thread has to run any more."""
    service, frozen = lambda_like
    answer = _call(service, "a")
    frozen.frozen = True
    assert [line["prediction_id"] for line in _lines(stored[0])] == ["a"]
    assert "CapturePending" not in answer.metrics


def test_what_a_frozen_process_holds_is_counted(lambda_like: tuple[PredictService, _Frozen], stored: Any) -> None:
    """Rows right after a write wait for the next request; each answer says how many, and the next due one takes them along."""
    service, _ = lambda_like
    _call(service, "a")
    assert _call(service, "b").metrics["CapturePending"] == 1
    service.capture._done_at -= background_worker.SETTLE_SECONDS  # a second later
    assert "CapturePending" not in _call(service, "c").metrics
    assert sorted(line["prediction_id"] for line in _lines(stored[0])) == ["a", "b", "c"]


def test_no_answer_waits_for_a_store_that_is_away(
    lambda_like: tuple[PredictService, _Frozen], monkeypatch: Any
) -> None:
    """While writes fail, and near the end of an invocation, the answer goes out at once and its rows stay counted."""
    service, _ = lambda_like
    monkeypatch.setattr(service.capture, "_run", lambda: None)  # nobody would ever wake the one who waits
    assert _call(service, "a", left=1.0).metrics["CapturePending"] == 1
    service.capture._failing = True
    assert _call(service, "b").metrics["CapturePending"] == 2
    assert not service.capture._hurried
