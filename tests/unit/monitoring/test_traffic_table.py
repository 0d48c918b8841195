"""Rows of live traffic as a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb

from dropforge.datasets.table_schema import probability_columns
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.monitoring import traffic_table

MANIFEST = BundleManifest(
    project="demo", model="forest", run_id="r", dataset_id="d", created_at="now", target="y",
    features=(Feature("age", "integer"),), inputs=(GraphInput("n", "float32", ("age",)),), probabilities_output="p",
    classes=("A", "a", "b"), positive_class="", threshold=0.5, onnx_sha256="0", metrics={},
)  # fmt: skip


def test_classes_that_differ_in_case_keep_their_own_probabilities(tmp_path: Path) -> None:
    """From the captured lines through the compacted Parquet to the decision."""
    lines, compacted, none = tmp_path / "rows.jsonl", tmp_path / "rows.parquet", tmp_path / "labels.jsonl"
    none.touch()
    chances = {"x": {"A": 0.2, "a": 0.7, "b": 0.1}, "y": {"A": 0.8, "a": 0.1, "b": 0.1}}
    lines.write_text(
        "".join(
            json.dumps(
                {
                    "prediction_id": i,
                    "row": 0,
                    "at": f"2026-01-01T00:00:0{k}",
                    "label": max(p, key=lambda c: p[c]),
                    "bundle_uri": "s3://b/x",
                    "shadow": False,
                    "source": "o",
                    "probabilities": p,
                    "features": {"age": "1"},
                }
            )
            + "\n"
            for k, (i, p) in enumerate(chances.items())
        )
    )
    with duckdb.connect() as db:
        traffic_table.read_ground_truth(db, none)
        traffic_table.read(db, lines, None, MANIFEST)
        traffic_table.write(db, compacted)
        traffic_table.read(db, None, compacted, MANIFEST)
        traffic_table.answers(db, "decided", traffic_table.ROWS, MANIFEST)
        assert db.execute("SELECT prediction, probability FROM decided").fetchall() == [("a", 0.7), ("A", 0.8)]
        positive = replace(MANIFEST, classes=("A", "a"), positive_class="a")
        traffic_table.answers(db, "decided", traffic_table.ROWS, positive)
        assert db.execute("SELECT prediction FROM decided").fetchall() == [("a",), ("A",)]


def test_every_class_has_a_column_of_its_own() -> None:
    """Also where a class has the name that another one's column was given."""
    for classes in (("A", "a"), ("a.1", "A", "a"), ("A", "a", "a.1"), ("ß", "SS", "ss")):
        columns = probability_columns(classes)
        assert len({c.casefold() for c in columns}) == len(classes)
    assert probability_columns(("no", "yes")) == ["p.no", "p.yes"]
