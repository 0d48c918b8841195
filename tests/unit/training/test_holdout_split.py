"""Held-out rows are as the model will be used, the newest or whole groups: no fit sees a later row, or a group it is judged on."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config import settings as settings_module
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.errors import JobFailed, SettingsError
from dropforge.inference.bundle_manifest import BundleManifest, HoldoutRule
from dropforge_training.data import holdout_split, training_table
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.fit import out_of_fold
from dropforge_training.fit.refit import Refit
from dropforge_training.search import validation_folds

Bench = Callable[..., Any]
KINDS = {"day": "datetime", "customer": "category", "x": "number", "late": "category", "amount": "number"}
SETTINGS = """
project: splits
data: {{target: {target}, task: {task}, ignore: [customer]}}
split: {split}
models:
  - name: boost
    class: dropforge_training.models.hist_gradient_boosting:HistGradientBoosting
    search: {{learning_rate: 0.3}}
    budget: {{trials: 2, seconds: 60}}
"""
BY_TIME, BY_GROUP = "{by: time, time: day}", "{by: group, group: customer}"


def _frame(rows: int = 1200) -> pd.DataFrame:
    """Rows of 60 customers over 300 days in no order; what is predicted drifts with time and depends on the customer."""
    rng = np.random.default_rng(3)
    day = rng.integers(0, 300, rows)
    customer = rng.integers(0, 60, rows)
    x = rng.normal(size=rows)
    amount = x + day / 100 + customer / 20 + rng.normal(0, 0.3, rows)
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
            "customer": [f"c{c}" for c in customer],
            "x": x,
            "late": np.where(amount > np.median(amount), "yes", "no").astype(object),
            "amount": amount,
        }
    )


def _load(bench: Bench, tmp_path: Path, split: str, *, task: str = "regression", frame: Any = None) -> TrainingData:
    target = "amount" if task == "regression" else "late"
    text = SETTINGS.format(target=target, task=task, split=split)
    created = bench(frame=_frame() if frame is None else frame, kinds=KINDS, target=target, text=text)
    return training_table.load(created.store, created.manifest, created.settings, tmp_path)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_by_time_nothing_held_out_is_older_than_a_training_row(bench: Bench, tmp_path: Path, task: str) -> None:
    """Every held-out row is later than every training row, and about a fifth of the rows is held out."""
    data = _load(bench, tmp_path, BY_TIME, task=task)
    assert data.train.x["day"].max() < data.heldout.x["day"].min()
    assert len(data.heldout) / 1200 == pytest.approx(0.2, abs=0.02)
    assert data.split.start == data.heldout.x["day"].min().timestamp()


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_by_group_no_group_is_on_both_sides(bench: Bench, tmp_path: Path, task: str) -> None:
    """No held-out customer has a training row, and the same customers are held out when rows are added."""
    data = _load(bench, tmp_path, BY_GROUP, task=task)
    more = _load(bench, tmp_path, BY_GROUP, task=task, frame=_frame(2000))
    heldout = set(data.heldout_raw["customer"])
    assert not set(data.heldout.group) & set(data.train.group)
    assert len(heldout) == 12
    assert heldout == set(more.heldout_raw["customer"])


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("rows", [600, 3000, 12000])
@pytest.mark.parametrize("split", [BY_TIME, BY_GROUP])
def test_tuning_and_out_of_fold_fits_are_split_alike(
    bench: Bench, tmp_path: Path, split: str, rows: int, task: str
) -> None:
    """By time each part is scored by earlier rows only, by group no group is on both sides: trials, calibration and intervals."""
    data = _load(bench, tmp_path, split, task=task, frame=_frame(rows))
    train, classes = data.train, len(data.classes)
    parts = [*validation_folds.sides(train, classes, 1), *out_of_fold._sides(train, classes, 1)]
    assert len(parts) > 2
    for inside, outside in parts:
        assert len(inside)
        assert len(outside)
        if data.split.by == "time":
            assert train.time[inside].max() < train.time[outside].min()
        else:
            assert not set(train.group[inside]) & set(train.group[outside])


def test_the_newest_training_rows_are_what_a_single_split_scores(bench: Bench, tmp_path: Path) -> None:
    """Of many rows trials are scored on the newest fifth of the training rows, which early stopping looks at too."""
    data = _load(bench, tmp_path, BY_TIME, frame=_frame(12000))
    [(inside, outside)] = validation_folds.sides(data.train, 0, 1)
    assert len(outside) / len(data.train) == pytest.approx(0.2, abs=0.03)
    assert len(inside) + len(outside) == len(data.train)


@dataclass(frozen=True)
class Watched:
    """A job by time: its folder of artifacts, and the days of the rows of each fit and of those it is then asked for."""

    folder: Path
    fits: list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="session")
def watched(bench: Bench) -> Watched:
    """The last fit is that of the served model, with the held-out rows of the stored evaluation."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return _watched(bench, monkeypatch)


def _watched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    make, fit = validation_folds.make, Refit._fitted

    def recorded_fit(candidate: Any, data: TrainingData, *rest: Any) -> Any:
        matches = make(candidate, data, *rest)
        # Without the date, which is tried too, the first column is another one.
        seen.extend((f.x[:, 0], f.x_valid[:, 0]) for f in matches if not data.clock)
        return matches

    def fitted(refit: Refit, rows: Table, **beyond: bool) -> Any:
        days = (rows.x["day"] - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        seen.append((np.asarray(days, dtype=np.float32), np.empty(0)))
        return fit(refit, rows, **beyond)

    monkeypatch.setattr(validation_folds, "make", recorded_fit)
    monkeypatch.setattr(Refit, "_fitted", fitted)
    done = bench(
        frame=_frame(700),
        kinds=KINDS,
        target="amount",
        text=SETTINGS.format(target="amount", task="regression", split=BY_TIME),
    )
    result = done.run(done.job("boost", upload="splitsbytime"))
    folder = Path(result.bundle_uri)
    manifest = BundleManifest.from_json((folder / "manifest.json").read_bytes())
    table = pd.read_parquet(folder.parent / "evaluation" / "heldout.parquet")
    stored = pd.read_parquet(io.BytesIO(done.store.get(done.manifest.parts[0].uri).body))
    of_row = dict(zip(stored[ROW_HASH], stored["day"], strict=True))
    days = np.array([of_row[h].timestamp() / 86_400 for h in table[ROW_HASH]])
    assert days.min() * 86_400 == manifest.split.start
    return Watched(folder.parent, [*seen, (seen[-1][0], days)])


def test_no_fit_of_a_job_sees_a_row_later_than_those_it_is_judged_on(watched: Watched) -> None:
    """0 future rows over the served path: trials, out-of-fold fits, the last fit, and the held-out rows of the stored evaluation."""
    pairs = watched.fits
    held_from = pairs[-1][1].min()
    assert len(pairs) > 8
    for inside, outside in pairs:
        assert np.nanmax(inside) < held_from
        assert not len(outside) or np.nanmax(inside) < np.nanmin(outside)


def test_the_card_tells_the_score_of_each_period(watched: Watched) -> None:
    """Periods follow each other, end with the held-out ones, and the page shows them."""
    folder = watched.folder
    card = json.loads((folder / "model_card.json").read_text())
    entries = card["periods"]["entries"]
    assert [e["held_out"] for e in entries] == sorted(e["held_out"] for e in entries)
    assert sum(e["rows"] for e in entries if e["held_out"]) == card["heldout_rows"]
    assert all(a["to"] < b["from"] for a, b in itertools.pairwise(entries))
    page = (folder / "model_card.html").read_text()
    assert "Scores by period" in page
    assert entries[-1]["to"] in page
    assert card["split"]["words"].startswith("the newest rows: day from 2024-")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (HoldoutRule("time", "day", start=pd.Timestamp("2024-06-01").timestamp()), [False, True, False]),
        (HoldoutRule("time", "gone", start=0.0), [False, False, False]),
        (HoldoutRule("random"), [True, False, False]),
    ],
)
def test_the_gate_scores_the_active_model_on_rows_it_cannot_have_seen(rule: HoldoutRule, expected: list[bool]) -> None:
    """By the active model's own rule: later than its training rows, groups it never had, hashes below its share."""
    table = pd.DataFrame(
        {
            "day": pd.to_datetime(["2024-05-31", "2024-06-01", None]),
            ROW_HASH: np.array([1_999, 2_000, 5_000], dtype=np.uint64),
        }
    )
    assert holdout_split.unseen(rule, 0.2, (), table).tolist() == expected


def test_groups_the_active_model_had_are_not_scored(bench: Bench, tmp_path: Path) -> None:
    """The held-out groups of a bundle are those its rule names, whatever else the table holds."""
    data = _load(bench, tmp_path, BY_GROUP)
    assert holdout_split.unseen(data.split, 0.2, (), data.heldout_raw).all()
    every = _frame()
    every[ROW_HASH] = np.arange(len(every), dtype=np.uint64)
    inside = holdout_split.unseen(data.split, 0.2, (), every)
    assert set(every["customer"][inside]) == set(data.heldout_raw["customer"])


def test_a_span_holds_out_the_last_days(bench: Bench, tmp_path: Path) -> None:
    """`holdout: 30 days` holds out the days after the last moment less 30."""
    data = _load(bench, tmp_path, '{by: time, time: day, holdout: "30 days"}')
    last = _frame()["day"].max()
    assert data.heldout.x["day"].min() > last - pd.Timedelta(days=30)
    assert data.train.x["day"].max() <= last - pd.Timedelta(days=30)


def test_rows_without_a_time_are_left_out_and_counted(bench: Bench, tmp_path: Path) -> None:
    """They might be later than what the model is judged on."""
    frame = _frame()
    frame.loc[:99, "day"] = pd.NaT
    data = _load(bench, tmp_path, BY_TIME, frame=frame)
    assert data.undated == 100
    assert len(data.train) + len(data.heldout) == 1100


def test_a_class_that_came_last_is_left_out_of_what_is_judged(bench: Bench, tmp_path: Path) -> None:
    """No model of the rows before can know it; the rows are counted."""
    frame = _frame()
    frame.loc[frame["day"] > frame["day"].max() - pd.Timedelta(days=10), "late"] = "new"
    data = _load(bench, tmp_path, BY_TIME, task="classification", frame=frame)
    assert data.classes == ["no", "yes"]
    assert data.dropped["new"] > 10


@pytest.mark.parametrize(
    ("split", "change", "code"),
    [
        ("{by: time, time: when}", {}, "split_column"),
        ("{by: group, group: client}", {}, "split_column"),
        ("{by: time, time: customer}", {}, "split_time_kind"),
        ('{by: time, time: x, holdout: "3 days"}', {}, "split_holdout"),
        ('{by: time, time: day, holdout: "900 weeks"}', {}, "split_holdout"),
        (BY_GROUP, {"customer": "only one"}, "split_few_groups"),
        (BY_TIME, {"day": pd.Timestamp("2024-01-01")}, "split_few_times"),
        (BY_TIME, {"day": pd.NaT}, "split_time_missing"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_way_out(
    bench: Bench, tmp_path: Path, split: str, change: dict[str, Any], code: str
) -> None:
    """Missing columns, columns that order nothing, too few groups or moments."""
    with pytest.raises(JobFailed) as error:
        _load(bench, tmp_path, split, frame=_frame().assign(**change))
    assert error.value.code == code
    assert error.value.fix


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("{by: time}", "by: time needs `time`"),
        ("{by: group, time: day}", "needs `group`"),
        ("{by: random, group: customer}", "`group` has no effect"),
        ('{holdout: "30 days"}', "is a span of time"),
        ("{by: time, time: day, holdout: 30}", "neither a fraction"),
        ("{by: time, time: day, holdout: 30 dayz}", "neither a fraction"),
        ("{by: time, time: amount}", "is the target"),
    ],
)
def test_settings_that_contradict_each_other_name_the_key(split: str, words: str) -> None:
    """With the line of settings.yaml."""
    with pytest.raises(SettingsError, match=r"settings\.yaml") as error:
        settings_module.load(SETTINGS.format(target="amount", task="regression", split=split))
    assert words in str(error.value)
