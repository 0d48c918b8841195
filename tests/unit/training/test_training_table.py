"""From a manifest to features, labels and the held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config import settings as settings_module
from dropforge.errors import JobFailed
from dropforge_training.data import training_table

Maker = Callable[..., Any]


def settings_with(data: str = "", training: str = "") -> settings_module.Settings:
    text = f"""
project: p-1
data: {{target: label{data}}}
training: {{holdout_share: 0.3{training}}}
models: [{{name: m, class: "a.b:C"}}]
"""
    return settings_module.load(text)


def test_identical_rows_fall_on_one_side(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """No held-out row is among the training rows, however often it occurs, in whichever part."""
    first = table(300, ("no", "yes"))
    store, manifest = snapshot(pd.concat([first, first]), first.iloc[:100])
    data = training_table.load(store, manifest, settings_with(), tmp_path)
    assert set(data.train.row.tolist()).isdisjoint(data.heldout.row.tolist())
    assert len(data.train) + len(data.heldout) == 600
    assert (data.heldout.row % np.uint64(10_000) < 3000).all()


def test_a_row_sent_again_counts_once_and_equal_rows_of_one_upload_as_they_are(
    snapshot: Maker, table: Maker, tmp_path: Path
) -> None:
    """A row twice in the first part and three times in the second is there three times: weights do not grow by re-sending."""
    first, fresh = table(200, ("no", "yes")), table(50, ("no", "yes"), seed=9)
    one = first.iloc[[0]]
    data = training_table.load(
        *snapshot(pd.concat([first, one]), pd.concat([fresh, one, one, one])), settings_with(), tmp_path
    )
    assert (data.rows, data.repeated) == (200 + 1 + 50 + 1, 2)
    _, counts = np.unique(np.concatenate([data.train.row, data.heldout.row]), return_counts=True)
    assert sorted(counts.tolist())[-2:] == [1, 3]


def test_old_and_new_held_out_rows_are_told_apart(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """Rows of the newest part are new, unless an earlier part has them; with one part there is nothing to tell apart."""
    first, fresh = table(300, ("no", "yes")), table(200, ("no", "yes"), seed=9)
    data = training_table.load(*snapshot(first, pd.concat([fresh, first.iloc[:50]])), settings_with(), tmp_path)
    alone = training_table.load(*snapshot(first), settings_with(), tmp_path)
    assert alone.heldout_new is None
    assert data.heldout_new is not None
    assert sorted(data.heldout.row[~data.heldout_new]) == sorted(alone.heldout.row)
    assert data.heldout_raw is not None
    assert len(data.heldout_raw) == len(data.heldout) == len(data.heldout_new)


@pytest.mark.parametrize("rare", [2, 3, 5])
def test_a_rare_class_has_rows_to_learn_from_and_one_held_out(
    snapshot: Maker, table: Maker, tmp_path: Path, rare: int
) -> None:
    """Two different rows of a class are enough, wherever their hashes would put them."""
    labels = np.array(["a", "b"] * 150, dtype=object)
    labels[:rare] = "rare"
    data = training_table.load(*snapshot(table(300, ("a", "b")).assign(label=labels)), settings_with(), tmp_path)
    for side in (data.train, data.heldout):
        assert set(side.y) == {0, 1, 2}


def test_a_class_of_one_row_in_the_history_stops_no_training(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """A mistyped label that an earlier version accepted is left out and counted; so are equal rows of one class."""
    labels = np.array(["a", "b"] * 150, dtype=object)
    frame = table(300, ("a", "b")).assign(label=labels)
    frame.loc[0, "label"] = "typo"
    frame = pd.concat([frame, frame.iloc[[5, 5]].assign(label="twice")], ignore_index=True)
    data = training_table.load(*snapshot(frame), settings_with(), tmp_path)
    assert (data.classes, dict(data.dropped)) == (["a", "b"], {"typo": 1, "twice": 2})
    assert len(data.train) + len(data.heldout) == 299


def test_numbers_beyond_float32_in_the_history_are_missing(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """What no model can compute with is read as missing and counted by column."""
    frame = table(300, ("a", "b"))
    frame["size-cm"] = frame["size-cm"].astype(float)
    frame.loc[[3, 7], "size-cm"] = [1e39, -1e300]
    data = training_table.load(*snapshot(frame), settings_with(), tmp_path)
    assert dict(data.beyond) == {"size-cm": 2}
    for side in (data.train, data.heldout):
        assert not (side.x["size-cm"].abs() > 3.5e38).any()


@pytest.mark.parametrize(
    ("declared", "values", "expected"),
    [
        ("category", [1.0, 2.5, None], ["1", "2.5", None]),
        ("category", [True, False, True], ["true", "false", "true"]),
        ("number", ["1e3", " 7", "x"], [1000.0, 7.0, None]),
        ("boolean", ["yes", "0", None], [True, False, None]),
    ],
)
def test_an_older_part_is_read_by_the_type_declared_since(
    snapshot: Maker, table: Maker, tmp_path: Path, declared: Any, values: list[Any], expected: list[Any]
) -> None:
    """The advice of an upload whose column changed holds for the rows accepted before it too."""
    frame = table(300, ("a", "b")).assign(
        visits=pd.Series(values * 100, dtype=object if isinstance(values[0], str) else None)
    )
    store, manifest = snapshot(frame, kinds={"visits": declared, "size-cm": "number", "label": "category"})
    data = training_table.load(store, manifest, settings_with(), tmp_path)
    read = {None if v != v else v for side in (data.train, data.heldout) for v in side.x["visits"].tolist()}  # noqa: PLR0124 - NaN
    assert read == set(expected)


def test_rows_without_a_label_are_left_out_and_counted(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """A row with a missing target is neither trained on nor scored."""
    frame = table(300, ("no", "yes"))
    frame.loc[:9, "label"] = None
    data = training_table.load(*snapshot(frame), settings_with(), tmp_path)
    assert (data.unlabelled, data.rows, len(data.train) + len(data.heldout)) == (10, 300, 290)


def test_ignored_columns_and_the_target_are_no_features(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """Features are the schema's columns in its order without target and ignored ones."""
    data = training_table.load(
        *snapshot(table(300, ("no", "yes"))), settings_with(", ignore: [note, visits]"), tmp_path
    )
    assert [c.name for c in data.features] == ["size-cm", "colour", "active", "since"]
    assert list(data.train.x.columns) == ["size-cm", "colour", "active", "since"]


@pytest.mark.parametrize(
    ("kind", "values", "classes"),
    [
        ("integer", [0, 1, None], ["0", "1"]),
        ("boolean", [True, False, None], ["false", "true"]),
        ("category", ["b", "a", None], ["a", "b"]),
    ],
)
def test_classes_are_written_as_in_the_file(
    snapshot: Maker, table: Maker, tmp_path: Path, kind: Any, values: list[Any], classes: list[str]
) -> None:
    """A missing label elsewhere does not turn the class 1 into 1.0."""
    frame = table(300, ("no", "yes"))
    dtype = {"integer": "Int64", "boolean": "boolean", "category": "object"}[kind]
    frame["label"] = pd.array(values * 100, dtype=dtype)
    store, manifest = snapshot(frame, kinds={"size-cm": "number", "label": kind})
    assert training_table.load(store, manifest, settings_with(), tmp_path).classes == classes


@pytest.mark.parametrize(
    ("change", "data", "code"),
    [
        (lambda f: f.assign(label="one"), "", "one_class"),
        (lambda f: f.assign(label=None), "", "one_class"),
        (lambda f: f.assign(label=[str(i) for i in range(len(f))]), "", "too_many_classes"),
        (lambda f: f, ", positive_class: maybe", "positive_class"),
        (lambda f: f, ", ignore: [size-cm, visits, colour, active, since, note]", "no_features"),
    ],
)
def test_data_that_cannot_be_learnt_from_says_why(
    snapshot: Maker, table: Maker, tmp_path: Path, change: Maker, data: str, code: str
) -> None:
    """Each case is a permanent failure with its own code and a way out."""
    with pytest.raises(JobFailed) as failure:
        training_table.load(*snapshot(change(table(300, ("no", "yes")))), settings_with(data), tmp_path)
    assert failure.value.code == code
    assert failure.value.fix


def test_an_altered_part_is_refused(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """A part whose bytes are not those the manifest names is never trained on."""
    store, manifest = snapshot(table(300, ("no", "yes")))
    body = store.get(manifest.parts[0].uri).body
    store.put(manifest.parts[0].uri, body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(JobFailed) as failure:
        training_table.load(store, manifest, settings_with(), tmp_path)
    assert failure.value.code == "part_altered"


def test_the_positive_class_is_the_named_one_or_the_last(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """Settings decide; without them the last class by name is scored; multiclass has none."""
    store, manifest = snapshot(table(300, ("no", "yes")))
    assert training_table.load(store, manifest, settings_with(", positive_class: 'no'"), tmp_path).positive == "no"
    assert training_table.load(store, manifest, settings_with(), tmp_path).positive == "yes"
    assert training_table.load(*snapshot(table(300, ("a", "b", "c"))), settings_with(), tmp_path).positive == ""


def test_rows_that_changed_sides_are_named(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """A row trained on although its hash lies below the held-out share is listed, and no other."""
    frame = table(400, ("no", "yes"))
    rare = frame[frame["label"] == "yes"].iloc[:4]
    for count in range(2, 5):
        data = training_table.load(
            *snapshot(pd.concat([frame[frame["label"] == "no"], rare[:count]])), settings_with(), tmp_path
        )
        below = data.train.row[data.train.row % np.uint64(10_000) < 3000]
        assert sorted(data.moved) == sorted(set(below.tolist()))


def test_a_bundle_gets_the_rules_that_requests_can_be_held_to(snapshot: Maker, table: Maker, tmp_path: Path) -> None:
    """Those whose columns are all features: a rule on the target, or on an ignored column, cannot be told of a request."""
    store, manifest = snapshot(table(300, ("no", "yes")))
    features = [c.name for c in manifest.data_schema.columns if c.name != "label"]

    def rule(name: str, *columns: str) -> dict[str, Any]:
        read = {c: {"type": "number", "missing_markers": ["?"], "number_format": "1234.5"} for c in columns}
        return {
            "name": name,
            "action": "warn",
            "expect": "…",
            "expression": ["is null", ["boolean", True]],
            "columns": read,
        }

    rules = (rule("first", features[0]), rule("two", *features[:2]), rule("target", "label", features[0]))
    ruled = manifest.model_copy(update={"rules": rules})
    assert [r.name for r in training_table.load(store, ruled, settings_with(), tmp_path).rules] == ["first", "two"]
    ignored = settings_with(data=f", ignore: [{features[1]}]")
    assert [r.name for r in training_table.load(store, ruled, ignored, tmp_path).rules] == ["first"]
