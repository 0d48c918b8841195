"""What is done with one shard of a large upload: surveyed, or admitted and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from dropforge import keys
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import build_report
from dropforge.config import settings_store
from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.ingest import shard_reading
from dropforge.ingest.shard_reading import Decided, ShardFile, ShardRows, ShardSurvey
from dropforge.ports import ObjectStore
from dropforge.uploads import shard_calls
from dropforge.uploads.shard_calls import ShardOutcome, ShardPlace, StageTask
from dropforge.value_formats import NumberFormat


class ShardTask(StageTask):
    """`decided`: with its files by name, stored beside the task."""

    kind: Literal["survey", "admit"]
    reference: Schema | None
    reference_id: str
    number_formats: dict[int, NumberFormat] = Field(default_factory=dict)
    points: bool = False
    decided: Decided | None = None

    def files(self) -> list[str]:
        """Names of the files of `decided`."""
        return [f.name for f in self.decided.repeated.values()] if self.decided else []


class ShardResult(ShardOutcome):
    """A survey or rows; paths are names among `files`."""

    survey: ShardSurvey | None = None
    rows: ShardRows | None = None


def read_shard(upload_id: str, stage: str, number: int, store: ObjectStore, bucket: str) -> None:
    """Do the task's work on its shard of this number, as shard_calls.run."""
    place = ShardPlace(upload_id, stage, number, store, bucket)
    shard_calls.run(place, lambda folder: _read(place, folder))


def _read(place: ShardPlace, folder: Path) -> ShardResult:
    task, store = ShardTask.model_validate_json(place.task()), place.store
    path = place.download_input(task, folder)
    data: DataSettings = settings_store.read(store, task.settings_uri).data
    given = task.inputs[place.number]
    shard = ShardFile(path, folder, data.model_copy(update={"csv": task.csv}), task.reference, given.rows)
    if task.decided is None:
        survey = shard_reading.survey(shard, task.number_formats, points=task.points)
        unique: Mapping[str, Path] = survey.unique
        named = replace(survey, unique={c: Path(f.name) for c, f in unique.items()})
        return ShardResult(survey=named, files=tuple(f.name for f in unique.values()))
    work = folder.parent
    for name in task.files():
        store.download(keys.shard_input(place.bucket, place.upload_id, task.stage, name), work / name)
    decided = replace(task.decided, repeated={c: work / f.name for c, f in task.decided.repeated.items()})
    count = build_report.counting(_profile(task.reference_id, store, place.bucket))
    rows = shard_reading.admit(shard, decided, given.accepted, count)
    passing = {given.name, "raw.parquet", *task.files()}  # what it was read from; the rest is what came of it
    files = tuple(sorted(f.name for f in folder.iterdir() if f.is_file() and f.name not in passing))
    return ShardResult(rows=replace(rows, file=Path(rows.file.name)), files=files)


def _profile(reference_id: str, store: ObjectStore, bucket: str) -> Profile | None:
    """Of the reference, whose bins and pairs are counted; None of a first upload."""
    if not reference_id:
        return None
    return Profile.model_validate_json(store.get(keys.profile(bucket, reference_id)).body)
