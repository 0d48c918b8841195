"""What the steps need from the world, with promises. Adapters and fakes pass one contract suite (tests/contracts)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:  # messages bring pydantic, which the prediction path does without
    from dropforge.messages import ModelVersion
    from dropforge.system_events import SystemEvent

REQUESTS_AT_ONCE: Final = 16  # to the store, of one process that reads several objects for one answer


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Bytes of an object with its ETag and version."""

    body: bytes
    etag: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a listing says of an object."""

    uri: str
    size: int
    etag: str
    version: str = ""
    modified: str = ""  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """Address and fields of an upload form."""

    url: str
    fields: Mapping[str, str]


class ObjectStore(Protocol):
    """Objects by `s3://bucket/key`. Reads after a finished write see it. Writes are whole or absent.

    Every method raises Unavailable when the store does not answer after the client's own retries.
    """

    def get(self, uri: str, version: str = "") -> StoredObject:
        """Raises NotFound for an absent object or version."""

    def get_if_changed(self, uri: str, etag: str) -> StoredObject | None:
        """None when the object still has this etag. Raises NotFound when absent."""

    def put(
        self,
        uri: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str = "",
    ) -> str:
        """Write and return the new etag. With `if_absent` or `if_match` raises Conflict and changes nothing when it does not hold."""

    def download(self, uri: str, path: Path, version: str = "") -> ObjectStat:
        """Stream to a local file. Raises NotFound; a half file is removed on failure."""

    def upload(
        self, path: Path, uri: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> None:
        """Stream from a local file. With `if_absent` an existing object raises Conflict."""

    def stat(self, uri: str, version: str = "") -> ObjectStat | None:
        """None when absent."""

    def delete(self, uri: str) -> None:
        """The object is gone for readers; earlier versions stay readable. Deleting what is absent is not an error."""

    def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Iterator[ObjectStat]:
        """Objects whose URI starts with `prefix`, in key order: those behind the URI `after`, at most `limit` (0: all)."""

    def versions(self, prefix: str, *, after: tuple[str, str] = ("", ""), limit: int = 0) -> Iterator[ObjectStat]:
        """Every version of those objects that can still be read, also of overwritten and deleted ones; key order.

        `after`: URI and version to go on behind; `limit`: at most so many (0: all).
        """

    def presign_get(self, uri: str, seconds: int) -> str:
        """A URL that reads the object without credentials until it expires."""

    def presign_post(self, uri: str, *, max_bytes: int, seconds: int) -> PresignedPost:
        """A form that may upload this one object, no larger than `max_bytes`."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message with the receipt to answer for it."""

    body: str
    receipt: str
    receives: int = 1


class Queue(Protocol):
    """At-least-once, unordered. A received message is hidden for `visibility` seconds and comes back unless deleted."""

    def send(self, body: str) -> None:
        """Append a message. Raises Unavailable."""

    def receive(self, *, wait_seconds: int, visibility_seconds: int) -> QueueMessage | None:
        """None when nothing arrived within the wait."""

    def extend(self, receipt: str, visibility_seconds: int) -> None:
        """Hide it for that long from now (0: give it back at once). A receipt that expired is not an error."""

    def delete(self, receipt: str) -> None:
        """Deleting twice is not an error."""

    def depth(self) -> int:
        """Approximate number of messages that wait or are in work."""


class EventQueue(Protocol):
    """A queue with a function behind it, as far as those need it who send events."""

    def send(self, body: str) -> None:
        """JSON in, later: returns when the event is accepted, before the function has seen it. Raises Unavailable."""

    def depth(self) -> int:
        """Approximate number of events that wait or are in work."""


class EventBus(Protocol):
    """Where other systems hear of this one. At least once, unordered."""

    def put(self, event: SystemEvent) -> None:
        """Raises Unavailable when the bus does not take it."""


class Function(Protocol):
    """Another function of the system."""

    def invoke(self, payload: bytes) -> bytes:
        """JSON in, JSON out. Raises Unavailable when it fails, is busy or does not answer in time."""


class MacKey(Protocol):
    """A secret key that authenticates messages of 4096 bytes at most (HMAC-SHA256). Raises Unavailable, PermanentError (denied)."""

    def generate(self, message: bytes) -> str:
        """The code of the message, base64."""

    def verify(self, message: bytes, mac: str) -> bool:
        """Whether this key made the code for this message; False for any other text."""

    def created_at(self) -> datetime:
        """When the key was created; with a time zone."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log stream."""

    at: int  # milliseconds since 1970
    text: str


@dataclass(frozen=True, slots=True)
class LogLines:
    """`complete`: nothing that was asked for is left out."""

    lines: list[LogLine]
    complete: bool


class Logs(Protocol):
    """Log groups, to be read."""

    def read(self, group: str, since: int, pattern: str, limit: int) -> LogLines:
        """The newest lines from `since` (ms) on that match CloudWatch's filter pattern, `limit` at most, in order of time.

        Empty for a group that is not there. Raises PermanentError where reading is denied, Unavailable where it is throttled.
        """


class Workflow(Protocol):
    """Runs of the training state machine and the tokens of their waiting tasks."""

    def start(self, name: str, payload: str) -> bool:
        """Start the execution of that name; False when it was started before (whatever its state now)."""

    def status(self, name: str) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED; empty string when there was never one."""

    def succeed(self, token: str, output: str) -> bool:
        """False when the task no longer waits (answered before, timed out, or its execution ended)."""

    def fail(self, token: str, error: str, cause: str) -> bool:
        """False when the task no longer waits."""

    def heartbeat(self, token: str) -> bool:
        """False when the task no longer waits: the worker should stop."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """An MLflow run."""

    run_id: str
    experiment_id: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset as an input of a run. `schema`: name and type of each column; `context`: what it was used for."""

    name: str
    digest: str
    source_uri: str
    schema: Sequence[Mapping[str, Any]]
    rows: int
    context: str


class Tracking(Protocol):
    """Runs of one MLflow experiment. Raises Unavailable when the tracking server does not answer."""

    def ensure_run(self, key: str, *, name: str, tags: Mapping[str, str]) -> RunInfo:
        """The run whose tag `dropforge.key` is `key`; created when there is none. Calling again returns the same run."""

    def log(
        self, run_id: str, *, metrics: Mapping[str, float] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        """Log in one batch. A parameter logged before keeps its first value."""

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Record the dataset as an input of the run."""

    def put_artifacts(self, run_id: str, files: Mapping[str, bytes | Path]) -> None:
        """Write artifacts by their path inside the run, from memory or streamed from a local file; the same path is overwritten."""

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a run. Raises Unavailable."""

    def finish(self, run_id: str, *, failed: bool = False) -> None:
        """End the run; again changes nothing. Raises Unavailable."""

    def run_url(self, run: RunInfo) -> str:
        """Address of the run's page."""


class Registry(Protocol):
    """Registered models. Raises Unavailable when the server does not answer."""

    def register(self, name: str, *, source: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """One version for one run: registering the same run again returns the version it already has."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Move the alias to this version. Raises NotFound, Unavailable."""

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias off a model; one that is not there is no error."""

    def resolve(self, alias: str, names: Sequence[str] | None = None) -> list[ModelVersion]:
        """Every registered model that carries the alias, among `names` when given; empty when none does."""

    def versions(self, names: Sequence[str] | None = None) -> list[ModelVersion]:
        """Every version, newest first within a model; of `names` when given."""

    def run_tags(self, run_id: str) -> Mapping[str, str]:
        """Tags of the run. Raises NotFound."""

    def artifact_uri(self, run_id: str, path: str = "") -> str:
        """s3 URI of an artifact of the run. Raises NotFound for an unknown run."""
