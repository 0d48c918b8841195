"""A file under `batch/` from bytes to predictions. Every part may be a repeat: the answer's place derives from the file's identity."""

from __future__ import annotations

import json
import posixpath
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dropforge import ids, keys
from dropforge.batch import row_scores, scoring_contract, scoring_shards, scoring_table
from dropforge.batch.batch_ports import BatchPorts
from dropforge.batch.row_scores import RowScores
from dropforge.batch.scoring_contract import ScoringContract
from dropforge.batch.scoring_table import ScoringFile
from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.errors import NotFound, RejectedUpload
from dropforge.inference.predictor import Predictor
from dropforge.ingest import quarantine
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import check_size, shards
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.shard_plan import Plan
from dropforge.messages import UploadEvent
from dropforge.ports import ObjectStore
from dropforge.serving.prediction_service import open_active
from dropforge.uploads import shard_stage
from dropforge.uploads.shard_stage import MapPorts, ShardStages
from dropforge.uploads.upload_attempt import Attempt, Deadline, Invocation, reason_of
from dropforge.uploads.upload_repository import Reason, UploadRecord

_DELETED = Reason(
    stage="admission", code="deleted", message="the object was deleted before it was read", fix="upload it again"
)


def score(event: UploadEvent, ports: BatchPorts, invocation: Invocation | None = None, ended: str = "") -> UploadRecord:
    """Read the file by the active model's features, score it in pieces, keep the answer; return the record afterwards.
    `ended`: as ShardStages has it.

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
        with tempfile.TemporaryDirectory(prefix="dropforge-") as folder:
            return _score(record, ports, Path(folder), deadline, ended)

    return Attempt(ports.book, ports.log, "scoring", invocation or Invocation(), rejected).run(record, work)


def shards_scored(upload_id: str, stage: str, ports: BatchPorts, invocation: Invocation) -> UploadRecord:
    """Go on with a file whose shards the workflow has read. Raises Unavailable while another invocation works on it."""
    record = ports.book.get(upload_id)
    return shard_stage.next_attempt(record, invocation, lambda event: score(event, ports, invocation, stage))


def _score(record: UploadRecord, ports: BatchPorts, folder: Path, deadline: Deadline, ended: str) -> UploadRecord:
    deadline.reached("download")
    settings = scoring_contract.settings_of(ports.store, ports.data_bucket, record.upload_id)
    file = _download(record, settings, ports.store, folder)
    if file is None:
        return ports.book.advance(record.upload_id, "skipped", reason=_DELETED)
    contract = ScoringContract.read(ports.store, ports.data_bucket, record.upload_id)
    return _Scoring(record, contract, ports, folder, deadline, ended).run(file)


def _download(record: UploadRecord, settings: Settings, store: ObjectStore, folder: Path) -> Path | None:
    """The object's version in the folder; None when it was deleted. Raises RejectedUpload for one over the budget of bytes."""
    source, file = keys.uri(record.bucket, record.key), folder / "upload"
    if (stat := store.stat(source)) is not None:
        check_size(stat.size, settings.data)
    try:
        store.download(source, file, record.version)
    except NotFound:
        return None
    return file


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of the file's rows. `header`, `delimiter`: as it wrote them; `parts`: where the predictions are."""

    scores: RowScores
    header: tuple[str, ...]
    delimiter: str
    parts: list[str]


@dataclass(frozen=True, slots=True)
class _Scoring:
    """One file in work. `ended`: as ShardStages has it."""

    record: UploadRecord
    contract: ScoringContract
    ports: BatchPorts
    folder: Path
    deadline: Deadline
    ended: str

    def run(self, file: Path) -> UploadRecord:
        active, ports = self.contract.active, self.ports
        predictor = open_active(ports.store, ports.data_bucket, active, ports.python)
        self.deadline.reached("admission")
        answer = self._answer(file, predictor)
        stored = self._store_rejects(answer)
        uri = answer.parts[0] if len(answer.parts) == 1 else self._beside("summary.json")
        self._store_summary(answer, predictor, uri)
        scores = answer.scores
        ports.log.info(
            "scored",
            extra={"rows": scores.rows_used, "rows_quarantined": len(scores.rejects), "model": active.version},
        )
        return ports.book.advance(
            self.record.upload_id,
            "scored",
            rows_in=scores.rows_in,
            rows_used=scores.rows_used,
            rows_quarantined=len(scores.rejects),
            quarantine_uri=stored,
            predictions_uri=uri,
            models=({"name": active.model, "version": active.version, "run_id": active.run_id},),
            settings_sha=self.contract.settings.sha256,
        )

    def _answer(self, file: Path, predictor: Predictor) -> _Answer:
        """Of a file of one shard, here; else of the shards that the workflow has scored."""
        data = self.contract.settings.data
        with closing(connect(self.folder)) as database:
            self.deadline.interrupts(database)
            with scoring_table.opened(
                file,
                workdir=self.folder,
                connection=database,
                data=data,
                contract=self.contract.of_model(predictor.manifest),
            ) as rows:
                plan = shards(rows.source, data)
                scores, parts = self._scored(rows, predictor) if plan is None else self._of_shards(rows, plan)
                return _Answer(scores, rows.source.header, rows.source.delimiter, parts)

    def _scored(self, rows: ScoringFile, predictor: Predictor) -> tuple[RowScores, list[str]]:
        rows.read()
        scores = row_scores.score(predictor, rows, lambda: self.deadline.reached("predictions"))
        suffix = "parquet" if rows.source.format == "parquet" else "csv"
        answer = rows.write(self.folder / f"predictions.{suffix}", predictor.manifest.classes)
        stem = posixpath.basename(self.record.key).rsplit(".", 1)[0] or "rows"
        uri = self._beside(f"{stem}.{suffix}")
        self.ports.store.upload(answer, uri, content_type=scoring_shards.TYPES[suffix])
        return scores, [uri]

    def _of_shards(self, rows: ScoringFile, plan: Plan) -> tuple[RowScores, list[str]]:
        ports, data = self.ports, self.contract.settings.data
        self.contract.pin(ports.store, ports.data_bucket)
        whole = OpenFile(rows.source, data, rows.schema, self.folder)
        of_map = MapPorts(ports.store, ports.workflow, ports.data_bucket, ports.log, {"batch": True})
        stages = ShardStages(whole, plan, self.record.upload_id, self.ended, of_map)
        return scoring_shards.MappedFile(stages, rows, self.contract).score()

    def _beside(self, name: str) -> str:
        return f"{keys.predictions_folder(self.ports.data_bucket, self.record.upload_id)}{name}"

    def _store_rejects(self, answer: _Answer) -> str:
        """URI of the quarantined rows; empty when there are none."""
        rejects = quarantine.Quarantine(
            self.record.upload_id, answer.header, answer.delimiter, tuple(answer.scores.rejects)
        )
        return quarantine.write_rejects(self.ports.store, self.ports.data_bucket, rejects, self.folder)

    def _store_summary(self, answer: _Answer, predictor: Predictor, uri: str) -> None:
        """Beside the predictions and behind them: of a large file the list of its parts too."""
        summary = {
            "upload_id": self.record.upload_id,
            "key": self.record.key,
            "predictions_uri": uri,
            "parts": answer.parts,
            "scored_at": now(),
            "model": self.contract.active.identity(),
            **answer.scores.summary(predictor),
        }
        body = json.dumps(summary, indent=1, ensure_ascii=False).encode()
        self.ports.store.put(self._beside("summary.json"), body, content_type="application/json")
