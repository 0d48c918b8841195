"""The fake of a function: its handler, called in this process, with what it is given and gives as JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from dropforge.errors import Unavailable


class MemoryFunction:
    """A function in memory: calls its handler."""

    def __init__(self, handler: Callable[[Any], Any]) -> None:
        self._handler = handler
        self.calls = 0

    def invoke(self, payload: bytes) -> bytes:
        self.calls += 1
        try:
            return json.dumps(self._handler(json.loads(payload))).encode()
        except Exception as error:
            # as a function that died of it is told to its caller
            raise Unavailable(f"the function failed: {error}", code="function_failed", fix="read its log") from error


class MemoryEventQueue:
    """The fake of a queue with a function behind it, which gets the bodies without the queue's envelope."""

    def __init__(self, handler: Callable[[Any], Any] = lambda event: event) -> None:
        self._function = MemoryFunction(handler)
        self.sent: list[str] = []

    def send(self, body: str) -> None:
        self.sent.append(body)

    def depth(self) -> int:
        return len(self.sent)

    def deliver(self) -> None:
        """Hand over what was sent, once each; one that fails does not stop the next."""
        sent, self.sent = self.sent, []
        for body in sent:
            with contextlib.suppress(Unavailable):
                self._function.invoke(body.encode())
