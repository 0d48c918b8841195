"""A stage of the shards of a large file, read by a Distributed Map of the workflow; no function waits for it.

An attempt that needs what the map has not read yet stores the task, starts the map, and ends (Suspended). When the map has ended,
the workflow calls for another attempt, which takes the same steps: what is there is not read again, and the next task follows, or the
end.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from dropforge import ids, keys, retry_limits
from dropforge.errors import Conflict, PermanentError, RejectedUpload, Unavailable
from dropforge.ingest import sharded_file
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.shard_plan import Plan, Shard
from dropforge.messages import UploadEvent
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStore, Workflow
from dropforge.uploads import shard_calls
from dropforge.uploads.shard_calls import Outcome, ShardInput, StageTask
from dropforge.uploads.upload_attempt import Invocation, Suspended
from dropforge.uploads.upload_repository import UploadRecord

_WRITTEN_AT_ONCE = 4  # shards on disk beside the whole text


@dataclass(frozen=True, slots=True)
class MapPorts:
    """What a map needs from the world. `payload`: what its execution is given besides, which says whose function reads."""

    store: ObjectStore
    workflow: Workflow
    bucket: str
    log: logging.Logger
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardStages:
    """The stages of one attempt at an upload. `ended`: the stage whose map has ended, empty when none has."""

    file: OpenFile
    plan: Plan
    upload_id: str
    ended: str
    ports: MapPorts

    def common(self, settings_uri: str) -> dict[str, Any]:
        """The fields of every StageTask of this file."""
        file, text = self.file, self.file.source.text
        bounds = [(s.start, s.end) for s in self.plan.shards]
        cut = hashlib.sha256(json.dumps([file.source.delimiter, file.source.encoding, bounds]).encode())
        return {
            "settings_uri": settings_uri,
            "csv": sharded_file.settings_of_shards(file).csv,
            "cut": f"cut-{cut.hexdigest()[:16]}",
            "inputs": [
                ShardInput(
                    name="input.parquet" if text is None else f"{s.number:05d}.csv", rows=sharded_file.rows_of(file, s)
                )
                for s in self.plan.shards
            ],
        }

    def results(
        self, task: StageTask, kind: type[Outcome], files: Mapping[str, Path] | None = None
    ) -> list[tuple[Outcome, Path]]:
        """Of every shard in order, with the local folder of its files. `files`: by name, what every shard is read with.

        Raises Suspended where results are missing, PermanentError where they stay missing, RejectedUpload where a shard refuses.
        """
        store, shards = self.ports.store, self.plan.shards
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            results = list(pool.map(lambda s: shard_calls.outcome_of(self._folder(task, s), store, kind), shards))
            missing = [s for s, result in zip(shards, results, strict=True) if result is None]
            if missing:
                self._wait_for(missing, task, files or {})
            read = [(r, s) for r, s in zip(results, shards, strict=True) if r is not None]
            if rejected := next((r.rejected for r, _ in read if r.rejected), None):
                raise RejectedUpload(rejected["message"], code=rejected["code"], fix=rejected["fix"])
            wanted = [
                (f"{self._folder(task, s)}{name}", sharded_file.folder_of(self.file, s) / name)
                for r, s in read
                for name in r.files
            ]
            list(pool.map(lambda pair: store.download(*pair), wanted))
        return [(r, sharded_file.folder_of(self.file, s)) for r, s in read]

    def _folder(self, task: StageTask, shard: Shard) -> str:
        return keys.shard_folder(self.ports.bucket, self.upload_id, task.stage, shard.number)

    def _wait_for(self, missing: Sequence[Shard], task: StageTask, files: Mapping[str, Path]) -> NoReturn:
        if self.ended == task.stage:
            raise self._failure(missing, task)
        self._store(task, files)
        self._start(missing, task.stage)
        raise Suspended

    def _failure(self, missing: Sequence[Shard], task: StageTask) -> PermanentError:
        """What comes of a part of the rows would be a wrong answer."""
        first = missing[0]
        unit = "rows" if self.file.source.text is None else "bytes"
        reason = shard_calls.reason_of(self._folder(task, first), self.ports.store)
        return PermanentError(
            f"{len(missing)} of {len(self.plan.shards)} shards could not be read, the first of them {unit} {first.start:,} to "
            f"{first.end:,}, from line {first.line:,}: {reason or 'its function ended without a word, out of memory or time'}",
            code="shard_failed",
            fix="read `dropforge logs` for this upload; smaller shards (data.limits.shard_bytes) need less memory and time. "
            "Then upload the file again",
        )

    def _start(self, missing: Sequence[Shard], stage: str) -> None:
        """Start the map, unless it runs. An execution that ended without calling for an attempt has died: another one follows it."""
        workflow = self.ports.workflow
        given = {"upload_id": self.upload_id, "stage": stage, "shards": [s.number for s in missing]}
        payload = json.dumps({**given, **self.ports.payload})
        for execution in range(1, retry_limits.EXECUTIONS + 1):
            name = ids.shards_name(self.upload_id, stage, execution)
            status = workflow.status(name)
            if status in {"", "RUNNING"}:
                started = not status and workflow.start(name, payload)
                self.ports.log.info(
                    "shards are read" if started else "shards are being read",
                    extra={"shards": len(missing), "execution": name},
                )
                return
        raise PermanentError(
            f"the workflow that reads the shards ended {retry_limits.EXECUTIONS} times without a result",
            code="workflow_died",
            fix="read `dropforge logs` for this upload, then upload the file again",
        )

    # --- what the map reads ----------------------------------------------------------------------------------------------
    def _store(self, task: StageTask, files: Mapping[str, Path]) -> None:
        """Inputs first, then the task that names them."""
        ports = self.ports
        for name, path in files.items():
            ports.store.upload(path, keys.shard_input(ports.bucket, self.upload_id, task.stage, name))
        inputs = dict(zip((i.name for i in task.inputs), self.plan.shards, strict=False))
        with ThreadPoolExecutor(_WRITTEN_AT_ONCE) as pool:
            list(pool.map(lambda item: self._store_input(task.cut, *item), inputs.items()))
        try:
            uri = keys.shard_task(ports.bucket, self.upload_id, task.stage)
            ports.store.put(uri, task.model_dump_json().encode(), content_type="application/json", if_absent=True)
        except Conflict:
            ports.log.info("the task was stored before", extra={"stage": task.stage})

    def _store_input(self, cut: str, name: str, shard: Shard) -> None:
        ports = self.ports
        uri = keys.shard_input(ports.bucket, self.upload_id, cut, name)
        if ports.store.stat(uri) is not None:
            return
        with tempfile.TemporaryDirectory(dir=self.file.workdir) as folder:
            ports.store.upload(self.plan.write(shard, Path(folder)), uri)


def next_attempt(
    record: UploadRecord, invocation: Invocation, attempt: Callable[[UploadEvent], UploadRecord]
) -> UploadRecord:
    """The attempt behind a map. Raises Unavailable while another invocation works on the upload."""
    if not record.lease_of_another(invocation.holder):
        record = attempt(record.event())
    if record.lease_of_another(invocation.holder):
        raise Unavailable(
            "another invocation works on the upload", code="upload_busy", fix="the workflow asks again by itself"
        )
    return record
