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
from dropforge.datasets.table_schema import Schema
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import NotFound, RejectedUpload
from dropforge.inference import column_predictor
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
    file = folder / "upload"
    deadline.reached("download")
    source = keys.uri(record.bucket, record.key)
    if (result := ports.store.stat(source)) is not None:
        check_size(result.size, settings.data)
    try:
        ports.store.download(source, file, record.version)
    except NotFound:
        reason = Reason(
            stage="admission",
            code="deleted",
            message="the object was deleted before it was read",
            fix="upload it again",
        )
        return ports.book.advance(record.upload_id, "skipped", reason=reason)
    active, _ = ActivePointer(ports.store, ports.data_bucket).read()
    predictor = open_active(ports.store, ports.data_bucket, active, ports.python)
    features = predictor.manifest.features
    described = [{"name": f.name, "kind": f.kind, "number_format": f.number_format} for f in features]
    schema = Schema.model_validate({"columns": described, "target": ""})
    deadline.reached("admission")
    with closing(connect(folder)) as database:
        deadline.interrupts(database)
        rows = scoring_table.open_file(
            file,
            workdir=folder,
            connection=database,
            data=settings.data,
            schema=schema,
            markers={f.name: f.missing_markers for f in features},
            rules=() if active.rules == "off" else predictor.manifest.rules,
            refuse=active.rules == "refuse",
        )
        stored = quarantine.write_rejects(
            ports.store,
            ports.data_bucket,
            record.upload_id,
            rows.rejects,
            rows.source.header,
            rows.source.delimiter,
            folder,
        )
        counted, warnings = _predict(predictor, rows, deadline)
        warnings += Counter({("rule_violated", name): n for name, n in rows.violations.items()})
        suffix = "parquet" if rows.source.format == "parquet" else "csv"
        answer = rows.write(folder / f"predictions.{suffix}", predictor.manifest.classes)
    uri = _uri(ports.data_bucket, record, suffix)
    ports.store.upload(
        answer.file, uri, content_type="text/csv" if suffix == "csv" else "application/vnd.apache.parquet"
    )
    summary = _summary(record, active, predictor, rows, counted, warnings, uri)
    ports.store.put(
        join(uri.rpartition("/")[0], "summary.json"),
        json.dumps(summary, indent=1, ensure_ascii=False).encode(),
        content_type="application/json",
    )
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


def _summary(
    record: UploadRecord,
    active: Active,
    predictor: Predictor,
    rows: scoring_table.ScoringFile,
    counted: dict[str, Any],
    warnings: Counter[tuple[str, str]],
    uri: str,
) -> dict[str, Any]:
    return {
        "upload_id": record.upload_id,
        "key": record.key,
        "predictions_uri": uri,
        "scored_at": now(),
        "model": active.identity(),
        "threshold": predictor.manifest.threshold if predictor.manifest.positive_class else None,
        "rows_in": rows.rows_in,
        "rows_scored": rows.rows_used,
        "rows_quarantined": len(rows.rejects),
        **counted,
        "warnings": [
            {"code": code, "field": field, "rows": count} for (code, field), count in sorted(warnings.items())
        ],
    }


def _uri(bucket: str, record: UploadRecord, suffix: str) -> str:
    stem = posixpath.basename(record.key).rsplit(".", 1)[0] or "rows"
    return f"{keys.predictions_folder(bucket, record.upload_id)}{stem}.{suffix}"
