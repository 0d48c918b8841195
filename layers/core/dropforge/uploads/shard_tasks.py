"""The reading of one shard of a large upload by a call of its own: a task and its input from the store, files and one result back.

The result is written last, and nothing is read again for which there is one: a call that is repeated, or that died, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge import keys
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import build_report
from dropforge.config import settings_store
from dropforge.config.settings import CsvSettings, DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.errors import DropforgeError, NotFound, RejectedUpload
from dropforge.ingest import shard_reading
from dropforge.ingest.shard_reading import Decided, ShardFile, ShardRows, ShardSurvey
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStore
from dropforge.value_formats import NumberFormat

_FORMAT = 1  # of what is stored: another one is read by no other version


class ShardInput(BaseModel):
    """The file that a shard is read from, by its name among the inputs; `rows` as ShardFile has them; `accepted`: as admit."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: tuple[int, int] | None = None
    accepted: int = 0


class ShardTask(BaseModel):
    """What is done with every shard. `cut`: names where the file is cut; `decided`: its files by name, stored beside the task."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["survey", "admit"]
    settings_uri: str
    csv: CsvSettings
    reference: Schema | None
    reference_id: str
    cut: str
    inputs: tuple[ShardInput, ...]
    number_formats: dict[int, NumberFormat] = Field(default_factory=dict)
    points: bool = False
    decided: Decided | None = None

    @property
    def stage(self) -> str:
        """Named by all that its results depend on; what is `decided` follows from surveys, which follow from the rest."""
        parts = self.model_dump(mode="json", exclude={"decided", "inputs"})
        return hashlib.sha256(json.dumps([_FORMAT, parts], sort_keys=True).encode()).hexdigest()[:16]

    def files(self) -> list[str]:
        """Names of the files of `decided`."""
        return [f.name for f in self.decided.repeated.values()] if self.decided else []


class ShardResult(BaseModel):
    """What came of a shard: one of the three; paths are names among `files`."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...] = ()
    survey: ShardSurvey | None = None
    rows: ShardRows | None = None
    rejected: dict[str, str] | None = None


def read_shard(upload_id: str, stage: str, number: int, store: ObjectStore, bucket: str) -> None:
    """Do the task's work on its shard of this number and store what comes of it, unless that is there.

    Raises what the reading raises but RejectedUpload, which is a result; why is stored, for whoever finds no result.
    """
    folder = keys.shard_folder(bucket, upload_id, stage, number)
    if store.stat(keys.shard_result(folder)) is not None:
        return
    task = ShardTask.model_validate_json(store.get(keys.shard_task(bucket, upload_id, stage)).body)
    with tempfile.TemporaryDirectory(prefix="dropforge-shard-") as work:
        try:
            result = _read(task, number, upload_id, store, bucket, Path(work))
        except RejectedUpload as error:
            result = ShardResult(rejected=error.as_dict())
        except Exception as error:
            _store_reason(error, folder, store)
            raise
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(lambda name: store.upload(Path(work, "shard", name), f"{folder}{name}"), result.files))
    store.put(keys.shard_result(folder), result.model_dump_json().encode(), content_type="application/json")


def _read(task: ShardTask, number: int, upload_id: str, store: ObjectStore, bucket: str, work: Path) -> ShardResult:
    given = task.inputs[number]
    folder = work / "shard"
    folder.mkdir()
    store.download(keys.shard_input(bucket, upload_id, task.cut, given.name), folder / given.name)
    data: DataSettings = settings_store.read(store, task.settings_uri).data
    shard = ShardFile(
        folder / given.name, folder, data.model_copy(update={"csv": task.csv}), task.reference, given.rows
    )
    if task.decided is None:
        survey = shard_reading.survey(shard, task.number_formats, points=task.points)
        unique: Mapping[str, Path] = survey.unique
        named = replace(survey, unique={c: Path(f.name) for c, f in unique.items()})
        return ShardResult(survey=named, files=tuple(f.name for f in unique.values()))
    for name in task.files():
        store.download(keys.shard_input(bucket, upload_id, task.stage, name), work / name)
    decided = replace(task.decided, repeated={c: work / f.name for c, f in task.decided.repeated.items()})
    count = build_report.counting(_profile(task.reference_id, store, bucket))
    rows = shard_reading.admit(shard, decided, given.accepted, count)
    passing = {given.name, "raw.parquet", *task.files()}  # what it was read from; the rest is what came of it
    files = tuple(sorted(f.name for f in folder.iterdir() if f.is_file() and f.name not in passing))
    return ShardResult(rows=replace(rows, file=Path(rows.file.name)), files=files)


def _profile(reference_id: str, store: ObjectStore, bucket: str) -> Profile | None:
    """Of the reference, whose bins and pairs are counted; None of a first upload."""
    if not reference_id:
        return None
    return Profile.model_validate_json(store.get(keys.profile(bucket, reference_id)).body)


def _store_reason(error: Exception, folder: str, store: ObjectStore) -> None:
    message = f"{type(error).__name__}: {error.message}" if isinstance(error, DropforgeError) else type(error).__name__
    store.put(keys.shard_failure(folder), message[:500].encode(), content_type="text/plain; charset=utf-8")


def result_of(folder: str, store: ObjectStore) -> ShardResult | None:
    """What came of the shard whose results are in this folder of the store; None while there is nothing."""
    try:
        return ShardResult.model_validate_json(store.get(keys.shard_result(folder)).body)
    except NotFound:
        return None


def reason_of(folder: str, store: ObjectStore) -> str:
    """Why the last reading of the shard failed; empty where it could not say."""
    try:
        return store.get(keys.shard_failure(folder)).body.decode()
    except NotFound:
        return ""
