"""The fake of a function: its handler, called in this process, with what it is given and gives as JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from dropforge.errors import Unavailable


class MemoryFunction:
    def __init__(self, handler: Callable[[Any], Any]) -> None:
        self._handler = handler
        self.calls = 0
        self.sent: list[bytes] = []

    def invoke(self, payload: bytes) -> bytes:
        self.calls += 1
        try:
            return json.dumps(self._handler(json.loads(payload))).encode()
        except Exception as error:
            # as a function that died of it is told to its caller
            raise Unavailable(f"the function failed: {error}", code="function_failed", fix="read its log") from error

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def deliver(self) -> None:
        """Hand over what was sent, once each; one that fails does not stop the next."""
        sent, self.sent = self.sent, []
        for payload in sent:
            with contextlib.suppress(Unavailable):
                self.invoke(payload)
