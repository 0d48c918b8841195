"""Files to be scored (dropforge.batch.score_file), with a real bundle."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge.batch import row_scores, score_file, scoring_table
from dropforge.batch.batch_ports import BatchPorts
from dropforge.config import settings, settings_store
from dropforge.errors import Unavailable
from dropforge.inference import column_predictor
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.inference.predictor import Predictor, open_bundle
from dropforge.ingest import duckdb_connection
from dropforge.messages import UploadEvent
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryWorkflow
from dropforge_training.export import onnx_graph

SETTINGS = b"project: demo\ndata: {target: bought}\nmodels: [{name: forest, class: a.b:C}]\n"


class Batch:
    """The step over a store that has an active model."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        settings_store.apply(store, "bucket", SETTINGS)
        self.workflow = MemoryWorkflow()
        self.ports = BatchPorts(
            store, UploadRepository(store, "bucket"), "bucket", logging.getLogger("test"), self.workflow
        )

    def put(self, body: bytes, name: str = "rows.csv") -> UploadEvent:
        uri = f"s3://bucket/batch/{name}"
        self.store.put(uri, body)
        return UploadEvent(bucket="bucket", key=f"batch/{name}", version=self.store.get(uri).version)

    def score(self, body: bytes, name: str = "rows.csv") -> UploadRecord:
        return score_file.score(self.put(body, name), self.ports)

    def answer(self, record: UploadRecord) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.store.get(record.predictions_uri).body.decode(), newline="")))

    def summary(self, record: UploadRecord) -> Any:
        return json.loads(self.store.get(f"s3://bucket/predictions/{record.upload_id}/summary.json").body)


@pytest.fixture
def scoring(stored: Any) -> Batch:
    store, activate = stored
    activate()
    return Batch(store)


def _csv(rows: Any, **extra: Any) -> bytes:
    return rows.assign(**extra).to_csv(index=False).encode()


def test_every_row_gets_the_answer_a_request_would_get(
    scoring: Batch, bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file's order, over several chunks; ids and the target come out as they went in."""
    monkeypatch.setattr(row_scores, "CHUNK", 64)
    ids = [f"id {i:04d}" for i in range(len(bundle.rows))]
    record = scoring.score(_csv(bundle.rows, id=ids, bought="no"))
    assert (record.state, record.kind, record.rows_in, record.rows_used) == ("scored", "batch", 300, 300)
    answer = scoring.answer(record)
    served = open_bundle(bundle.manifest.to_json(), bundle.onnx).predict(onnx_graph.records(bundle.rows))
    assert [a["id"] for a in answer] == ids
    assert [a["prediction"] for a in answer] == served.labels
    assert [float(a["probability_yes"]) for a in answer] == pytest.approx(served.probabilities[:, 1].tolist(), abs=1e-6)
    summary = scoring.summary(record)
    assert summary["labels"] == {c: served.labels.count(c) for c in ("no", "yes")}
    assert summary["model"]["version"] == "1"
    counted = {(w["code"], w["field"]): w["rows"] for w in summary["warnings"]}
    assert counted["missing", "age"] == sum(w["code"] == "missing" and w["field"] == "age" for w in served.warnings)


def test_parquet_is_answered_with_parquet(scoring: Batch, bundle: Any, tmp_path: Path) -> None:
    """Typed columns stay typed; the same labels as from CSV."""
    bundle.rows.to_parquet(tmp_path / "rows.parquet")
    record = scoring.score((tmp_path / "rows.parquet").read_bytes(), "rows.parquet")
    (tmp_path / "out.parquet").write_bytes(scoring.store.get(record.predictions_uri).body)
    rows = duckdb.connect().sql(f"SELECT prediction, member, joined FROM '{tmp_path}/out.parquet'")
    assert [str(t) for t in rows.types] == ["VARCHAR", "BOOLEAN", "TIMESTAMP"]
    by_csv = scoring.answer(scoring.score(_csv(bundle.rows)))
    assert [r[0] for r in rows.fetchall()] == [a["prediction"] for a in by_csv]


def test_rows_that_cannot_be_read_are_set_aside(scoring: Batch, bundle: Any) -> None:
    """Line, column and reason in the quarantine; every other row is scored; nothing is lost."""
    lines = _csv(bundle.rows).decode().splitlines()
    lines[5] += ",surplus"
    lines[9] = lines[9].replace(lines[9].split(",")[0], "old", 1)
    record = scoring.score("\n".join(lines).encode() + b"\n")
    assert (record.state, record.rows_in, record.rows_used, record.rows_quarantined) == ("scored", 300, 298, 2)
    assert len(scoring.answer(record)) == 298
    reasons = json.loads(scoring.store.get(f"{record.quarantine_uri}/reasons.json").body)
    assert [(r["line"], r["code"]) for r in reasons["first"]] == [(6, "too_many_fields"), (10, "not_number")]


def test_a_column_named_like_an_answer_stays(scoring: Batch, bundle: Any) -> None:
    """The answer's name gives way."""
    record = scoring.score(_csv(bundle.rows, prediction="mine"))
    first = scoring.answer(record)[0]
    assert first["prediction"] == "mine"
    assert first["prediction_"] in {"no", "yes"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_file"),
        (b"age,job\n1,cook\n", "missing_column"),
        (b"age,job,member,joined\n", "no_rows"),
        (b"age,job,member,joined\nx,cook,true,2020-01-01\ny,cook,true,2020-01-01\n", "too_many_bad_rows"),
        (b"\x89PNG\r\n", "not_a_table"),
        (b'[{"age": 1}]', "not_a_table"),
        (b'age,job,member,joined\n1,"cook,true,2020-01-01\n', "too_many_bad_rows"),
        (b'"age,job,member,joined\n1,cook,true,2020-01-01\n', "unclosed_quote"),
    ],
)
def test_a_bad_file_is_rejected_with_its_reason(scoring: Batch, body: bytes, code: str) -> None:
    """A terminal state with code and fix, and no predictions."""
    record = scoring.score(body)
    assert (record.state, record.reason and record.reason.code) == ("rejected", code)
    assert record.reason
    assert record.reason.fix
    assert not list(scoring.store.list("s3://bucket/predictions/"))


def test_a_replayed_event_changes_nothing(scoring: Batch, bundle: Any) -> None:
    """Not even when another model has become active."""
    event = scoring.put(_csv(bundle.rows))
    first = score_file.score(event, scoring.ports)
    stored = scoring.store.get(first.predictions_uri).version
    assert score_file.score(event, scoring.ports) == first
    assert scoring.store.get(first.predictions_uri).version == stored


def test_without_an_active_model_it_fails_with_the_way_out(stored: Any, bundle: Any) -> None:
    """A terminal state that says how to set one."""
    record = Batch(stored[0]).score(_csv(bundle.rows))
    assert (record.state, record.reason and record.reason.code) == ("failed", "no_active_model")


def test_an_altered_bundle_scores_nothing(stored: Any, bundle: Any) -> None:
    """The hash is checked here as well."""
    store, activate = stored
    activate(onnx=b"altered")
    record = Batch(store).score(_csv(bundle.rows))
    assert (record.state, record.reason and record.reason.code) == ("failed", "bundle_altered")


def test_a_deleted_object_is_skipped(scoring: Batch) -> None:
    """Gone before it was read."""
    event = UploadEvent(bucket="bucket", key="batch/gone.csv", version="9")
    assert score_file.score(event, scoring.ports).state == "skipped"


def test_an_outage_is_tried_again(scoring: Batch, bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error goes to the deliverer, the record says what it was; the event delivered again ends what was begun."""
    event = scoring.put(_csv(bundle.rows))

    def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("down", code="aws_unavailable")

    monkeypatch.setattr(scoring.store, "upload", down)
    with pytest.raises(Unavailable):
        score_file.score(event, scoring.ports)
    monkeypatch.undo()
    record = scoring.ports.book.newest()
    assert record is not None
    assert (record.state, record.attempts, record.outages) == ("received", 1, 1)
    assert record.trouble is not None
    assert record.trouble.message == "down"
    assert score_file.score(event, scoring.ports).state == "scored"


def test_a_defect_ends_failed_after_the_last_delivery(
    scoring: Batch, bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deliveries raise, the third leaves a terminal state."""
    event = scoring.put(_csv(bundle.rows))

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(score_file, "open_active", broken)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            score_file.score(event, scoring.ports)
    assert score_file.score(event, scoring.ports).state == "failed"


@pytest.mark.parametrize("way", ["{:d}", "{:d}.0", "{:d}.00", "{:d}e0", "+{:d}", " {:d} ", "{:.1e}"])
def test_a_number_is_one_value_however_it_is_written(scoring: Batch, bundle: Any, way: str) -> None:
    """70, 70.0 and 7e1, the extremes that training saw among them: the same answer, without a warning, in a file and in a request."""
    ages = [int(a) for a in bundle.rows["age"].dropna().sort_values() if a % 10 == 0 or a in {18, 79}]
    rows = bundle.rows.dropna(subset=["age"])
    rows = rows[rows["age"].isin([*ages, rows["age"].min(), rows["age"].max()])]
    texts = [way.format(float(a) if "e}" in way else int(a)) for a in rows["age"]]
    exact = [float(t) == a for t, a in zip(texts, rows["age"], strict=True)]
    rows, texts = rows[exact], [t for t, e in zip(texts, exact, strict=True) if e]
    assert len(rows) > 10
    predictor = open_bundle(bundle.manifest.to_json(), bundle.onnx)
    numbers = predictor.predict(onnx_graph.records(rows))
    sent = predictor.predict([{**r, "age": t} for r, t in zip(onnx_graph.records(rows), texts, strict=True)])
    record = scoring.score(_csv(rows.assign(age=texts)))
    answer = scoring.answer(record)
    assert sent.probabilities.tolist() == numbers.probabilities.tolist()
    assert [float(a["probability_yes"]) for a in answer] == pytest.approx(
        numbers.probabilities[:, 1].tolist(), abs=1e-6
    )
    assert [a["age"] for a in answer] == texts
    assert not [w for w in (*sent.warnings, *scoring.summary(record)["warnings"]) if w["field"] == "age"]


_MANIFEST = BundleManifest(
    "demo", "m", "r", "d", "now", "y", (), (GraphInput("texts", "string", ("code",)),), "p", ("no", "yes"), "yes", 0.5, "",
)  # fmt: skip
_CODED = pa.table(
    {
        "whole": pa.array([1, 2, 3, None], pa.int64()),
        "fraction": pa.array([1.0, 2.0, 3.0, None], pa.float64()),
        "decimal": pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("3.00"), None], pa.decimal128(9, 2)),
        "truth": pa.array([True, False, True, None]),
    }
)


@pytest.mark.parametrize("column", _CODED.column_names)
@pytest.mark.parametrize("known", [("1", "2"), ("1.0", "2.0"), ("true", "false"), ("True", "False")])
def test_a_category_that_looks_like_a_number_is_one_value(tmp_path: Path, column: str, known: tuple[str, ...]) -> None:
    """A number or truth of Parquet names the category that the same value of a request names, as training saw it written."""
    feature = Feature("code", "category", known)
    manifest = dataclasses.replace(_MANIFEST, features=(feature,))
    predictor = Predictor(manifest, None)
    pq.write_table(_CODED.select([column]).rename_columns(["code"]), tmp_path / "rows.parquet")
    parsed = settings.load(SETTINGS)
    with closing(duckdb_connection.connect(tmp_path)) as db:
        contract = scoring_table.ModelContract((feature,))
        with scoring_table.opened(
            tmp_path / "rows.parquet", workdir=tmp_path, connection=db, data=parsed.data, contract=contract
        ) as rows:
            rows.read()
            (chunk,) = rows.chunks(10)
        fed = column_predictor.feeds(predictor, chunk)["texts"][:, 0].tolist()
    sent = [float(v) if isinstance(v, Decimal) else v for v in _CODED[column].to_pylist()]
    assert fed == [predictor.text(feature, v, 0, []) for v in sent]
