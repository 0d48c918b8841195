"""A file under `batch/` from bytes to predictions. Every part may be a repeat: the answer's place derives from the file's identity."""

from __future__ import annotations

import json
import logging
import os
import posixpath
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge import ids, keys
from dropforge.batch import scoring_table
from dropforge.clock import now
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import NotFound, RejectedUpload
from dropforge.inference import column_predictor
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.predictor import Predictor
from dropforge.ingest import quarantine
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import check_size
from dropforge.messages import UploadEvent
from dropforge.ports import Function, ObjectStore
from dropforge.s3_uri import join
from dropforge.serving.prediction_service import open_active
from dropforge.uploads.upload_attempt import Attempt, Deadline, Invocation, reason_of
from dropforge.uploads.upload_repository import Reason, UploadRecord, UploadRepository

CHUNK = 100_000  # rows in memory at a time
_DELETED = Reason(
    stage="admission", code="deleted", message="the object was deleted before it was read", fix="upload it again"
)


@dataclass(frozen=True, slots=True)
class BatchPorts:
    """What the step needs from the world."""

    store: ObjectStore
    book: UploadRepository
    data_bucket: str
    log: logging.Logger
    python: Callable[[], Function | None] = lambda: None  # for a model without a graph


def score(event: UploadEvent, ports: BatchPorts, invocation: Invocation | None = None) -> UploadRecord:
    """Read the file by the active model's features, score it in pieces, keep the answer; return the record afterwards.

    A bad file ends as rejected; no active model, a defect, a lack of memory or of time as failed. Raises TransientError (and on
    earlier attempts anything unexpected): the event is delivered again.
    """
    record = ports.book.open(
        UploadRecord(
            upload_id=ids.upload_id(event.bucket, event.key, event.version),
            kind="batch",
            bucket=event.bucket,
            key=event.key,
            version=event.version,
            size=event.size,
            sequencer=event.sequencer,
        )
    )

    def rejected(record: UploadRecord, error: RejectedUpload) -> UploadRecord:
        ports.log.warning("rejected", extra={"code": error.code})  # the message quotes cells; the record has it
        return ports.book.advance(record.upload_id, "rejected", reason=reason_of(error, "admission"))

    def work(record: UploadRecord, deadline: Deadline) -> UploadRecord:
        settings = settings_store.read(ports.store, keys.settings(ports.data_bucket))
        with tempfile.TemporaryDirectory(prefix="dropforge-") as folder:
            return _score(record, settings, ports, Path(folder), deadline)

    return Attempt(ports.book, ports.log, "scoring", invocation or Invocation(), rejected).run(record, work)


def _score(
    record: UploadRecord, settings: Settings, ports: BatchPorts, folder: Path, deadline: Deadline
) -> UploadRecord:
    deadline.reached("download")
    file = _download(record, settings, ports, folder)
    if file is None:
        return ports.book.advance(record.upload_id, "skipped", reason=_DELETED)
    active, _ = ActivePointer(ports.store, ports.data_bucket).read()
    predictor = open_active(ports.store, ports.data_bucket, active, ports.python)
    deadline.reached("admission")
    with closing(connect(folder)) as database:
        deadline.interrupts(database)
        rows = scoring_table.open_file(
            file,
            workdir=folder,
            connection=database,
            data=settings.data,
            contract=_contract(active, predictor.manifest),
        )
        stored = _store_rejects(record, ports, rows, folder)
        counted, warnings = _predict(predictor, rows, deadline)
        warnings += Counter({("rule_violated", name): n for name, n in rows.violations.items()})
        suffix = "parquet" if rows.source.format == "parquet" else "csv"
        answer = rows.write(folder / f"predictions.{suffix}", predictor.manifest.classes)
    uri = _uri(ports.data_bucket, record, suffix)
    summary = {
        "upload_id": record.upload_id,
        "key": record.key,
        "predictions_uri": uri,
        "scored_at": now(),
        "model": active.identity(),
        **_counts(predictor, rows, counted, warnings),
    }
    _publish(ports.store, answer.file, uri, summary)
    ports.log.info(
        "scored", extra={"rows": answer.rows, "rows_quarantined": len(rows.rejects), "model": active.version}
    )
    return ports.book.advance(
        record.upload_id,
        "scored",
        rows_in=rows.rows_in,
        rows_used=rows.rows_used,
        rows_quarantined=len(rows.rejects),
        quarantine_uri=stored,
        predictions_uri=uri,
        models=({"name": active.model, "version": active.version, "run_id": active.run_id},),
        settings_sha=settings.sha256,
    )


def _contract(active: Active, manifest: BundleManifest) -> scoring_table.ModelContract:
    rules = () if active.rules == "off" else manifest.rules
    return scoring_table.ModelContract(manifest.features, rules, refuse=active.rules == "refuse")


def _predict(
    predictor: Predictor, rows: scoring_table.ScoringFile, deadline: Deadline
) -> tuple[dict[str, Any], Counter[tuple[str, str]]]:
    """What was predicted, for the summary (`labels`: rows a class; of a regression `prediction`: range and mean), and warnings."""
    import numpy as np

    labels: Counter[int] = Counter()
    warnings: Counter[tuple[str, str]] = Counter()
    low, high, total = np.inf, -np.inf, 0.0
    for chunk in rows.chunks(CHUNK):
        deadline.reached("predictions")
        scores = column_predictor.predict(predictor, chunk, threads=_cores())
        rows.keep(scores.labels, scores.probabilities)
        warnings += scores.warnings
        if predictor.manifest.regression is not None:
            low, high = min(low, float(scores.labels.min())), max(high, float(scores.labels.max()))
            total += float(scores.labels.sum())
            continue
        labels += Counter({int(k): int(n) for k, n in zip(*np.unique(scores.labels, return_counts=True), strict=True)})
    if predictor.manifest.regression is not None:
        mean = total / rows.rows_used if rows.rows_used else None
        return {"prediction": {"minimum": low, "mean": mean, "maximum": high} if mean is not None else None}, warnings
    return {"labels": {c: labels[k] for k, c in enumerate(predictor.manifest.classes)}}, warnings


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _counts(
    predictor: Predictor,
    rows: scoring_table.ScoringFile,
    counted: dict[str, Any],
    warnings: Counter[tuple[str, str]],
) -> dict[str, Any]:
    """What the summary says of the rows. `counted`: see _predict."""
    return {
        "threshold": predictor.manifest.threshold if predictor.manifest.positive_class else None,
        "rows_in": rows.rows_in,
        "rows_scored": rows.rows_used,
        "rows_quarantined": len(rows.rejects),
        **counted,
        "warnings": [
            {"code": code, "field": field, "rows": count} for (code, field), count in sorted(warnings.items())
        ],
    }


def _download(record: UploadRecord, settings: Settings, ports: BatchPorts, folder: Path) -> Path | None:
    """The object's version in the folder; None when it was deleted. Raises RejectedUpload for one over the budget of bytes."""
    source, file = keys.uri(record.bucket, record.key), folder / "upload"
    if (stat := ports.store.stat(source)) is not None:
        check_size(stat.size, settings.data)
    try:
        ports.store.download(source, file, record.version)
    except NotFound:
        return None
    return file


def _store_rejects(record: UploadRecord, ports: BatchPorts, rows: scoring_table.ScoringFile, folder: Path) -> str:
    """URI of the quarantined rows; empty when there are none."""
    source = rows.source
    rejects = quarantine.Quarantine(record.upload_id, tuple(source.header), source.delimiter, tuple(rows.rejects))
    return quarantine.write_rejects(ports.store, ports.data_bucket, rejects, folder)


def _publish(store: ObjectStore, file: Path, uri: str, summary: dict[str, Any]) -> None:
    """The predictions, then the summary beside them."""
    csv = uri.endswith(".csv")
    store.upload(file, uri, content_type="text/csv" if csv else "application/vnd.apache.parquet")
    store.put(
        join(uri.rpartition("/")[0], "summary.json"),
        json.dumps(summary, indent=1, ensure_ascii=False).encode(),
        content_type="application/json",
    )


def _uri(bucket: str, record: UploadRecord, suffix: str) -> str:
    stem = posixpath.basename(record.key).rsplit(".", 1)[0] or "rows"
    return f"{keys.predictions_folder(bucket, record.upload_id)}{stem}.{suffix}"
