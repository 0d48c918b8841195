"""One shard of a large file in a call of its own: a task and its input from the store, files and one result back.

The result is written last, and nothing is read again for which there is one: a call that is repeated, or that died, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from dropforge import keys
from dropforge.config.settings import CsvSettings
from dropforge.errors import DropforgeError, NotFound, RejectedUpload
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStore

_FORMAT = 1  # of what is stored: another one is read by no other version


class ShardInput(BaseModel):
    """The file that a shard is read from, by its name among the inputs; `rows` as ShardFile has them; `accepted`: as admit."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: tuple[int, int] | None = None
    accepted: int = 0


class StageTask(BaseModel):
    """What is done with every shard. `cut`: names where the file is cut; `csv`: how each piece of a text is read."""

    model_config = ConfigDict(frozen=True)

    settings_uri: str
    csv: CsvSettings
    cut: str
    inputs: tuple[ShardInput, ...]

    @property
    def stage(self) -> str:
        """Named by all that its results depend on; what is `decided` follows from surveys, which follow from the rest."""
        parts = self.model_dump(mode="json", exclude={"decided", "inputs"})
        return hashlib.sha256(json.dumps([_FORMAT, parts], sort_keys=True).encode()).hexdigest()[:16]


class ShardOutcome(BaseModel):
    """What came of a shard: names of its files, or why it refuses the whole file."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...] = ()
    rejected: dict[str, str] | None = None


Outcome = TypeVar("Outcome", bound=ShardOutcome)


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """One shard in one stage of an upload, and where its task and result lie."""

    upload_id: str
    stage: str
    number: int
    store: ObjectStore
    bucket: str

    @property
    def folder(self) -> str:
        """Of its results."""
        return keys.shard_folder(self.bucket, self.upload_id, self.stage, self.number)

    def task(self) -> bytes:
        """As JSON."""
        return self.store.get(keys.shard_task(self.bucket, self.upload_id, self.stage)).body

    def download_input(self, task: StageTask, folder: Path) -> Path:
        """The file that the shard is read from."""
        name = task.inputs[self.number].name
        self.store.download(keys.shard_input(self.bucket, self.upload_id, task.cut, name), folder / name)
        return folder / name


def run(place: ShardPlace, read: Callable[[Path], ShardOutcome]) -> None:
    """Have the shard read in a new folder, and store what comes of it and its files, unless that is there.

    Raises what the reading raises but RejectedUpload, which is a result; why is stored, for whoever finds no result.
    """
    store, folder = place.store, place.folder
    if store.stat(keys.shard_result(folder)) is not None:
        return
    with tempfile.TemporaryDirectory(prefix="dropforge-shard-") as work:
        files = Path(work, "shard")
        files.mkdir()
        try:
            outcome = read(files)
        except RejectedUpload as error:
            outcome = ShardOutcome(rejected=error.as_dict())
        except Exception as error:
            _store_reason(error, folder, store)
            raise
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(lambda name: store.upload(files / name, f"{folder}{name}"), outcome.files))
    store.put(keys.shard_result(folder), outcome.model_dump_json().encode(), content_type="application/json")


def _store_reason(error: Exception, folder: str, store: ObjectStore) -> None:
    message = f"{type(error).__name__}: {error.message}" if isinstance(error, DropforgeError) else type(error).__name__
    store.put(keys.shard_failure(folder), message[:500].encode(), content_type="text/plain; charset=utf-8")


def outcome_of(folder: str, store: ObjectStore, kind: type[Outcome]) -> Outcome | None:
    """What came of the shard whose results are in this folder of the store; None while there is nothing."""
    try:
        return kind.model_validate_json(store.get(keys.shard_result(folder)).body)
    except NotFound:
        return None


def reason_of(folder: str, store: ObjectStore) -> str:
    """Why the last reading of the shard failed; empty where it could not say."""
    try:
        return store.get(keys.shard_failure(folder)).body.decode()
    except NotFound:
        return ""
