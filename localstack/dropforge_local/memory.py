"""Fakes of every port, for tests. They pass the same contract suite as the real adapters."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dropforge import s3_uri
from dropforge.errors import Conflict, NotFound
from dropforge.messages import ModelVersion
from dropforge.ports import DatasetInput, LogLines, ObjectStat, PresignedPost, QueueMessage, RunInfo, StoredObject


class MemoryStore:
    """Versioned objects in a dict. Writes are atomic under one lock; `clock` may be replaced to move time."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self._objects: dict[str, list[StoredObject]] = {}
        self._deleted: set[str] = set()
        self._modified: dict[str, str] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def get(self, uri: str, version: str = "") -> StoredObject:
        s3_uri.split(uri)
        stored = self._objects.get(uri, [])
        if version:
            result = next((o for o in reversed(stored) if o.version == version), None)
        else:
            result = stored[-1] if stored and uri not in self._deleted else None
        if result is None:
            raise NotFound(f"no object {uri}", code="object_missing", fix="check the address")
        return result

    def get_if_changed(self, uri: str, etag: str) -> StoredObject | None:
        result = self.get(uri)
        return None if result.etag == etag else result

    def put(
        self,
        uri: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",  # noqa: ARG002 - part of the port; nothing here reads it back
        if_absent: bool = False,
        if_match: str = "",
    ) -> str:
        s3_uri.split(uri)
        with self._lock:
            stored_object = self._objects.get(uri, [])
            current = stored_object[-1] if stored_object and uri not in self._deleted else None
            if (if_absent and current) or (if_match and (current is None or current.etag != if_match)):
                raise Conflict(
                    f"{uri} was written by somebody else", code="write_conflict", fix="read it again, then decide"
                )
            stored = StoredObject(bytes(body), _etag(body), str(next(self._numbers)))
            self._modified[stored.version] = self.clock().isoformat()
            self._objects.setdefault(uri, []).append(stored)
            self._deleted.discard(uri)
            return stored.etag

    def download(self, uri: str, path: Path, version: str = "") -> ObjectStat:
        result = self.get(uri, version)
        path.write_bytes(result.body)
        return self._stat(uri, result)

    def upload(
        self, path: Path, uri: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> None:
        self.put(uri, path.read_bytes(), content_type=content_type, if_absent=if_absent)

    def stat(self, uri: str, version: str = "") -> ObjectStat | None:
        try:
            return self._stat(uri, self.get(uri, version))
        except NotFound:
            return None

    def _stat(self, uri: str, stored: StoredObject) -> ObjectStat:
        return ObjectStat(uri, len(stored.body), stored.etag, stored.version, self._modified[stored.version])

    def delete(self, uri: str) -> None:
        with self._lock:
            if uri in self._objects:
                self._deleted.add(uri)

    def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Iterator[ObjectStat]:
        with self._lock:
            matches = sorted(u for u in self._objects if u.startswith(prefix) and u > after and u not in self._deleted)
        for uri in matches[: limit or None]:
            yield self._stat(uri, self._objects[uri][-1])

    def versions(self, prefix: str, *, after: tuple[str, str] = ("", ""), limit: int = 0) -> Iterator[ObjectStat]:
        with self._lock:
            matches = [
                (uri, o)
                for uri in sorted(self._objects)
                if uri.startswith(prefix)
                for o in reversed(self._objects[uri])
            ]
        if after[0]:  # of one key the newest version comes first, as on S3
            first = next((n for n, (u, o) in enumerate(matches) if (u, o.version) == after), None)
            matches = matches[first + 1 :] if first is not None else [f for f in matches if f[0] > after[0]]
        for uri, stored in matches[: limit or None]:
            yield self._stat(uri, stored)

    def presign_get(self, uri: str, seconds: int) -> str:
        return f"memory://{uri.removeprefix('s3://')}?seconds={seconds}"

    def presign_post(self, uri: str, *, max_bytes: int, seconds: int) -> PresignedPost:
        bucket, key = s3_uri.split(uri)
        return PresignedPost(f"memory://{bucket}", {"key": key, "max_bytes": str(max_bytes), "seconds": str(seconds)})


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


@dataclass
class _Hidden:
    body: str
    visible_at: float
    receives: int = 0
    receipt: str = ""


class MemoryQueue:
    """At-least-once with visibility; `clock` may be replaced to move time."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._messages: list[_Hidden] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def send(self, body: str) -> None:
        with self._lock:
            self._messages.append(_Hidden(body, self._clock()))

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> QueueMessage | None:
        deadline = self._clock() + wait_seconds
        while True:
            with self._lock:
                for m in self._messages:
                    if m.visible_at <= self._clock():
                        m.receives += 1
                        m.receipt = f"r{next(self._numbers)}"
                        m.visible_at = self._clock() + visibility_seconds
                        return QueueMessage(m.body, m.receipt, m.receives)
            if self._clock() >= deadline:
                return None
            time.sleep(0.01)

    def extend(self, receipt: str, visibility_seconds: int) -> None:
        with self._lock:
            for m in self._messages:
                if m.receipt == receipt:
                    m.visible_at = self._clock() + visibility_seconds

    def delete(self, receipt: str) -> None:
        with self._lock:
            self._messages = [m for m in self._messages if m.receipt != receipt]

    def depth(self) -> int:
        return len(self._messages)


class MemoryWorkflow:
    """Executions and tokens. `answers` holds what workers response, by token."""

    def __init__(self) -> None:
        self.executions: dict[str, str] = {}
        self.payloads: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.answers: dict[str, tuple[str, ...]] = {}
        self.heartbeats: list[str] = []

    def start(self, name: str, payload: str) -> bool:
        if name in self.executions:
            return False
        self.executions[name] = "RUNNING"
        self.payloads[name] = payload
        return True

    def status(self, name: str) -> str:
        return self.executions.get(name, "")

    def succeed(self, token: str, output: str) -> bool:
        return self._answer(token, ("succeeded", output))

    def fail(self, token: str, error: str, cause: str) -> bool:
        return self._answer(token, ("failed", error, cause))

    def heartbeat(self, token: str) -> bool:
        self.heartbeats.append(token)
        return token in self.waiting

    def _answer(self, token: str, response: tuple[str, ...]) -> bool:
        if token not in self.waiting:
            return False
        self.waiting.discard(token)
        self.answers[token] = response
        return True


@dataclass
class MemoryRun:
    """A run in memory."""

    info: RunInfo
    name: str
    tags: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)


class MemoryTracking:
    """Runs in a dict, readable by tests."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}

    def ensure_run(self, key: str, *, name: str, tags: Mapping[str, str]) -> RunInfo:
        for run in list(self.runs.values()):  # other threads may add theirs
            if run.tags["dropforge.key"] == key:
                return run.info
        run_id = hashlib.sha256(key.encode()).hexdigest()[:32]
        info = RunInfo(run_id, "1", "RUNNING", dict(tags))
        self.runs[run_id] = MemoryRun(info, name, {**tags, "dropforge.key": key})
        return info

    def log(
        self, run_id: str, *, metrics: Mapping[str, float] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        run = self._run(run_id)
        run.metrics |= metrics or {}
        run.params = {**(params or {}), **run.params}

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        entry = asdict(dataset)
        run = self._run(run_id)
        if entry not in run.datasets:
            run.datasets.append(entry)

    def put_artifacts(self, run_id: str, files: Mapping[str, bytes | Path]) -> None:
        self._run(run_id).artifacts |= {k: v.read_bytes() if isinstance(v, Path) else v for k, v in files.items()}

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._run(run_id).tags |= tags

    def finish(self, run_id: str, *, failed: bool = False) -> None:
        run = self._run(run_id)
        run.info = RunInfo(run_id, run.info.experiment_id, "FAILED" if failed else "FINISHED", run.tags)

    def run_url(self, run: RunInfo) -> str:
        return f"memory://runs/{run.run_id}"

    def _run(self, run_id: str) -> MemoryRun:
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}", code="run_unknown", fix="check the run id")
        return self.runs[run_id]


class MemoryRegistry:
    """Registered models over the runs of a MemoryTracking."""

    def __init__(self, tracking: MemoryTracking | None = None) -> None:
        self.tracking = tracking or MemoryTracking()
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def register(self, name: str, *, source: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        stored = self._versions.setdefault(name, [])
        for version in stored:
            if version.run_id == run_id:
                return self._with_aliases(version)
        created = ModelVersion(name=name, version=str(len(stored) + 1), run_id=run_id, source=source, tags=dict(tags))
        stored.append(created)
        return created

    def set_alias(self, name: str, alias: str, version: str) -> None:
        if not any(v.version == version for v in self._versions.get(name, [])):
            raise NotFound(f"model {name} has no version {version}", code="version_unknown", fix="see GET /models")
        self._aliases.setdefault(name, {})[alias] = version

    def drop_alias(self, name: str, alias: str) -> None:
        self._aliases.get(name, {}).pop(alias, None)

    def resolve(self, alias: str, names: Sequence[str] | None = None) -> list[ModelVersion]:
        return [v for v in self.versions(names) if alias in v.aliases]

    def versions(self, names: Sequence[str] | None = None) -> list[ModelVersion]:
        chosen = [n for n in sorted(self._versions) if names is None or n in names]
        return [self._with_aliases(v) for n in chosen for v in reversed(self._versions[n])]

    def run_tags(self, run_id: str) -> Mapping[str, str]:
        run = self.tracking.runs.get(run_id)
        if run is None:
            raise NotFound(f"no run {run_id}", code="run_unknown", fix="check the run id")
        return run.tags

    def artifact_uri(self, run_id: str, path: str = "") -> str:
        self.run_tags(run_id)
        return s3_uri.join(f"s3://artifacts/mlflow/1/{run_id}/artifacts", *([path] if path else []))

    def _with_aliases(self, version: ModelVersion) -> ModelVersion:
        aliases = tuple(sorted(a for a, v in self._aliases.get(version.name, {}).items() if v == version.version))
        return version.model_copy(update={"aliases": aliases})


class MemoryLogs:
    """A log group nobody wrote to."""

    def read(self, group: str, since: int, pattern: str, limit: int) -> LogLines:  # noqa: ARG002 - nothing to filter
        return LogLines([], complete=True)
