"""A model without a graph answers as one with a graph does, asked in a function of its own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from dropforge.batch import score_file
from dropforge.batch.batch_ports import BatchPorts
from dropforge.config import settings_store
from dropforge.deployment import verified_bundle
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import BundleRejected, DropforgeError, Unavailable
from dropforge.inference.bundle_manifest import BundleManifest, GraphInput, PythonModel
from dropforge.messages import UploadEvent
from dropforge.serving import remote_python
from dropforge.serving.prediction_service import PredictService, open_active
from dropforge.serving.query_options import Options
from dropforge.uploads.upload_repository import UploadRepository
from dropforge_local.memory import MemoryStore, MemoryWorkflow
from dropforge_local.memory_function import MemoryFunction
from dropforge_training.export import onnx_graph, pickled_pipeline
from dropforge_training.models.random_forest import RandomForest

from ...log_lines import log_lines

LOG = logging.getLogger("test")
BUCKET = "bucket"


@dataclass
class Served:
    """The forest of the other tests, kept both ways: version 1 as a graph, version 2 as a pickle."""

    store: MemoryStore
    function: MemoryFunction
    manifest: BundleManifest
    pickled: bytes
    point: Callable[[str], Active]

    def service(self, *, deployed: bool = True) -> PredictService:
        created = (lambda: self.function) if deployed else (lambda: None)
        return PredictService(self.store, BUCKET, LOG, clock=lambda: 0.0, python=created)


def put(store: MemoryStore, manifest: BundleManifest, body: bytes, version: str) -> Active:
    """Keep a bundle as this version."""
    uri = f"s3://artifacts/{version}/bundle"
    store.put(f"{uri}/manifest.json", manifest.to_json())
    store.put(f"{uri}/{manifest.model_file}", body)
    sha256 = hashlib.sha256(manifest.to_json()).hexdigest()
    active = Active("demo-forest", version, "Production", "r1", uri, sha256, number=int(version))
    serve = "python" if manifest.python else "onnx"
    ModelRecords(store, BUCKET).write(ModelRecord.of(active, serve=serve, by="test"))
    return active


@pytest.fixture(scope="session")
def pickled(bundle: Any) -> tuple[BundleManifest, bytes]:
    """The forest's bundle as `serve: python` makes it."""
    body, named = pickled_pipeline.dump(bundle.model, RandomForest())
    kinds = {"float32": "float64", "string": "text"}
    inputs = tuple(GraphInput(i.name, kinds[i.dtype], i.features) for i in bundle.manifest.inputs)
    return replace(bundle.manifest, python=named, inputs=inputs, onnx_sha256="", explanation={}), body


@pytest.fixture
def served(bundle: Any, pickled: tuple[BundleManifest, bytes]) -> Served:
    store = MemoryStore()
    versions = {"1": put(store, bundle.manifest, bundle.onnx, "1"), "2": put(store, *pickled, "2")}

    def point(version: str) -> Active:
        pointer = ActivePointer(store, BUCKET)
        pointer.replace(versions[version], pointer.etag())
        return versions[version]

    return Served(store, MemoryFunction(pickled_pipeline.PythonModels(store, BUCKET, LOG).answer), *pickled, point)


def answer_of(service: PredictService, body: str, content_type: str = "application/json", **options: Any) -> Any:
    """The answer, or the error as a caller reads it."""
    try:
        return service.predict(body.encode(), content_type, Options(**options), "id")
    except DropforgeError as error:
        return {"status": error.status, **error.as_dict()}


def body_of(*rows: dict[str, Any]) -> str:
    return json.dumps({"records": rows})


ROW = {"age": 40, "job": "nurse", "member": True, "joined": "2021-03-04"}
REQUESTS = {
    "plain": body_of(ROW, {**ROW, "age": 25.5, "job": "cook"}),
    "missing": body_of(dict.fromkeys(ROW, None), {**ROW, "job": " ? ", "age": "?"}),
    "unseen and out of range": body_of({**ROW, "job": "astronaut", "age": 400}),
    "other types": body_of({"age": "41", "job": 7, "member": "yes", "joined": "04.03.2021 05:06"}),
    "a column too many": body_of({**ROW, "bought": "no"}),
    "a column too few": body_of({"age": 40}),
    "no number": body_of({**ROW, "age": "old"}),
    "no date": body_of({**ROW, "joined": "soon"}),
    "a list": body_of({**ROW, "job": ["nurse"]}),
    "no rows": body_of(),
    "no JSON": "{",
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("coverage", [0.0, 0.9, 0.5])
def test_answers_are_those_of_the_graph(served: Served, name: str, coverage: float) -> None:
    """Labels, sets, warnings, threshold, errors and identity are equal; probabilities to float32."""
    created = []
    for version in ("1", "2"):
        served.point(version)
        created.append(answer_of(served.service(), REQUESTS[name], coverage=coverage))
    graph, python = created
    for one in created:
        if "model" in one:
            one["model"].pop("version")
    chances = [[p.pop("probabilities") for p in one.get("predictions", [])] for one in created]
    assert python == graph
    for ours, theirs in zip(*chances, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_an_explanation_is_refused_with_the_way_out(served: Served) -> None:
    """No contributions are made up: the request is told that this model has none."""
    served.point("2")
    answer = answer_of(served.service(), REQUESTS["plain"], explain=True)
    assert (answer["status"], answer["code"]) == (422, "not_explainable")
    assert "explain=true" in answer["fix"]


def test_without_the_function_the_old_model_goes_on(served: Served) -> None:
    """A switch to a model that nobody here can run is refused by predict; with no other model the caller is told what to deploy."""
    served.point("1")
    clock = iter([0.0, 0.0, 10.0, 10.0, 10.0, 10.0])
    service = PredictService(served.store, BUCKET, LOG, clock=lambda: next(clock, 20.0))
    assert answer_of(service, REQUESTS["plain"])["model"]["version"] == "1"
    served.point("2")
    assert answer_of(service, REQUESTS["plain"])["model"]["version"] == "1"
    answer = answer_of(served.service(deployed=False), REQUESTS["plain"])
    assert (answer["status"], answer["code"]) == (409, "python_not_served")
    assert "TrainingImageUri" in answer["fix"]


def test_a_function_that_fails_is_told_as_busy_not_as_wrong(served: Served) -> None:
    """Whatever happens over there: 503, try again."""
    served.point("2")
    service = served.service()
    assert "predictions" in answer_of(service, REQUESTS["plain"])
    served.function._handler = lambda _event: 1 / 0
    answer = answer_of(service, REQUESTS["plain"])
    assert (answer["status"], answer["code"]) == (503, "function_failed")


class Bomb:
    """Pickled code that leaves a trace when it is loaded."""

    went_off = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "went_off", True)


def test_an_altered_pickle_is_never_loaded(served: Served) -> None:
    """Other bytes than the manifest names are refused before a line of them runs, by control and by the function."""
    active = served.point("2")
    served.store.put(f"{active.bundle_uri}/pipeline.pkl", pickle.dumps(Bomb()))
    answer = answer_of(served.service(), REQUESTS["plain"])
    assert (answer["status"], answer["code"]) == (409, "bundle_altered")
    with pytest.raises(BundleRejected, match=r"pipeline\.pkl was altered"):
        verified_bundle.check_bundle(served.store, BUCKET, active)
    assert not Bomb.went_off
    pickle.loads(pickle.dumps(Bomb()))  # noqa: S301 - the test's own: the trace is real
    assert Bomb.went_off


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_a_bundle_that_nobody_registered_is_never_loaded(served: Served, sha256: str) -> None:
    """The function loads only what the caller names by the hash that was registered."""
    active = served.point("2")
    models = pickled_pipeline.PythonModels(served.store, BUCKET, LOG)
    named = {k: getattr(active, k) for k in ("model", "version", "run_id", "bundle_uri")}
    answer = models.answer({**named, "bundle_sha256": sha256, "feeds": None})
    assert answer["error"]["kind"] == "BundleRejected"


@pytest.mark.parametrize("name", ["python", "scikit-learn"])
def test_another_version_is_refused(served: Served, name: str) -> None:
    """A pickle of another Python or scikit-learn is not tried: the error names both and the way out."""
    assert served.manifest.python is not None
    other = replace(served.manifest.python, versions={**served.manifest.python.versions, name: "1.0"})
    with pytest.raises(BundleRejected, match=f"{name} 1.0") as error:
        pickled_pipeline.open_pickle(replace(served.manifest, python=other), served.pickled)
    assert "train again" in error.value.fix


@pytest.mark.parametrize(("most_bytes", "most_values", "calls"), [(10**9, 10**9, 1), (2000, 10**9, 8), (10**9, 100, 6)])
def test_many_rows_go_in_several_calls(
    served: Served, bundle: Any, monkeypatch: pytest.MonkeyPatch, most_bytes: int, most_values: int, calls: int
) -> None:
    """What is larger than one call takes is split; rows come back in their order."""
    monkeypatch.setattr(remote_python, "MOST_BYTES", most_bytes)
    monkeypatch.setattr(remote_python, "MOST_VALUES", most_values)
    active = served.point("2")
    predictor = remote_python.open_remote(served.manifest, active, served.function)
    before = served.function.calls
    result = predictor.predict(onnx_graph.records(bundle.rows))
    assert served.function.calls - before == calls
    assert result.probabilities == pytest.approx(bundle.model.predict_proba(bundle.rows), abs=1e-9)
    assert result.labels == list(bundle.model.predict(bundle.rows))


def test_what_goes_over_comes_back_bit_for_bit(served: Served) -> None:
    """Doubles, missing numbers and texts, and their shapes survive the way."""
    numbers = np.array([[0.1, np.nan, 1e300], [-0.0, 2**53, 5e-324]])
    texts = np.array([['é\n"x'], [None]], dtype=object)
    fed = remote_python.decode(
        served.manifest, json.loads(json.dumps(remote_python.encode({"numbers": numbers, "texts": texts})))
    )
    assert fed["numbers"].tobytes() == numbers.tobytes()
    assert fed["texts"].tolist() == texts.tolist()


def test_a_batch_file_gets_the_answers_of_requests(served: Served, bundle: Any) -> None:
    """The same function scores files, in pieces; every row gets what a request would have got."""
    served.point("2")
    settings_store.apply(
        served.store, BUCKET, b"project: demo\ndata: {target: bought}\nmodels: [{name: forest, class: a.b:C}]\n"
    )
    served.store.put(f"s3://{BUCKET}/batch/rows.csv", bundle.rows.to_csv(index=False).encode())
    ports = BatchPorts(
        served.store, UploadRepository(served.store, BUCKET), BUCKET, LOG, MemoryWorkflow(), lambda: served.function
    )
    event = UploadEvent(
        bucket=BUCKET, key="batch/rows.csv", version=served.store.get(f"s3://{BUCKET}/batch/rows.csv").version
    )
    record = score_file.score(event, ports)
    assert (record.state, record.rows_used) == ("scored", 300)
    rows = list(csv.DictReader(io.StringIO(served.store.get(record.predictions_uri).body.decode(), newline="")))
    expected = bundle.model.predict_proba(bundle.rows)[:, 1]
    assert [float(r["probability_yes"]) for r in rows] == pytest.approx(expected.tolist(), abs=1e-9)
    assert [r["prediction"] for r in rows] == list(bundle.model.predict(bundle.rows))


def test_a_batch_file_without_the_function_ends_with_the_way_out(served: Served, bundle: Any) -> None:
    """The record says what to deploy; nothing is left open."""
    served.point("2")
    settings_store.apply(
        served.store, BUCKET, b"project: demo\ndata: {target: bought}\nmodels: [{name: forest, class: a.b:C}]\n"
    )
    served.store.put(f"s3://{BUCKET}/batch/rows.csv", bundle.rows.to_csv(index=False).encode())
    ports = BatchPorts(served.store, UploadRepository(served.store, BUCKET), BUCKET, LOG, MemoryWorkflow())
    event = UploadEvent(
        bucket=BUCKET, key="batch/rows.csv", version=served.store.get(f"s3://{BUCKET}/batch/rows.csv").version
    )
    record = score_file.score(event, ports)
    assert record.state == "failed"
    assert record.reason is not None
    assert record.reason.code == "python_not_served"


def test_the_error_of_an_unreachable_function_is_retryable() -> None:
    """Errors keep their kind on the way: what may be tried again stays so."""
    answer = remote_python.refusal(Unavailable("no", code="x", fix="y"))
    assert answer == {"error": {"kind": "Unavailable", "code": "x", "message": "no", "fix": "y"}}


@pytest.mark.parametrize("where", ["predict", "function"])
def test_a_pickle_that_settings_did_not_declare_is_never_loaded(served: Served, where: str) -> None:
    """Whoever writes the registry, the pointer and the artifact bucket brings no code in: the record says the model is a graph."""
    active = replace(served.point("2"), version="3")
    evil = pickle.dumps(Bomb())
    manifest = replace(
        served.manifest, python=PythonModel(hashlib.sha256(evil).hexdigest(), pickled_pipeline.versions())
    ).to_json()
    served.store.put(f"{active.bundle_uri}/manifest.json", manifest)
    served.store.put(f"{active.bundle_uri}/pipeline.pkl", evil)
    active = replace(active, bundle_sha256=hashlib.sha256(manifest).hexdigest())
    ModelRecords(served.store, BUCKET).write(ModelRecord.of(active, serve="onnx", by="conclude"))
    pointer = ActivePointer(served.store, BUCKET)
    pointer.replace(active, pointer.etag())
    Bomb.went_off = False
    if where == "predict":
        assert answer_of(served.service(), REQUESTS["plain"])["code"] == "python_not_declared"
    else:
        ask = {k: getattr(active, k) for k in ("model", "version", "run_id", "bundle_uri", "bundle_sha256")}
        answer = pickled_pipeline.PythonModels(served.store, BUCKET, LOG).answer({**ask, "feeds": None})
        assert answer["error"]["code"] == "python_not_declared"
    assert not Bomb.went_off


def test_a_process_without_the_function_never_unpickles(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way a training job opens the champion: a pickle is refused, or run by the function, never opened where it is asked for."""
    active = served.point("2")

    def forbidden(*_: object) -> None:
        raise AssertionError("a pickle was opened in this process")

    monkeypatch.setattr(pickled_pipeline, "open_pickle", forbidden)
    with pytest.raises(BundleRejected) as error:
        open_active(served.store, BUCKET, active)
    assert error.value.code == "python_not_served"
    monkeypatch.undo()
    open_active(served.store, BUCKET, active, lambda: served.function)
    assert served.function.calls > 0


class Quoting:
    """A model's own code that quotes the row it cannot use."""

    def raw(self, rows: Any) -> Any:
        raise ValueError(f"bad row: {rows.iloc[0].to_dict()}")


def test_what_a_models_own_code_quotes_reaches_the_caller_and_no_log(
    pickled: tuple[BundleManifest, bytes], bundle: Any
) -> None:
    """The answer has the message with the row; the lines of predict_python have the kinds of error and the place."""
    store, canary = MemoryStore(), "c4n4ry"
    body, named = pickled_pipeline.dump(Quoting(), RandomForest())  # type: ignore[arg-type] # stands for a class of the project's
    active = put(store, replace(pickled[0], python=named), body, "1")
    ActivePointer(store, BUCKET).replace(active, "")
    function = MemoryFunction(pickled_pipeline.PythonModels(store, BUCKET, LOG).answer)
    with log_lines() as lines:
        answer = answer_of(PredictService(store, BUCKET, LOG, python=lambda: function), body_of({**ROW, "job": canary}))
    assert (answer["code"], canary in answer["message"]) == ("model_failed", True)
    assert "InvalidRequest from ValueError" in lines.text
    assert canary not in lines.text
