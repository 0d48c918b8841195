"""A backup of both buckets in a folder, and its way back.

`objects.jsonl` has one line for each object copied, written after its file; `manifest.json` is written last: a folder without it is
a backup that was interrupted. Files are named by the hash of their content and shared. An object version never changes, so a run
that was interrupted goes on behind what is there. Objects are streamed to and from disk, a few at once: memory does not grow with
their size; the list of what is there is as long as the number of objects (about 200 bytes each).

Pointers are copied before what they point at, and put back after it: whatever changes meanwhile, what a copied pointer names is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from botocore.exceptions import ClientError

from dropforge import keys
from dropforge.adapters.aws_client import translated
from dropforge.errors import Conflict, InvalidRequest, PermanentError

VERSION: Final = 1
Role = Literal["data", "artifacts"]
_INDEX, _MANIFEST, _PROGRESS = "objects.jsonl", "manifest.json", "restored.jsonl"
_AT_ONCE: Final = 8  # objects
_PIECE: Final = 1 << 20
# Every version of these is an upload of its own; of all other objects the newest version is what readers see.
_ALL_VERSIONS: Final = keys.UPLOADED
# An object here starts work, which was done: put back under its own name, it would be done once more.
_SILENT: Final = (*keys.UPLOADED, keys.DECISIONS)


@dataclass(frozen=True, slots=True)
class Copied:
    """One object version in the folder. `content`: its file, by sha256."""

    role: Role
    key: str
    version: str
    size: int
    content: str
    type: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished backup holds. `buckets`: by role. `under_way`: uploads that had not ended."""

    buckets: dict[str, str]
    created_at: str
    objects: int
    size: int
    index: str  # sha256 of objects.jsonl
    mlflow: str  # file, or why there is none
    history_key: str  # file, ARN, or empty
    under_way: tuple[str, ...]
    version: int = VERSION


class Archive:
    """A folder; readable by its owner only, as it holds rows and models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self) -> Manifest:
        """Raises InvalidRequest for a folder that is no finished backup, or one that was changed since."""
        try:
            document = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
            manifest = Manifest(**{**document, "under_way": tuple(document["under_way"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidRequest(
                f"{self.folder} holds no finished backup: {error}",
                code="backup_incomplete",
                fix=f"dropforge backup {self.folder} makes one, or goes on where it was interrupted",
            ) from None
        if manifest.version != VERSION or _sha256(self.folder / _INDEX) != manifest.index:
            raise InvalidRequest(
                f"{self.folder / _INDEX} is not the file that the backup wrote",
                code="backup_altered",
                fix="restore from another copy of this folder",
            )
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest."""
        _write(self.folder / _MANIFEST, json.dumps(asdict(manifest), indent=1))

    def copied(self) -> Iterator[Copied]:
        """In the order of the copying; a line that was cut off by a crash is left out."""
        with suppress(FileNotFoundError), (self.folder / _INDEX).open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, TypeError):
                    yield Copied(**json.loads(line))

    def file(self, content: str) -> Path:
        """Where the content of this hash is."""
        return self.folder / "objects" / content[:2] / content

    def totals(self) -> tuple[int, int, str]:
        """Number of objects, their bytes, the hash of the index."""
        count = size = 0
        for one in self.copied():
            count, size = count + 1, size + one.size
        return count, size, _sha256(self.folder / _INDEX)

    # --- from the buckets --------------------------------------------------------------------------------------------------
    def copy(self, s3: Any, buckets: dict[Role, str], progress: Callable[[int, int], None]) -> int:
        """Copy what is not there yet; returns how many objects. The data bucket first: it has the pointers."""
        for folder in (self.folder, self.folder / "objects"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / _MANIFEST).unlink(missing_ok=True)  # until all of it is there
        known = {(c.role, c.key, c.version) for c in self.copied() if self.file(c.content).exists()}
        done = size = 0
        with (self.folder / _INDEX).open("a", encoding="utf-8") as index, ThreadPoolExecutor(_AT_ONCE) as pool:
            if index.tell():
                index.write("\n")  # ends a line that a crash cut off
            for page in _pages(s3, buckets, known):
                for one in pool.map(lambda version: self._fetch(s3, *version), page):
                    if one is None:
                        continue
                    index.write(json.dumps(asdict(one)) + "\n")
                    done, size = done + 1, size + one.size
                index.flush()
                progress(done, size)
        return done

    def _fetch(self, s3: Any, role: Role, bucket: str, key: str, version: str) -> Copied | None:
        """None when the version is gone meanwhile."""
        draft = self.folder / "objects" / f"{hashlib.sha256(f'{role}/{key}/{version}'.encode()).hexdigest()}.part"
        digest, size = hashlib.sha256(), 0
        with translated(keys.uri(bucket, key)):
            try:
                answer = s3.get_object(Bucket=bucket, Key=key, **({"VersionId": version} if version else {}))
            except ClientError as error:
                if error.response["Error"]["Code"] in {"NoSuchKey", "NoSuchVersion"}:
                    return None
                raise
            with draft.open("wb") as out:
                for piece in answer["Body"].iter_chunks(_PIECE):
                    digest.update(piece)
                    size += out.write(piece)
        target = self.file(digest.hexdigest())
        target.parent.mkdir(mode=0o700, exist_ok=True)
        draft.replace(target)
        return Copied(role, key, version, size, digest.hexdigest(), answer.get("ContentType", ""))

    # --- into the buckets --------------------------------------------------------------------------------------------------
    def put_back(self, s3: Any, buckets: dict[str, str], progress: Callable[[int, int], None]) -> int:
        """Put every object that this folder has not put there yet; returns how many. Raises PermanentError for a damaged file."""
        file = self.folder / _PROGRESS
        before = set(file.read_text(encoding="utf-8").splitlines()) if file.exists() else set()
        done = size = 0
        with file.open("a", encoding="utf-8") as log, ThreadPoolExecutor(_AT_ONCE) as pool:
            for last in (False, True):
                for page in _paged(o for o in self._ordered() if _is_last(o) is last and _name(o) not in before):
                    for one in pool.map(lambda o: self._put(s3, buckets, o), page):
                        log.write(_name(one) + "\n")
                        done, size = done + 1, size + one.size
                    log.flush()
                    progress(done, size)
        return done

    def forget_progress(self) -> None:
        """Remove the index of an unfinished copy."""
        (self.folder / _PROGRESS).unlink(missing_ok=True)

    def _ordered(self) -> Iterator[Copied]:
        """Artifacts, then data; of an object that was copied twice (the backup went on later) the later copy."""
        newest = {(o.role, o.key, o.version if o.key.startswith(_ALL_VERSIONS) else ""): o for o in self.copied()}
        for role in ("artifacts", "data"):
            yield from (o for o in newest.values() if o.role == role and not keys.is_of_recovery(o.key))

    def _put(self, s3: Any, buckets: dict[str, str], one: Copied) -> Copied:
        file = self.file(one.content)
        if not file.exists() or _sha256(file) != one.content:
            raise PermanentError(
                f"the file of {one.key} is damaged: {file}",
                code="backup_damaged",
                fix="restore from another copy of this folder",
            )
        key = one.key
        if one.role == "data" and key.startswith(_SILENT):
            key = f"{keys.RESTORED}{key}" + (f"@{one.version}" if key.startswith(_ALL_VERSIONS) else "")
        bucket = buckets[one.role]
        if keys.is_in_force(key) or one.size > 5 * 10**9:
            with translated(keys.uri(bucket, key)):
                if _content(s3, bucket, key) == one.content:
                    return one
                s3.upload_file(str(file), bucket, key, ExtraArgs={"ContentType": one.type} if one.type else {})
            return one
        try:
            with translated(keys.uri(bucket, key)), file.open("rb") as body:
                s3.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    **({"ContentType": one.type} if one.type else {}),
                )
        except Conflict:
            with translated(keys.uri(bucket, key)):
                if _content(s3, bucket, key) == one.content:
                    return one  # put there by a run that was interrupted before it could say so
            raise
        return one


def _pages(
    s3: Any, buckets: dict[Role, str], known: set[tuple[Role, str, str]]
) -> Iterator[list[tuple[Role, str, str, str]]]:
    """What is to be copied, a page of the listing at a time: pointers and records first."""
    for role, bucket in buckets.items():
        with translated(bucket):
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                yield [
                    (role, bucket, v["Key"], v["VersionId"])
                    for v in page.get("Versions", ())
                    if (v["IsLatest"] or v["Key"].startswith(_ALL_VERSIONS))
                    and (role, v["Key"], v["VersionId"]) not in known
                ]


def _paged(objects: Iterator[Copied], size: int = 500) -> Iterator[list[Copied]]:
    page: list[Copied] = []
    for one in objects:
        page.append(one)
        if len(page) == size:
            yield page
            page = []
    yield page


def _is_last(one: Copied) -> bool:
    return one.role == "data" and keys.is_entry_point(one.key)


def _name(one: Copied) -> str:
    return json.dumps([one.role, one.key, one.version, one.content])


def _content(s3: Any, bucket: str, key: str) -> str:
    """sha256 of an object; empty when there is none."""
    digest = hashlib.sha256()
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return ""
    for piece in answer["Body"].iter_chunks(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with suppress(FileNotFoundError), file.open("rb") as body:
        while piece := body.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _write(file: Path, text: str) -> None:
    draft = file.with_suffix(".part")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(file)


def now() -> str:
    """The time in UTC, as ISO text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def copy_private(source: Path, target: Path) -> None:
    """A file that only its owner may read."""
    target.unlink(missing_ok=True)
    with (
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
        source.open("rb") as body,
    ):
        shutil.copyfileobj(body, out)
