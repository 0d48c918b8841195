"""What a caller sends and gets: prediction sets, contributions, other versions, other dialects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.deployment.alias_index import AliasIndex
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge_training.export import onnx_graph

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def rows(bundle: Any) -> list[dict[str, Any]]:
    return onnx_graph.records(bundle.rows.iloc[:20])


def test_an_answer_says_everything(ask: Ask, stored: Any, rows: list[dict[str, Any]]) -> None:
    """Label and probabilities a row, threshold, model, warnings with their row, and the prediction's id."""
    stored[1]()
    status, output = ask("POST", "/predict", {"records": [rows[0], {**rows[1], "age": 200, "job": "smith"}]})
    assert status == 200
    assert set(output) == {"predictions", "model", "threshold", "warnings", "prediction_id", "request_id"}
    assert output["prediction_id"] == output["request_id"] == "the-request"
    assert {w["code"] for w in output["warnings"] if w["row"] == 1} == {"out_of_range", "unseen_category"}
    assert set(output["predictions"][0]) == {"label", "probabilities"}


def test_a_prediction_set_holds_every_class_within_its_limit(ask: Ask, stored: Any, rows: list[dict[str, Any]]) -> None:
    """`no` from 1 − p ≤ 0.5, `yes` from 1 − p ≤ 0.6, as the bundle states; another coverage is 422 and names those there are."""
    stored[1]()
    _, output = ask("POST", "/predict", {"records": rows}, coverage="0.90")
    for p in output["predictions"]:
        inside = [c for c, limit in (("no", 0.5), ("yes", 0.6)) if 1 - p["probabilities"][c] <= limit]
        assert p["prediction_set"] == {"coverage": 0.9, "labels": inside}
    status, output = ask("POST", "/predict", {"records": rows}, coverage="0.8")
    assert (status, output["code"]) == (422, "coverage_unknown")
    assert "0.9" in output["fix"]


def test_contributions_add_up_to_the_probability(ask: Ask, stored: Any, rows: list[dict[str, Any]]) -> None:
    """For the positive class, the largest first, one for each feature."""
    stored[1]()
    _, output = ask("POST", "/predict", {"records": rows}, explain="true")
    for p in output["predictions"]:
        explanation = p["explanation"]
        assert (explanation["class"], explanation["space"]) == ("yes", "probability")
        assert set(explanation["contributions"]) == {"age", "job", "member", "joined"}
        assert explanation["base"] + sum(explanation["contributions"].values()) == pytest.approx(
            p["probabilities"]["yes"], abs=1e-6
        )
        sizes = [abs(v) for v in explanation["contributions"].values()]
        assert sizes == sorted(sizes, reverse=True)


def test_a_model_without_explanation_says_so(ask: Ask, stored: Any, bundle: Any, rows: list[dict[str, Any]]) -> None:
    """422 with what can be explained; an altered file is refused, and plain predictions go on."""
    store, activate = stored
    activate()
    store.put("s3://artifacts/1/bundle/explain.npz", bundle.explain + b"x")
    assert ask("POST", "/predict", {"records": rows}, explain="true")[1]["code"] == "bundle_altered"
    assert ask("POST", "/predict", {"records": rows})[0] == 200
    assert ask("POST", "/predict", {"records": rows * 3}, explain="true")[0] == 413
    older = replace(bundle.manifest, explanation={}).to_json()
    active = activate("2", manifest=older, point=False)
    old = replace(active, version="3", alias="Old", bundle_sha256=hashlib.sha256(older).hexdigest())
    ModelRecords(store, "bucket").write(ModelRecord.of(old, serve="onnx", by="test"))
    AliasIndex(store, "bucket").publish(lambda: [old])
    status, output = ask("POST", "/predict", {"records": rows}, explain="true", alias="Old")
    assert (status, output["code"]) == (422, "not_explainable")


def test_labels_lead_to_versions(ask: Ask, stored: Any, rows: list[dict[str, Any]]) -> None:
    """model and alias; alias alone; the active model by name; unknown ones are 404, a label on two models 422."""
    store, activate = stored
    activate("1")
    second = activate("2", point=False)
    listed = [
        replace(second, alias="Staging"),
        replace(second, alias="Both"),
        replace(second, model="demo-other", alias="Both"),
    ]
    AliasIndex(store, "bucket").publish(lambda: listed)
    body = {"records": rows}
    for query in ({"alias": "Staging"}, {"alias": "Staging", "model": "forest"}, {"alias": "Both", "model": "other"}):
        status, output = ask("POST", "/predict", body, **query)
        assert (status, output["model"]["version"]) == (200, "2"), query
    assert ask("POST", "/predict", body)[1]["model"]["version"] == "1"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"alias": "Nobody"}, 404, "alias_unknown"),
        ({"alias": "Both"}, 422, "alias_ambiguous"),
        ({"alias": "../active"}, 422, "name_invalid"),
        ({"coverage": "many"}, 422, "coverage_invalid"),
        ({"coverage": "nan"}, 422, "coverage_invalid"),
        ({"explain": "perhaps"}, 422, "parameter_invalid"),
        ({"explian": "true"}, 422, "parameter_unknown"),
    ],
)
def test_a_wrong_parameter_is_the_callers_mistake(
    ask: Ask, stored: Any, rows: list[dict[str, Any]], query: dict[str, str], status: int, code: str
) -> None:
    """4xx with a stable code, never an answer of another model than the one asked for."""
    store, activate = stored
    active = activate("1")
    both = [replace(active, alias="Both"), replace(active, model="demo-other", alias="Both")]
    AliasIndex(store, "bucket").publish(lambda: both)
    result, output = ask("POST", "/predict", {"records": rows}, **query)
    assert (result, output["code"]) == (status, code)
    assert output["fix"]


def test_mlflows_own_client_is_understood(ask: Ask, stored: Any, bundle: Any) -> None:
    """Bodies that MLflow's scoring client writes for a data frame are answered as its own server would answer."""
    from mlflow.deployments import PredictionsResponse
    from mlflow.pyfunc.scoring_server.client import dump_input_data

    stored[1]()
    frame = bundle.rows.iloc[:9].astype({"member": object, "joined": str})
    status, output = ask("POST", "/invocations", dump_input_data(frame, params={"any": 1}))
    assert status == 200, output
    answer = PredictionsResponse.from_json(json.dumps(output))
    assert list(answer.get_predictions(dtype=None)[0]) == list(bundle.model.predict(bundle.rows.iloc[:9]))
    assert len(answer["probabilities"]) == 9
    columns = {c: frame[c].tolist() for c in ("age", "job", "member", "joined")}
    clean = {c: [None if v is None or v != v else v for v in values] for c, values in columns.items()}  # noqa: PLR0124
    for body in ({"inputs": clean}, {"instances": pd.DataFrame(clean).astype(object).to_dict("records")}):
        text = json.dumps(body).replace("NaN", "null")
        assert ask("POST", "/invocations", text)[1]["predictions"] == output["predictions"]
    assert ask("GET", "/ping")[0] == 200


def test_a_kserve_client_is_understood(ask: Ask, stored: Any, bundle: Any, rows: list[dict[str, Any]]) -> None:
    """Health, metadata and inference of the Open Inference Protocol; probabilities flat, row by row."""
    assert ask("GET", "/v2/health/live") == (200, {"live": True})
    assert ask("GET", "/v2/health/ready")[0] == 409
    stored[1]()
    assert ask("GET", "/v2/health/ready") == (200, {"ready": True})
    assert ask("GET", "/v2")[1]["name"] == "dropforge"
    _, meta = ask("GET", "/v2/models/{model}", named="demo-forest")
    assert [t["name"] for t in meta["inputs"]] == ["age", "job", "member", "joined"]
    tensors = [
        {"name": t["name"], "datatype": t["datatype"], "shape": [20], "data": [r[t["name"]] for r in rows]}
        for t in meta["inputs"]
    ]
    status, output = ask("POST", "/v2/models/{model}/infer", {"id": "mine", "inputs": tensors}, named="forest")
    assert (status, output["id"], output["model_version"]) == (200, "mine", "1")
    label, probabilities = output["outputs"]
    assert label["data"] == list(bundle.model.predict(bundle.rows.iloc[:20]))
    table = np.array(probabilities["data"]).reshape(probabilities["shape"])
    assert np.abs(table - bundle.model.predict_proba(bundle.rows.iloc[:20])).max() < 1e-5
    assert ask("GET", "/v2/models/{model}/ready", named="nobody")[0] == 404
    assert ask("POST", "/v2/models/{model}/infer", {"inputs": tensors}, named="nobody")[0] == 404


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [19]}, {"shape": [20, 2]}, {"shape": "20"}, {"datatype": "TEXT"}, {"data": 3}, {"data": [[1, 2]] * 20},
        {"name": 7}, {"name": "age", "data": []}, {"name": "other"},
    ],
)  # fmt: skip
def test_a_wrong_tensor_is_the_callers_mistake(
    ask: Ask, stored: Any, rows: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    """422 that names the tensor."""
    stored[1]()
    tensors = [
        {"name": n, "datatype": "BYTES", "shape": [20], "data": [r[n] for r in rows]}
        for n in ("job", "member", "joined")
    ]
    age = {"name": "age", "datatype": "FP64", "shape": [20], "data": [r["age"] for r in rows]}
    status, output = ask("POST", "/v2/models/{model}/infer", {"inputs": [*tensors, {**age, **change}]}, named="forest")
    assert status == 422, output
    assert output["fix"]


def test_refusals_of_the_open_inference_protocol_have_its_field(ask: Any, stored: Any) -> None:
    """Its clients read `error`; code, message and fix stand beside it. Other routes do not have the field."""
    stored[1]("1")
    status, output = ask("POST", "/v2/models/{model}/infer", {"inputs": []}, named="demo-forest")
    assert status == 422
    assert output["error"] == output["message"]
    assert {"code", "fix", "request_id"} <= output.keys()
    status, output = ask("POST", "/predict", {"records": []})
    assert status == 422
    assert "error" not in output
