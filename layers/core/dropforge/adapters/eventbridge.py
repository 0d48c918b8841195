"""System events on the account's default event bus."""

from __future__ import annotations

from typing import Any

from dropforge.adapters.aws_client import translated
from dropforge.errors import Unavailable
from dropforge.system_events import SystemEvent


class EventBridgeBus:
    """EventBus on EventBridge."""

    def __init__(self, client: Any, source: str) -> None:
        self._events = client
        self._source = source

    def put(self, event: SystemEvent) -> None:
        entry = {"Source": self._source, "DetailType": event.detail_type, "Detail": event.json_text()}
        with translated("the event bus"):
            answer = self._events.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            failed = answer["Entries"][0]
            raise Unavailable(
                f"the event bus refused the event: {failed.get('ErrorCode')} {failed.get('ErrorMessage', '')}",
                code="event_refused",
                fix="see the error's code in the documentation of PutEvents",
            )
