"""The facts of the model card, and the page made of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.metrics.weighted_rows import Rows
from dropforge_training.card import card_facts, html_page
from dropforge_training.data.training_table import Table
from dropforge_training.evaluate import curves
from dropforge_training.explain import shap_values

HOSTILE = "<script>alert('x')</script>&\"'"


def test_fairness_differences_of_a_known_case() -> None:
    """Two groups of forty: 30 of 40 against 10 of 40 predicted positive; all and half of the positives found."""
    y = np.array([1] * 20 + [0] * 20 + [1] * 20 + [0] * 20)
    guess = np.array([1] * 30 + [0] * 10 + [1] * 10 + [0] * 30)
    p = np.column_stack([1 - 0.8 * guess, 0.8 * guess])
    groups = pd.DataFrame({"sex": ["a"] * 40 + ["b"] * 40, "rare": ["c"] * 75 + ["d"] * 5})
    result = card_facts.slices(Rows(y, guess, p, 1), groups)
    document = {d["column"]: d for d in card_facts.differences(result)}
    assert document["sex"]["demographic_parity_difference"] == pytest.approx(0.5)
    assert document["sex"]["equalised_odds_difference"] == pytest.approx(0.5)
    assert "rare" not in document  # five rows are counted, not scored


def test_the_bins_of_the_reliability_diagram() -> None:
    """Mean probability, share that came true and rows of every bin that has any."""
    y = np.array([1, 1, 1, 0, 0])
    p = np.array([0.9, 0.95, 0.97, 0.91, 0.05])
    output = curves.reliability(y, np.column_stack([1 - p, p]), 1)
    assert [b["rows"] for b in output] == [1, 4]
    assert output[1]["observed"] == pytest.approx(0.75)
    assert output[1]["predicted"] == pytest.approx(p[:4].mean())


def test_curves_keep_their_ends_and_stay_short() -> None:
    """Thousands of rows become 120 points at most, from nothing found to everything found."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 5000)
    p = np.clip(0.3 * y + 0.7 * rng.random(5000), 0, 1)
    output = curves.ranking(Rows(y, (p > 0.5).astype(int), np.column_stack([1 - p, p]), 1), ["no", "yes"])[0]
    assert len(output["roc"]) <= 120
    assert (output["roc"][0], output["roc"][-1]) == ([0, 0], [1, 1])
    assert output["precision_recall"][-1][0] == 1


@pytest.mark.parametrize("positive", ["yes", "no"])
def test_contributions_add_up_to_the_prediction(finished: Callable[..., Any], positive: str) -> None:
    """Base and contributions of an example are its log-odds, towards the positive class; one entry a source column."""
    import mlflow

    created, result = finished("xgboost")
    mlflow.set_tracking_uri(created.tracking_uri)
    model = mlflow.sklearn.load_model(result.model_source)
    model.positive = positive
    document = json.loads((Path(result.bundle_uri).parent / "model_card.json").read_text())["contributions"]
    assert {c["column"] for c in document["columns"]} == {"size-cm", "visits", "colour", "active", "since", "note"}
    rows = pd.DataFrame([json.loads((Path(result.bundle_uri) / "manifest.json").read_text())["example"]] * 3)
    output = shap_values.of(
        model, Table(rows, np.array([0, 1, 0]), np.arange(3)), ["no", "yes"].index(positive), seed=1, seconds=1.0
    )
    assert output is not None
    for example in output["examples"]:
        total = output["base"] + sum(c["contribution"] for c in example["contributions"]) + example["rest"]
        p = model.raw(rows)[0, ["no", "yes"].index(positive)]
        assert total == pytest.approx(example["margin"], abs=1e-5)
        assert 1 / (1 + np.exp(-total)) == pytest.approx(p, abs=1e-5)


def test_contributions_take_the_time_there_is() -> None:
    """Each row through many trees takes a second: ten rows are explained, and more only within the seconds."""
    explained_rows: list[int] = []

    class Slow:
        def predict(self, rows: Any, **_given: Any) -> np.ndarray:
            explained_rows.append(rows.num_row())
            time.sleep(0.002 * rows.num_row())
            return np.zeros((rows.num_row(), 3))

    matrix = np.zeros((300, 2), dtype=np.float32)
    assert len(shap_values._within(Slow(), matrix, 0.0)) == 10
    assert 10 < len(shap_values._within(Slow(), matrix, 0.1)) < 300
    assert len(shap_values._within(Slow(), matrix, 60.0)) == 300
    assert sum(explained_rows) < 10 + 60 + 300


class _Tags(HTMLParser):
    """Names of the tags of a page, and its addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href"}]


@pytest.mark.parametrize(
    "classes",
    [(HOSTILE, "yes"), pytest.param((HOSTILE, "b", "c"), marks=pytest.mark.campaign)],
    ids=["binary", "multiclass"],
)
def test_the_page_says_nothing_to_any_other_machine(bench: Callable[..., Any], classes: tuple[str, ...]) -> None:
    """No script, no address, no column or class that becomes markup; every section is there, and its figures are the card's."""
    import mlflow

    created = bench(classes, extra="serving: {threshold: max_f1}\n")
    result = created.run(created.job("xgboost", upload=f"page-{len(classes)}"))
    folder = Path(result.bundle_uri).parent
    page, stored = (folder / "model_card.html").read_text(), json.loads((folder / "model_card.json").read_text())
    parsed = _Tags()
    parsed.feed(page)
    assert not parsed.seen & {"script", "link", "img", "iframe", "form"}
    assert parsed.addresses == []
    assert not re.search(r"https?://", page)
    assert "polyline" in parsed.seen
    assert f"{stored['metrics']['roc_auc']:.4f}" in page
    sections = (
        "ROC and precision-recall",
        "Confusion matrix",
        "Calibration",
        "Prediction sets",
        "Feature importance",
        "Provenance",
    )
    for section in sections:
        assert section in page
    if len(classes) == 2:
        assert stored["threshold_reason"].startswith("max_f1")
    completed = mlflow.MlflowClient(created.tracking_uri).get_run(result.run_id).data.metrics
    assert completed["heldout.roc_auc.low"] < completed["heldout.roc_auc"] < completed["heldout.roc_auc.high"]
    assert completed["conformal.0.9.covered"] > 0.7


def test_a_comparison_shows_in_the_page(finished: Callable[..., Any]) -> None:
    """The verdict follows the interval: above zero better, across zero as good, below zero worse."""
    _, result = finished("xgboost")
    document = json.loads((Path(result.bundle_uri).parent / "model_card.json").read_text())
    entry = {"slice": "all", "rows": 100, "candidate": 0.9, "served": 0.9}
    for low, high, words in ((0.01, 0.03, "Better than"), (-0.01, 0.01, "As good as"), (-0.03, -0.01, "Worse than")):
        output = {**entry, "gain": (low + high) / 2, "low": low, "high": high}
        served = {"model": HOSTILE, "version": "3"}
        page = html_page.render(
            {**document, "comparison": {**document["comparison"], "served": served, "slices": [output]}}
        )
        assert words in page
        assert "<script" not in page


def test_importance_is_measured_on_every_class_and_weighs_rows_as_all() -> None:
    """Twenty rows of 5,000 are a rare class: all of them are in the sample, and weights bring back the shares of all rows."""
    y = np.array([0] * 4_880 + [1] * 100 + [2] * 20)
    places, weights = card_facts._sample(y, 1_000, np.random.default_rng(3))
    assert np.bincount(y[places]).tolist() == [976, 30, 20]
    shares = np.bincount(y[places], weights=weights) / weights.sum()
    assert shares == pytest.approx(np.bincount(y) / len(y))
