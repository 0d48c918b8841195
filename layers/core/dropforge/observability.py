"""One JSON line per event on stdout, in the shape CloudWatch reads.

Every line carries `correlation_id` (the upload id, or the request id of an API call), so that one upload can be
followed through analyze, training and conclude. No value of a request, an upload or a model reaches a line: messages of
exceptions and of libraries quote what they were given, so lines have kinds, codes and places in the code instead.

A line logged with `extra={"metrics": {…}}` is a metric as well, in CloudWatch's embedded metric format: no call, no agent.
Small on purpose: it is on the prediction path.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dropforge.errors import DropforgeError, SettingsError

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
_context: ContextVar[dict[str, Any] | None] = ContextVar("dropforge_log_context", default=None)
_DEEPEST = 5  # errors of a chain that are told
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "metrics"}

# Every metric there is, with its unit. The dimension is the service that logs it.
METRICS = {
    "RowsIn": "Count",
    "RowsQuarantined": "Count",
    "DriftedColumns": "Count",
    "StuckMinutes": "None",
    "TrainingSeconds": "Seconds",
    "BestScore": "None",
    "PredictLatency": "Milliseconds",
    "ColdStart": "Count",
    "UnseenCategory": "Count",
    "Rejected4xx": "Count",
    "Error5xx": "Count",
    "Captured": "Count",
    "CapturePending": "Count",
    "CaptureLost": "Count",
    "CandidateFailed": "Count",
    "ShadowRows": "Count",
    "ShadowDisagreements": "Count",
    "ShadowLost": "Count",
    "LiveRows": "Count",
    "LiveDriftedColumns": "Count",
    "PredictionDrift": "None",
    "LiveAccuracy": "None",
    "LiveRocAuc": "None",
}
# Counted for each published version as well: an alarm on the new one ends a gradual deployment.
BY_VERSION = {"Error5xx"}


class JsonFormatter(logging.Formatter):
    """Level, time, service, message, the context's fields, the call's `extra` fields and its metrics."""

    def __init__(self, service: str, namespace: str, version: str = "") -> None:
        super().__init__()
        self._service = service
        self._version = version
        self._namespace = namespace

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "level": record.levelname,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
            "message": record.getMessage(),
            **(_context.get() or {}),
            **{k: v for k, v in vars(record).items() if k not in _RESERVED},
        }
        measured: dict[str, float] = getattr(record, "metrics", None) or {}
        if measured:
            line |= self._embedded(record.created, measured)
        if record.exc_info and record.exc_info[1]:
            line |= failure(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)

    def _embedded(self, created: float, measured: dict[str, float]) -> dict[str, Any]:
        """The metrics as fields, and the block that tells CloudWatch which fields are metrics."""
        directives = [self._directive(["service"], list(measured))]
        versioned: dict[str, str] = {}
        if self._version and (counted := [name for name in measured if name in BY_VERSION]):
            directives.append(self._directive(["service", "version"], counted))
            versioned = {"version": self._version}
        return {**versioned, **measured, "_aws": {"Timestamp": int(created * 1000), "CloudWatchMetrics": directives}}

    def _directive(self, dimensions: list[str], names: list[str]) -> dict[str, Any]:
        return {
            "Namespace": self._namespace,
            "Dimensions": [dimensions],
            "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in names],
        }


def logger(
    service: str,
    level: str = "INFO",
    namespace: str = "Dropforge",
    version: str = "",
    formatter: Callable[[str, str], logging.Formatter] | None = None,
) -> logging.Logger:
    """The process's logger, writing JSON lines to stdout. Calling again returns the same one, with the new level.

    `namespace` of its metrics: METRICS_NAMESPACE of the environment; that of the first call stays. `version`: the function's.
    `formatter`: makes another formatter than JsonFormatter, of service and namespace.
    """
    log = logging.getLogger(f"dropforge.{service}")
    log.setLevel(level.upper())
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        namespace = namespace or "Dropforge"
        handler.setFormatter(formatter(service, namespace) if formatter else JsonFormatter(service, namespace, version))
        log.addHandler(handler)
        log.propagate = False  # the Lambda runtime's root handler would print every line a second time
    return log


@contextmanager
def context(**fields: Any) -> Iterator[None]:
    """Add fields (correlation_id, upload_id, job_id, …) to every line logged inside, in this thread or task."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class LibraryFormatter(JsonFormatter):
    """Lines of libraries: who speaks, and where; not what is said, because it quotes rows (`could not convert 'Ada'`)."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's logger and place as one line of JSON."""
        place = f"{Path(record.pathname).name}:{record.lineno} {record.funcName}"
        masked = logging.makeLogRecord(
            {
                "name": record.name, "levelname": record.levelname, "levelno": record.levelno, "created": record.created,
                "msg": "message of a library", "exc_info": record.exc_info, "logger": record.name, "place": place,
            }
        )  # fmt: skip
        return super().format(masked)


def mask_libraries() -> None:
    """Let every other logger of this process, warnings, and exceptions that nobody handles speak through LibraryFormatter.

    For processes of ours alone: called once, where their adapters are built.
    """
    formatter, root = LibraryFormatter("library", ""), logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    for handler in root.handlers:  # of the Lambda runtime
        handler.setFormatter(formatter)
    logging.captureWarnings(True)
    unhandled = logging.getLogger("unhandled")
    sys.excepthook = lambda kind, error, trace: unhandled.critical("", exc_info=(kind, error, trace))
    threading.excepthook = lambda args: unhandled.critical("", exc_info=args.exc_value)


def mask_library(name: str) -> None:
    """A library that brought a handler of its own writes by the root logger's, as the others do."""
    log = logging.getLogger(name)
    for handler in tuple(log.handlers):
        log.removeHandler(handler)
    log.propagate = True


class FunctionError(Exception):
    """What the Lambda runtime is given, and logs, instead of an exception that is none of ours: its kind and place."""


def masked(handler: Handler) -> Handler:
    """A Lambda handler whose failures keep their class and code and lose their messages, which the runtime would log."""

    @functools.wraps(handler)
    def call(event: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            return handler(event, context)
        except Exception as error:
            raise without_values(error) from None

    return call


def without_values(error: Exception) -> Exception:
    """The error without what its message, or that of a cause, quotes. Mistakes in settings.yaml are told as they are."""
    if isinstance(error, SettingsError):
        return error
    fields = failure(error)
    message = f"{fields['error']} at {fields['stack'][-1] if fields['stack'] else 'unknown'}"
    if isinstance(error, DropforgeError):
        return type(error)(f"{error.code}: {message}", code=error.code, fix="see the record and the log of this id")
    return FunctionError(message)


def failure(error: BaseException) -> dict[str, Any]:
    """Fields that tell a failure without a value of the request: kinds of error, code of ours, and where it happened.

    The messages of exceptions are left out, because they quote what was sent (`could not convert 'Ada'`). The innermost error first.
    """
    kinds, code, places = list[str](), "", list[str]()
    seen: BaseException | None = error
    while seen is not None and len(kinds) < _DEEPEST:
        kinds.append(type(seen).__name__)
        code = code or str(getattr(seen, "code", ""))
        places += [
            f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(seen.__traceback__)[-8:]
        ]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return {"error": " from ".join(kinds), "stack": places, **({"code": code} if code else {})}


def current() -> dict[str, Any]:
    """The context's fields, for handing them to another thread."""
    return dict(_context.get() or {})
