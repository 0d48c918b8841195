"""Records in, labels and probabilities out, exactly as the pipeline says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dropforge.errors import BundleRejected, InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.predictor import Predictor, open_bundle
from dropforge_training.export import onnx_graph

ROW = {"age": 40, "job": "cook", "member": True, "joined": "2021-05-01"}


@pytest.fixture(scope="module")
def predictor(bundle: Any) -> Predictor:
    return open_bundle(bundle.manifest.to_json(), bundle.onnx)


def _p(predictor: Predictor, **changes: Any) -> float:
    return float(predictor.predict([{**ROW, **changes}]).probabilities[0, 1])


def test_it_equals_the_pipeline_on_every_row(bundle: Any, predictor: Predictor) -> None:
    """Probabilities within 1e-5 and the same labels, missing values and dates included."""
    served = predictor.predict(onnx_graph.records(bundle.rows))
    assert np.abs(served.probabilities - bundle.model.predict_proba(bundle.rows)).max() <= 1e-5
    assert served.labels == bundle.model.predict(bundle.rows).tolist()


def test_the_threshold_decides(predictor: Predictor) -> None:
    """The positive label is given from the manifest's threshold on, not from one half."""
    assert predictor.manifest.threshold == 0.4
    rows = [{**ROW, "age": a, "job": j} for a in range(18, 80) for j in ("cook", "nurse")]
    result = predictor.predict(rows)
    for label, p in zip(result.labels, result.probabilities[:, 1], strict=True):
        assert label == ("yes" if p >= 0.4 else "no")


@pytest.mark.parametrize("value", [None, "", "?", " ? ", "nan", "NaN"])
def test_every_way_to_say_missing_is_the_same(predictor: Predictor, value: Any) -> None:
    """Null, empty and the markers give one answer, with a warning that names the field."""
    for field in ("age", "job"):
        assert _p(predictor, **{field: value}) == _p(predictor, **{field: None})
        warnings = predictor.predict([{**ROW, field: value}]).warnings
        assert [(w["code"], w["field"]) for w in warnings] == [("missing", field)]


def test_an_unseen_category_counts_as_missing_and_is_flagged(predictor: Predictor) -> None:
    """The answer is that of null; the warning names row, field and value."""
    result = predictor.predict([ROW, {**ROW, "job": "astronaut"}])
    assert result.probabilities[1, 1] == pytest.approx(_p(predictor, job=None))
    assert [(w["code"], w["row"], w["field"]) for w in result.warnings] == [("unseen_category", 1, "job")]
    assert "astronaut" in result.warnings[0]["message"]


def test_a_value_outside_the_training_range_is_flagged(predictor: Predictor) -> None:
    """It is predicted all the same."""
    assert [w["code"] for w in predictor.predict([{**ROW, "age": 200}]).warnings] == ["out_of_range"]


def test_numbers_may_come_as_text(predictor: Predictor) -> None:
    """`40`, `40.0` and `" 40 "` are 40; booleans and dates likewise."""
    for value in ("40", "40.0", " 40 ", 40.0):
        assert _p(predictor, age=value) == _p(predictor, age=40)
    assert _p(predictor, member="yes") == _p(predictor, member=True) == _p(predictor, member=1)
    assert _p(predictor, joined="2021-05-01T00:00:00Z") == _p(predictor, joined="2021-05-01")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", "old"),
        ("age", [1]),
        ("age", {"a": 1}),
        ("age", 10**400),
        ("age", "1_000"),
        ("age", True),
        ("age", "1e999"),
        ("job", ["cook"]),
        ("joined", "May"),
    ],
)
def test_a_value_of_another_kind_is_the_callers_mistake(predictor: Predictor, field: str, value: Any) -> None:
    """422 with the record's number and the field's name."""
    with pytest.raises(InvalidRequest) as caught:
        predictor.predict([ROW, {**ROW, field: value}])
    assert caught.value.status == 422
    assert f"record 1: {field}" in caught.value.message


def test_a_missing_column_is_named(predictor: Predictor) -> None:
    """422 naming every missing column; an extra one is ignored with a warning."""
    with pytest.raises(InvalidRequest) as caught:
        predictor.predict([ROW, {"age": 3}])
    assert caught.value.code == "missing_column"
    for name in ("job", "member", "joined"):
        assert name in caught.value.message
    assert predictor.predict([{**ROW, "shoe": 43}]).warnings == [
        {"code": "extra_column", "field": "shoe", "message": "not a feature of this model; ignored"}
    ]


@pytest.mark.parametrize("at", [0.0, 0.1, 0.35, 0.5, 0.77, 0.99])
def test_one_flipped_byte_is_refused(bundle: Any, at: float) -> None:
    """Wherever it is, in the graph or in the manifest."""
    import hashlib

    text = bundle.manifest.to_json()
    digest = hashlib.sha256(text).hexdigest()
    for manifest, onnx in ((text, _flipped(bundle.onnx, at)), (_flipped(text, at), bundle.onnx)):
        with pytest.raises(BundleRejected):
            open_bundle(manifest, onnx, digest)


def _flipped(body: bytes, at: float) -> bytes:
    where = int(at * len(body))
    return body[:where] + bytes([body[where] ^ 1]) + body[where + 1 :]


def test_a_graph_that_is_none_is_refused(bundle: Any) -> None:
    """Bytes with the right hash that are no ONNX graph are refused, not raised as something else."""
    import hashlib
    from dataclasses import replace

    broken = b"not a graph"
    manifest = replace(bundle.manifest, onnx_sha256=hashlib.sha256(broken).hexdigest())
    with pytest.raises(BundleRejected):
        open_bundle(manifest.to_json(), broken)


def test_a_manifest_survives_its_json(bundle: Any) -> None:
    """Reading what was written gives the same manifest; another format version is refused."""
    text = bundle.manifest.to_json()
    assert BundleManifest.from_json(text) == bundle.manifest
    with pytest.raises(BundleRejected):
        BundleManifest.from_json(text.replace(b'"format_version": 1', b'"format_version": 2'))
    with pytest.raises(BundleRejected):
        BundleManifest.from_json(b"[]")


def test_a_bundle_without_prediction_sets_still_loads_and_one_with_them_keeps_them(bundle: Any) -> None:
    """Bundles older than the field load; thresholds come back as written, by coverage."""
    older = json.loads(bundle.manifest.to_json())
    del older["conformal"]
    assert BundleManifest.from_json(json.dumps(older).encode()).conformal == {}
    output = replace(bundle.manifest, conformal={"0.9": (0.25, 0.75)})
    assert BundleManifest.from_json(output.to_json()) == output


def test_a_bundle_of_the_first_release_predicts_the_same(bundle: Any) -> None:
    """A manifest with the fields of the first release alone is read, and its graph predicts what it predicted."""
    first = {
        "project", "model", "run_id", "dataset_id", "created_at", "target", "features", "inputs", "probabilities_output", "classes",
        "positive_class", "threshold", "onnx_sha256", "missing_token", "metrics", "example", "parity", "format_version",
    }  # fmt: skip
    of_feature = {"name", "kind", "categories", "minimum", "maximum", "missing_markers"}
    manifest = {k: v for k, v in json.loads(bundle.manifest.to_json()).items() if k in first}
    manifest["features"] = [{k: v for k, v in f.items() if k in of_feature} for f in manifest["features"]]
    assert set(manifest) == first
    older = open_bundle(json.dumps(manifest).encode(), bundle.onnx)
    records = onnx_graph.records(bundle.rows.head(20))
    assert older.predict(records).labels == open_bundle(bundle.manifest.to_json(), bundle.onnx).predict(records).labels
