"""The `processing:` steps: what they do, that they are refused where they do not fit, and that the bundle does the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config.preprocessing_settings import ProcessingStep
from dropforge.datasets.table_schema import Column
from dropforge.errors import SettingsError
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.number_steps.clip import Clip
from dropforge.inference.number_steps.log import Log
from dropforge.inference.predictor import open_bundle
from dropforge_training.preprocessing import transforms
from dropforge_training.preprocessing.cleaner import MISSING_TOKEN, TableCleaner

ALL = """
processing:
  - drop: [active]
  - missing: {column: colour, markers: [green]}
  - merge: {column: colour, values: [blue], into: red}
  - rare: {column: note, under: 6}
  - clip: {column: size-cm, low: 150, high: 190}
  - log: {column: size-cm}
  - cast: {column: visits, to: category}
"""


def cleaned(values: list[object], *, category: bool, **facts: Any) -> list[Any]:
    """One column through a cleaner with one column's steps."""
    own = {"c": transforms.Steps(**facts)}
    cleaner = TableCleaner([] if category else ["c"], ["c"] if category else [], {"c": ("?",)}, steps=own)
    table = pd.DataFrame({"c": pd.Series(values, dtype=object if category or facts.get("cast") else "float64")})
    return list(cleaner.fit(table).transform(table)["c"])


def test_categories_are_merged_and_rare_ones_pooled() -> None:
    """Merged first, counted afterwards; missing stays missing."""
    assert cleaned(["a", "A", "b", "?"], category=True, merge=(("A", "a"),)) == ["a", "a", "b", MISSING_TOKEN]
    pooled = cleaned(["a", "a", "A", "b", None], category=True, merge=(("A", "a"),), rare_under=2, rare_into="(other)")
    assert pooled == ["a", "a", "a", "(other)", MISSING_TOKEN]


def test_numbers_are_clipped_and_logged() -> None:
    """Clip first, then a logarithm that keeps the sign; missing stays missing."""
    shaped = cleaned(
        [-9, 0, 5, float("nan")], category=False, numbers=(("clip", Clip("c", -1.0, 3.0)), ("log", Log("c")))
    )
    assert shaped[:3] == pytest.approx([-math.log(2), 0, math.log(4)])
    assert math.isnan(shaped[3])


def test_casts_change_what_a_column_is() -> None:
    """Whole numbers lose their point as categories; a text that is no number is a missing number."""
    assert cleaned([7.0, 7, "7", 1.5, None], category=True, cast="category") == ["7", "7", "7", "1.5", MISSING_TOKEN]
    numbers = cleaned(["7", " 8 ", "x", "?"], category=False, cast="number")
    assert numbers[:2] == [7, 8]
    assert all(math.isnan(v) for v in numbers[2:])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"clip": {"column": "nowhere", "low": 0}}, "no column named 'nowhere'"),
        ({"clip": {"column": "city", "low": 0}}, "'city' is a category"),
        ({"log": {"column": "since"}}, "'since' is a date"),
        ({"merge": {"column": "age", "values": ["1"], "into": "2"}}, "'age' is a number"),
        ({"cast": {"column": "age", "to": "number"}}, "is integer already"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(step: dict[str, Any], message: str) -> None:
    """The error names the step, the column and what would fit."""
    columns = [
        Column(name="age", kind="integer"),
        Column(name="city", kind="category"),
        Column(name="since", kind="datetime"),
    ]
    with pytest.raises(SettingsError, match=message):
        transforms.by_column([ProcessingStep.model_validate(step)], columns)


@pytest.mark.parametrize(
    "model",
    [
        "logistic_regression",
        pytest.param("xgboost", marks=pytest.mark.campaign),
        pytest.param("random_forest", marks=pytest.mark.campaign),
        pytest.param("hist_gradient_boosting", marks=pytest.mark.campaign),
    ],
)
def test_the_bundle_takes_every_step_as_the_pipeline_does(bench: Callable[..., Any], model: str) -> None:
    """The job proves parity on every held-out row; what callers send beyond that is read by the same steps."""
    created = bench(extra=ALL)
    result = created.run(created.job(model, upload=f"steps-{model}"))
    folder = Path(result.bundle_uri)
    body = (folder / "manifest.json").read_bytes()
    manifest = BundleManifest.from_json(body)
    assert [f.name for f in manifest.features] == ["size-cm", "visits", "colour", "since", "note"]
    predictor = open_bundle(body, (folder / "model.onnx").read_bytes())
    row = {**manifest.example, "colour": "red", "visits": 3, "size-cm": 190, "note": "note 1"}
    same = [
        {**row, "colour": "blue"},
        {**row, "visits": "3.0"},
        {**row, "size-cm": 400},
        {**row, "active": True},
    ]
    wanted = predictor.predict([row]).probabilities
    assert np.array_equal(predictor.predict(same).probabilities, np.repeat(wanted, len(same), axis=0))
    unseen = predictor.predict([{**row, "note": "never"}, {**row, "note": "(other)"}])
    assert np.array_equal(unseen.probabilities[0], unseen.probabilities[1])
    assert any(w["code"] == "unseen_category" and "(other)" in w["message"] for w in unseen.warnings)


def test_the_model_card_stands_beside_the_model(finished: Callable[..., Any]) -> None:
    """As JSON and as a page: metrics with intervals, confusion, importances that the bundle has too."""
    _, result = finished()
    folder = Path(result.bundle_uri)
    card = json.loads((folder.parent / "model_card.json").read_text())
    low, high = card["intervals"]["roc_auc"]
    assert low < result.metrics["roc_auc"] < high
    assert sum(map(sum, card["confusion"]["counts"])) == card["heldout_rows"]
    ranked = {c["column"]: c["mean"] for c in card["importance"]["columns"]}
    stored = BundleManifest.from_json((folder / "manifest.json").read_bytes()).importance
    assert stored == pytest.approx(ranked, abs=1e-6)
    assert max(ranked, key=lambda c: ranked[c]) in {"size-cm", "visits", "colour"}
    page = (folder.parent / "model_card.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "size-cm" in page
