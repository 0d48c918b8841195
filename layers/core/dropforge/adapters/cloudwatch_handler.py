"""A log handler that ships JSON lines to CloudWatch Logs in batches, as Fargate's log driver does for a task.

Best effort by design: a log that cannot be shipped never disturbs the job; every line is on stdout as well.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

# Limits of PutLogEvents: 1,048,576 bytes with 26 more for each event, which must stand in the order of time.
_BATCH = 500
_BATCH_BYTES = 1_000_000
_EVENT_BYTES = 250_000
_EVENT_OVERHEAD = 26
_EVERY_SECONDS = 0.5


class CloudWatchHandler(logging.Handler):
    """One stream in an existing group; a daemon thread sends what was logged."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        super().__init__()
        self._logs = client
        self._group = group
        self._stream = stream
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloudwatch-logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.put({"timestamp": int(record.created * 1000), "message": self.format(record)})

    def close(self) -> None:
        """Send what is left, wait two seconds at most."""
        self._closing.set()
        self._thread.join(2)
        super().close()

    def _run(self) -> None:
        created = False
        while True:
            closing = self._closing.wait(_EVERY_SECONDS)
            while events := self._drain():
                created = self._send(events, created)
            if closing:
                return

    def _drain(self) -> list[dict[str, Any]]:
        """A batch that the service takes: not too large, in the order of time; threads hand lines over in any."""
        events: list[dict[str, Any]] = []
        size = 0
        while len(events) < _BATCH and size < _BATCH_BYTES - _EVENT_BYTES:
            try:
                event = self._waiting.get_nowait()
            except queue.Empty:
                break
            event["message"] = event["message"].encode()[:_EVENT_BYTES].decode(errors="ignore")
            size += len(event["message"].encode()) + _EVENT_OVERHEAD
            events.append(event)
        return sorted(events, key=lambda event: int(event["timestamp"]))

    def _send(self, events: list[dict[str, Any]], created: bool) -> bool:
        for attempt in range(3):
            try:
                if not created:
                    self._create()
                    created = True
                self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=events)
                return True
            except (ClientError, BotoCoreError):
                time.sleep(0.2 * 2**attempt)
        return created

    def _create(self) -> None:
        try:
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
