"""The shards of a large upload, read by a Distributed Map of the workflow; no function waits for it.

An attempt that needs what the map has not read yet stores the task, starts the map, and ends (Suspended). When the map has ended,
the workflow calls for another attempt, which takes the same steps: what is there is not read again, and the next task follows, or the
report.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from dropforge import ids, keys, retry_limits
from dropforge.errors import Conflict, PermanentError, RejectedUpload
from dropforge.ingest import sharded_file
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.shard_plan import Plan, Shard
from dropforge.ingest.shard_reading import Decided, ShardRows, ShardSurvey
from dropforge.ports import REQUESTS_AT_ONCE
from dropforge.uploads import shard_tasks
from dropforge.uploads.shard_tasks import ShardInput, ShardResult, ShardTask
from dropforge.uploads.upload_attempt import Suspended
from dropforge.uploads.upload_ports import Ports
from dropforge.value_formats import NumberFormat

_WRITTEN_AT_ONCE = 4  # shards on disk beside the whole text


@dataclass(frozen=True, slots=True)
class MappedUpload:
    """Whose shards are read. `reference_id`: empty for a first upload; `ended`: the stage whose map has ended, empty when none has."""

    upload_id: str
    settings_uri: str
    reference_id: str
    ended: str
    ports: Ports


@dataclass(frozen=True, slots=True)
class ShardMap:
    """The ShardReader of one attempt. Raises Suspended where results are missing, and PermanentError where they stay missing."""

    file: OpenFile
    plan: Plan
    upload: MappedUpload

    def survey(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> list[ShardSurvey]:
        """As ShardReader."""
        task = self._task(number_formats=dict(number_formats), points=points)
        return [
            replace(result.survey, unique={c: folder / f.name for c, f in result.survey.unique.items()})
            for result, folder in self._results(task, {})
            if result.survey
        ]

    def admit(self, decided: Decided, accepted: Sequence[int]) -> list[ShardRows]:
        """As ShardReader."""
        named = replace(decided, repeated={c: Path(f.name) for c, f in decided.repeated.items()})
        task = self._task(kind="admit", decided=named)
        inputs = [i.model_copy(update={"accepted": n}) for i, n in zip(task.inputs, accepted, strict=True)]
        task = task.model_copy(update={"inputs": tuple(inputs)})
        files = {f.name: f for f in decided.repeated.values()}
        results = self._results(task, files)
        return [replace(r.rows, file=folder / r.rows.file.name) for r, folder in results if r.rows]

    def _task(self, **fields: object) -> ShardTask:
        file, text = self.file, self.file.source.text
        bounds = [(s.start, s.end) for s in self.plan.shards]
        cut = hashlib.sha256(json.dumps([file.source.delimiter, file.source.encoding, bounds]).encode())
        return ShardTask.model_validate(
            {
                "kind": "survey",
                "settings_uri": self.upload.settings_uri,
                "csv": sharded_file.settings_of_shards(file).csv,
                "reference": file.reference,
                "reference_id": self.upload.reference_id,
                "cut": f"cut-{cut.hexdigest()[:16]}",
                "inputs": [
                    ShardInput(
                        name="input.parquet" if text is None else f"{s.number:05d}.csv",
                        rows=sharded_file.rows_of(file, s),
                    )
                    for s in self.plan.shards
                ],
                **fields,
            }
        )

    def _results(self, task: ShardTask, files: Mapping[str, Path]) -> list[tuple[ShardResult, Path]]:
        """Of every shard in order, with the local folder of its files. `files`: those of the task's `decided`, by name."""
        store, shards = self.upload.ports.store, self.plan.shards
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            results = list(pool.map(lambda s: shard_tasks.result_of(self._folder(task, s), store), shards))
            missing = [s for s, result in zip(shards, results, strict=True) if result is None]
            if missing:
                self._wait_for(missing, task, files)
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

    def _folder(self, task: ShardTask, shard: Shard) -> str:
        return keys.shard_folder(self.upload.ports.data_bucket, self.upload.upload_id, task.stage, shard.number)

    def _wait_for(self, missing: Sequence[Shard], task: ShardTask, files: Mapping[str, Path]) -> NoReturn:
        if self.upload.ended == task.stage:
            raise self._failure(missing, task)
        self._store(task, files)
        self._start(missing, task.stage)
        raise Suspended

    def _failure(self, missing: Sequence[Shard], task: ShardTask) -> PermanentError:
        """A report of a part of the rows would be a wrong report."""
        first = missing[0]
        unit = "rows" if self.file.source.text is None else "bytes"
        reason = shard_tasks.reason_of(self._folder(task, first), self.upload.ports.store)
        return PermanentError(
            f"{len(missing)} of {len(self.plan.shards)} shards could not be read, the first of them {unit} {first.start:,} to "
            f"{first.end:,}, from line {first.line:,}: {reason or 'its function ended without a word, out of memory or time'}",
            code="shard_failed",
            fix="read `dropforge logs` for this upload; smaller shards (data.limits.shard_bytes) need less memory and time. "
            "Then upload the file again",
        )

    def _start(self, missing: Sequence[Shard], stage: str) -> None:
        """Start the map, unless it runs. An execution that ended without calling for an attempt has died: another one follows it."""
        workflow, upload_id = self.upload.ports.workflow, self.upload.upload_id
        payload = json.dumps({"upload_id": upload_id, "stage": stage, "shards": [s.number for s in missing]})
        for execution in range(1, retry_limits.EXECUTIONS + 1):
            name = ids.shards_name(upload_id, stage, execution)
            status = workflow.status(name)
            if status in {"", "RUNNING"}:
                started = not status and workflow.start(name, payload)
                self.upload.ports.log.info(
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
    def _store(self, task: ShardTask, files: Mapping[str, Path]) -> None:
        """Inputs first, then the task that names them."""
        ports, upload_id = self.upload.ports, self.upload.upload_id
        for name, path in files.items():
            ports.store.upload(path, keys.shard_input(ports.data_bucket, upload_id, task.stage, name))
        inputs = dict(zip((i.name for i in task.inputs), self.plan.shards, strict=False))
        with ThreadPoolExecutor(_WRITTEN_AT_ONCE) as pool:
            list(pool.map(lambda item: self._store_input(task.cut, *item), inputs.items()))
        try:
            uri = keys.shard_task(ports.data_bucket, upload_id, task.stage)
            ports.store.put(uri, task.model_dump_json().encode(), content_type="application/json", if_absent=True)
        except Conflict:
            ports.log.info("the task was stored before", extra={"stage": task.stage})

    def _store_input(self, cut: str, name: str, shard: Shard) -> None:
        ports = self.upload.ports
        uri = keys.shard_input(ports.data_bucket, self.upload.upload_id, cut, name)
        if ports.store.stat(uri) is not None:
            return
        with tempfile.TemporaryDirectory(dir=self.file.workdir) as folder:
            ports.store.upload(self.plan.write(shard, Path(folder)), uri)
