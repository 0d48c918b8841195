"""Whole columns and single records are read by the same rules."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge.errors import InvalidRequest
from dropforge.inference import column_predictor
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput, PythonModel
from dropforge.inference.predictor import Predictor, open_bundle
from dropforge.value_formats import FLOAT32_MAX
from dropforge_training.export import onnx_graph

FEATURES = (
    Feature("age", "integer", minimum=18, maximum=80, missing_markers=("-999", "?")),
    Feature(
        "pay", "number", minimum=0.0, maximum=10.0, steps=({"step": "clip", "low": -5.0, "high": 50.0}, {"step": "log"})
    ),
    Feature("size", "category", cast="number", merge={"large": "3"}, missing_markers=("?",)),
    Feature("member", "boolean"),
    Feature("joined", "datetime"),
    Feature("job", "category", ("cook", "nurse"), missing_markers=("?", "-"), merge={"chef": "cook"}),
    Feature("code", "integer", ("7", "8"), cast="category", unseen="(other)"),
    Feature("note", "text", ("a",)),
)
MANIFEST = BundleManifest(
    project="p",
    model="m",
    run_id="r",
    dataset_id="d",
    created_at="",
    target="y",
    features=FEATURES,
    inputs=(
        GraphInput("numbers", "float32", ("age", "pay", "size", "member", "joined")),
        GraphInput("texts", "string", ("job", "code", "note")),
    ),
    probabilities_output="p",
    classes=("no", "yes"),
    positive_class="yes",
    threshold=0.5,
    onnx_sha256="",
)
# The same for a pipeline that Python runs: values as they were sent.
RAW = replace(
    MANIFEST,
    inputs=(
        GraphInput("numbers", "float64", MANIFEST.inputs[0].features),
        GraphInput("texts", "text", MANIFEST.inputs[1].features),
    ),
    python=PythonModel("", {}),
)


class _Graph:
    """Keeps what it is fed."""

    def __init__(self) -> None:
        self.fed: dict[str, np.ndarray] = {}

    def run(self, _outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed = feeds
        rows = len(feeds["numbers"])
        return [np.full((rows, 2), 0.5, dtype=np.float32)]


TEXTS = st.sampled_from(
    ["cook", " nurse ", "chef", "?", "-", "", "nan", "7", "7.0", "large", "3.5", "astronaut", "yes"]
)
NUMBERS = st.one_of(
    st.integers(-(2**60), 2**60),
    st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=64),
    st.none(),
    st.sampled_from([math.nan, 7.0, 18, 80.5, -999, -999.0]),
)
MOMENTS = st.one_of(st.none(), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - as in a table
ROW = st.fixed_dictionaries(
    {
        "age": NUMBERS,
        "pay": NUMBERS,
        "size": st.one_of(TEXTS, st.none()),
        "member": st.one_of(st.booleans(), st.none()),
        "joined": MOMENTS,
        "job": st.one_of(TEXTS, st.none()),
        "code": NUMBERS,
        "note": st.one_of(TEXTS, st.none()),
    }
)


def _as_columns(rows: list[dict[str, Any]], coded: bool) -> dict[str, column_predictor.Values]:
    """As a file's reader hands them over: doubles with NaN, dates with NaT, texts plain or as values and codes."""
    created: dict[str, column_predictor.Values] = {}
    for f in FEATURES:
        values = [r[f.name] for r in rows]
        if f.name == "joined":
            created[f.name] = np.array(["NaT" if v is None else v.isoformat() for v in values], dtype="datetime64[us]")
        elif f.kind in {"integer", "number", "boolean"}:
            created[f.name] = np.array([np.nan if v is None else float(v) for v in values])
        elif coded:
            distinct: list[Any] = [*dict.fromkeys(values), "never there"]
            created[f.name] = (distinct, np.array([distinct.index(v) for v in values]))
        else:
            created[f.name] = np.array(values, dtype=object)
    return created


@pytest.mark.parametrize("manifest", [MANIFEST, RAW], ids=["graph", "python"])
@given(rows=st.lists(ROW, min_size=1, max_size=8), coded=st.booleans())
@hypothesis_settings(max_examples=300, deadline=None)
def test_columns_and_records_are_fed_alike(manifest: BundleManifest, rows: list[dict[str, Any]], coded: bool) -> None:
    """To the last bit, with every processing step (for a pipeline: with none), and with the same warnings by field."""
    single, whole = _Graph(), _Graph()
    messages = [{**r, "joined": r["joined"].replace(tzinfo=UTC).isoformat() if r["joined"] else None} for r in rows]
    # A float column holds floats: 7 and 7.0 are one value of it, as in a JSON request.
    messages = [{k: float(v) if isinstance(v, int) and k != "member" else v for k, v in r.items()} for r in messages]
    by_record = Predictor(manifest, single).predict(messages)
    given_columns = _as_columns(rows, coded)
    fed = column_predictor.feeds(Predictor(manifest, whole), given_columns)
    assert single.fed["numbers"].tobytes() == fed["numbers"].tobytes()
    assert single.fed["texts"].tolist() == fed["texts"].tolist()
    by_column = column_predictor.predict(Predictor(manifest, whole), given_columns)
    assert by_column.warnings == Counter((w["code"], w["field"]) for w in by_record.warnings)
    assert [manifest.classes[i] for i in by_column.labels] == by_record.labels


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_rows_are_scored_once_and_answered_each(
    bundle: Any, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers are those of every row on its own, in pieces and threads too."""
    predictor = open_bundle(bundle.manifest.to_json(), bundle.onnx)
    monkeypatch.setattr(column_predictor, "PIECE", 40)
    rows = bundle.rows.sample(2000, replace=True, random_state=3)
    ran: list[int] = []
    run = predictor.run

    def counted(fed: Any) -> Any:
        ran.append(len(next(iter(fed.values()))))
        return run(fed)

    monkeypatch.setattr(predictor, "run", counted)
    given = {c: rows[c].to_numpy(dtype=object) for c in ("job", "member")}
    given |= {"age": rows["age"].to_numpy(), "joined": rows["joined"].to_numpy()}
    scores = column_predictor.predict(predictor, given, threads=threads)
    assert sum(ran) <= 300
    expected = open_bundle(bundle.manifest.to_json(), bundle.onnx).predict(onnx_graph.records(rows))
    assert scores.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert [predictor.manifest.classes[i] for i in scores.labels] == expected.labels


def test_a_real_bundle_answers_alike(bundle: Any) -> None:
    """Probabilities (to the rounding of float32 sums) and labels of both paths are equal."""
    predictor = open_bundle(bundle.manifest.to_json(), bundle.onnx)
    by_record = predictor.predict(onnx_graph.records(bundle.rows))
    rows = bundle.rows
    by_column = column_predictor.predict(
        predictor,
        {
            "age": rows["age"].to_numpy(),
            "job": rows["job"].to_numpy(dtype=object),
            "member": rows["member"].astype(bool).to_numpy(),
            "joined": rows["joined"].to_numpy(),
        },
    )
    assert by_column.probabilities == pytest.approx(by_record.probabilities, abs=1e-6)
    assert [predictor.manifest.classes[i] for i in by_column.labels] == by_record.labels


@pytest.mark.parametrize("value", ["old", [1], {"a": 1}, True, float("inf")])
def test_what_a_record_may_not_hold_a_column_may_not(value: Any) -> None:
    """The same code, naming the row and the column."""
    rows: list[dict[str, Any]] = [{f.name: None for f in FEATURES}, {f.name: None for f in FEATURES} | {"age": value}]
    given = {f.name: np.array([r[f.name] for r in rows] + [None], dtype=object)[:2] for f in FEATURES}
    with pytest.raises(InvalidRequest) as by_record:
        Predictor(MANIFEST, _Graph()).predict(rows)
    with pytest.raises(InvalidRequest) as by_column:
        column_predictor.predict(Predictor(MANIFEST, _Graph()), given)
    assert by_column.value.as_dict() == by_record.value.as_dict()


def test_a_missing_column_is_named_and_an_extra_one_ignored() -> None:
    """422 with the names."""
    given = _as_columns([{f.name: None for f in FEATURES}], coded=False)
    column_predictor.predict(Predictor(MANIFEST, _Graph()), {**given, "id": np.array([1])})
    del given["age"], given["job"]
    with pytest.raises(InvalidRequest) as caught:
        column_predictor.predict(Predictor(MANIFEST, _Graph()), given)
    assert "'age', 'job'" in caught.value.message


def test_the_most_probable_class_is_the_label_of_several() -> None:
    """Without a positive class there is no threshold."""
    predictor = Predictor(replace(MANIFEST, classes=("a", "b", "c"), positive_class=""), _Graph())
    assert predictor.decide(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])).tolist() == [2, 0]
