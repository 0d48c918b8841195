"""One upload from bytes to verdict. Every part may be a repeat: names derive from content, writes are conditional."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dropforge import ids, keys
from dropforge.analysis.report import html_report
from dropforge.analysis.report_model import Report
from dropforge.clock import now
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_manifest import DatasetManifest
from dropforge.datasets.dataset_store import DatasetStore, Entry
from dropforge.datasets.table_schema import Schema
from dropforge.errors import DropforgeError, NotFound
from dropforge.ingest import quarantine
from dropforge.ingest.admission import Admission
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit, check_size
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.shard_plan import Plan
from dropforge.messages import UploadEvent
from dropforge.ports import RunInfo
from dropforge.uploads import decisions, retrain_rounds, retrain_trigger
from dropforge.uploads.publish_report import Reporting
from dropforge.uploads.shard_map import ShardMap
from dropforge.uploads.shard_stage import MapPorts, ShardStages, next_attempt
from dropforge.uploads.upload_attempt import Attempt, Deadline, Invocation, reason_of
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import Reason, UploadRecord


def analyze(event: UploadEvent, ports: Ports, invocation: Invocation | None = None, ended: str = "") -> UploadRecord:
    """Admit, compare, report, hand over to training; return the record as it is afterwards. `ended`: as ShardStages has it.

    A bad file ends as rejected, a duplicate as skipped, a blocking verdict as blocked; a defect, a lack of memory or of time
    as failed after retry_limits.ATTEMPTS. Raises TransientError (and on earlier attempts anything unexpected): the event is
    delivered again.
    """
    upload_id = ids.upload_id(event.bucket, event.key, event.version)
    record = ports.book.open(
        UploadRecord(
            upload_id=upload_id,
            bucket=event.bucket,
            key=event.key,
            version=event.version,
            size=event.size,
            sequencer=event.sequencer,
        )
    )
    if record.state == "waiting":  # its first delivery may have died before anybody waited for its round
        retrain_rounds.announce(ports, settings_store.in_force(ports.store, ports.data_bucket)[0].training.trigger)
    attempt = Attempt(
        ports.book,
        ports.log,
        "analysis",
        invocation or Invocation(),
        lambda record, error: reject(record, error, ports),
    )
    return attempt.run(record, lambda record, deadline: _work(record, deadline, ports, ended))


def shards_read(upload_id: str, stage: str, ports: Ports, invocation: Invocation) -> UploadRecord:
    """Go on with an upload whose shards the workflow has read. Raises Unavailable while another invocation works on it."""
    record = ports.book.get(upload_id)
    return next_attempt(record, invocation, lambda event: analyze(event, ports, invocation, stage))


def _work(record: UploadRecord, deadline: Deadline, ports: Ports, ended: str) -> UploadRecord:
    settings, settings_uri = settings_store.in_force(ports.store, ports.data_bucket)
    record = ports.book.update(record.upload_id, settings_sha=settings.sha256)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropforge-")))
        database = stack.enter_context(closing(connect(folder)))
        deadline.interrupts(database)
        return _Analysis(record, settings, settings_uri, ports, folder, database, deadline, ended).run()


@dataclass
class _Analysis:
    """One upload in work; holds what the parts share. `database`: DuckDB's connection."""

    record: UploadRecord
    settings: Settings
    settings_uri: str
    ports: Ports
    workdir: Path
    database: Any
    deadline: Deadline
    ended: str

    def __post_init__(self) -> None:
        self.datasets = DatasetStore(self.ports.store, self.ports.data_bucket)
        self.upload_id = self.record.upload_id

    def run(self) -> UploadRecord:
        file = self.workdir / "upload"
        overtaken = self._overtaken()
        if overtaken is not None:
            return overtaken
        self.deadline.reached("download")
        try:
            self.ports.store.download(keys.uri(self.record.bucket, self.record.key), file, self.record.version)
        except NotFound:
            return self._deleted()
        return self._analyse(file)

    def _analyse(self, file: Path) -> UploadRecord:
        """From the file to its end, compared with the reference there is now; the first upload is compared with nothing."""
        reference_id = self.datasets.reference_id(self.settings.data)
        reference = self.datasets.manifest(reference_id) if reference_id else None
        self.deadline.reached("admission")
        admission = self._admit(file, reference.data_schema if reference else None, reference_id)
        self.ports.log.info(
            "admitted",
            extra={
                "rows_in": admission.rows_in,
                "rows_used": admission.rows_used,
                "rows_quarantined": admission.rows_quarantined,
                "metrics": {"RowsIn": admission.rows_in, "RowsQuarantined": admission.rows_quarantined},
            },
        )
        self._record_rows(admission)
        duplicate = self._duplicate(admission.dataset_id)
        if duplicate is not None:
            return duplicate
        manifest = self.datasets.save(admission, source=keys.uri(self.record.bucket, self.record.key), created_at=now())
        first = not reference_id and self.settings.data.reference == "first"
        against = admission.dataset_id if first else reference_id
        self.deadline.reached("profile and report")
        report, run = Reporting(self.record, self.settings, self.ports).make(
            admission, against, self.workdir, self.database
        )
        # Claimed when its profile is there and its report says that it may be used: a first upload that fails before leaves
        # the place to the next one.
        usable = report.verdict.word != "block" and self._approved(report)
        if first and usable and self.datasets.claim_reference(against) != against:
            return self._analyse(file)  # another first upload was quicker: be compared with it
        self.record = self.ports.book.advance(
            self.upload_id,
            "analysed",
            dataset_id=admission.dataset_id,
            reference_id=against,
            verdict=report.verdict.word,
        )
        if report.verdict.word == "block":
            return self._block(report, run)
        self.deadline.reached("start of the training")
        return self._use(manifest, admission, run) if self._approved(report) else self._await_approval()

    def _use(self, manifest: DatasetManifest, admission: Admission, run: RunInfo) -> UploadRecord:
        if admission.untrained:
            return self._store(manifest, admission.untrained, run)
        return self._accept(manifest)

    def _approved(self, report: Report) -> bool:
        """Whether it may be used: nobody need be asked, or somebody has said yes."""
        requested = report.verdict.word in self.settings.analysis.approve_on
        return not requested or self._is_approved()

    def _is_approved(self) -> bool:
        decision = decisions.of_upload(self.ports.store, self.ports.data_bucket, self.upload_id)
        return decision is not None and decision.action == "approve"

    def _await_approval(self) -> UploadRecord:
        """Analysed and reported, and in no history: nothing is trained on it and nothing compared with it until somebody decides."""
        self.ports.log.warning("awaiting approval", extra={"metrics": {"AwaitingApproval": 1}})
        return self.ports.book.advance(self.upload_id, "awaiting_approval")

    def _overtaken(self) -> UploadRecord | None:
        """Events come late, twice and out of order; the bucket itself says which version is the newest of a key."""
        newest = self.ports.store.stat(keys.uri(self.record.bucket, self.record.key))
        if newest is None:
            return self._deleted()
        if self.record.version in {newest.version, newest.etag.strip('"')}:
            check_size(newest.size, self.settings.data)  # before the download
            return None
        return self._skip(
            "superseded",
            f"a newer version of {self.record.key} was uploaded before this one was read",
            "nothing to do: the newer one is used; to use both, upload them under different names",
        )

    def _deleted(self) -> UploadRecord:
        return self._skip("deleted", "the object was deleted before it was read", "upload it again")

    def _admit(self, file: Path, reference: Schema | None, reference_id: str) -> Admission:
        # Mended rows complete an earlier upload: a handful of one class is no mistake of theirs.
        resubmitted = reference is not None and self.record.key.startswith(keys.REPLAYED)
        return admit(
            file,
            data=self.settings.data,
            reference=reference,
            workdir=self.workdir,
            connection=self.database,
            options=ReadingOptions(partial=resubmitted, read_shards=partial(self._shard_map, reference_id)),
        )

    def _shard_map(self, reference_id: str, file: OpenFile, plan: Plan) -> ShardMap:
        if reference_id:  # the shards are counted by it: it has to be there
            Reporting(self.record, self.settings, self.ports).reference_profile(reference_id, self.workdir)
        ports = MapPorts(self.ports.store, self.ports.workflow, self.ports.data_bucket, self.ports.log)
        stages = ShardStages(file, plan, self.upload_id, self.ended, ports)
        return ShardMap(stages, self.settings_uri, reference_id)

    def _record_rows(self, admission: Admission) -> None:
        stored = quarantine.write(self.ports.store, self.ports.data_bucket, self.upload_id, admission)
        self.ports.book.update(
            self.upload_id,
            rows_in=admission.rows_in,
            rows_used=admission.rows_used,
            rows_quarantined=admission.rows_quarantined,
            quarantine_uri=stored,
            dataset_id=admission.dataset_id,
        )

    def _duplicate(self, dataset_id: str) -> UploadRecord | None:
        """The end of an upload whose rows are in use already, or were revoked; None for one that goes on."""
        revoked = next((e for e in self.datasets.entries() if e.dataset_id == dataset_id and e.revoked), None)
        if revoked is not None:
            return self._skip(
                "revoked",
                f"the same rows were accepted as upload {revoked.upload_id} and {revoked.revoked}",
                f"to use them again: dropforge dataset restore {dataset_id}",
            )
        earlier = self._accepted_before(dataset_id)
        if earlier is not None:
            return self._skip(
                "duplicate", f"the same rows were accepted as upload {earlier}", "nothing to do: they are in use"
            )
        return None

    def _accepted_before(self, dataset_id: str) -> str | None:
        """The other upload that holds this content and came to something; None when it is ours or came to nothing."""
        current = next((e for e in self.datasets.entries() if e.dataset_id == dataset_id), None)
        if current is None or current.upload_id == self.upload_id:
            return None
        other = self.ports.book.find(current.upload_id)
        return None if other is None or other.state == "failed" else current.upload_id

    # --- the ends ------------------------------------------------------------------------------------------------------
    def _accept(self, manifest: DatasetManifest) -> UploadRecord:
        """Into the history, and on to a training of its own or, within a burst, together with others."""
        entry = self._entry(manifest)
        holder = self.datasets.accept(entry)
        if holder.upload_id != self.upload_id:
            other = self.ports.book.find(holder.upload_id)
            if other is not None and other.state != "failed":
                return self._skip(
                    "duplicate",
                    f"the same rows were accepted as upload {holder.upload_id}",
                    "nothing to do: they are in use",
                )
            self.datasets.take_over(entry)
        return retrain_trigger.accepted(self.record, self.settings, self.settings_uri, self.ports)

    def _entry(self, manifest: DatasetManifest) -> Entry:
        return Entry(
            dataset_id=manifest.dataset_id,
            upload_id=self.upload_id,
            accepted_at=now(),
            part=manifest.parts[0],
            corrects=retrain_trigger.corrected_first(self.record.key, self.ports.book),
        )

    def _store(self, manifest: DatasetManifest, reason: str, run: RunInfo) -> UploadRecord:
        """Rows without labels, or of one class, teach nothing by themselves; the next training reads them with the others."""
        self.ports.tracking(self.settings.project).finish(run.run_id)
        self.datasets.accept(self._entry(manifest))
        stored = Reason(
            stage="admission",
            code="untrained",
            message=f"compared and stored, not trained on: {reason}",
            fix="nothing to do: the next upload with rows of several classes trains on these rows too",
        )
        return self.ports.book.advance(self.upload_id, "stored", reason=stored)

    def _block(self, report: Report, run: RunInfo) -> UploadRecord:
        self.ports.tracking(self.settings.project).finish(run.run_id)
        reason = Reason(
            stage="verdict",
            code="blocked",
            message="; ".join(report.verdict.reasons),
            fix="read the report; correct the data and upload again, or change analysis.block_on in settings.yaml",
        )
        return self.ports.book.advance(self.upload_id, "blocked", reason=reason)

    def _skip(self, code: str, message: str, fix: str) -> UploadRecord:
        self.ports.log.info("skipped", extra={"code": code})
        reason = Reason(stage="admission", code=code, message=message, fix=fix)
        return self.ports.book.advance(self.upload_id, "skipped", reason=reason)


def reject(record: UploadRecord, error: DropforgeError, ports: Ports) -> UploadRecord:
    """End an upload whose file cannot be used, with a page that says why."""
    ports.log.warning(
        "rejected", extra={"code": error.code}
    )  # the message quotes cells; the record and the report have it
    uri = f"{keys.report_folder(ports.artifact_bucket, record.upload_id)}report.html"
    page = html_report.rejection(record.key, error).encode()
    ports.store.put(uri, page, content_type="text/html; charset=utf-8")
    ports.book.update(record.upload_id, report_uri=uri)
    return ports.book.advance(record.upload_id, "rejected", reason=reason_of(error, "admission"))
