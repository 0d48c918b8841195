"""Who sits in front of the page: nobody asks on loopback; elsewhere a password, or the identity a load balancer vouches for."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any

from dropforge_ui.config import Options

PAUSE_SECONDS = 0.5  # before an attempt, while the last wrong one is not long ago: 7,200 an hour at most
_CAREFUL_SECONDS = 60.0
_WAITING = 20  # attempts at the same time
_LONGEST_NAME = 100


def parameters(options: Options) -> dict[str, Any]:
    """What Gradio is given for the login."""
    if options.identity is not None:
        from dropforge_ui.identity import Verifier

        return {"auth_dependency": Verifier(options.identity).person}
    if options.password:
        message = "Your name is stored in the deployment history with each change."
        return {"auth": Password(options.password).check, "auth_message": message}
    return {}


class Password:
    """One password for all, which nobody guesses: after a wrong one, attempts are looked at one after the other, each after a pause.

    The pause comes before the comparison, so hanging up early tells nothing; attempts beyond those that may wait are refused unseen.
    """

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._careful_until = 0.0

    async def check(self, name: str, password: str) -> bool:
        """Whether the password is right; False also while too many wait."""
        if self._waiting >= _WAITING:
            return False
        self._waiting += 1
        try:
            async with self._turn:
                if time.monotonic() < self._careful_until:
                    await asyncio.sleep(PAUSE_SECONDS)
                good = hmac.compare_digest(password.encode(), self._password)
                if not good:
                    self._careful_until = time.monotonic() + _CAREFUL_SECONDS
                return good and bool(_cleaned(name))
        finally:
            self._waiting -= 1


def person() -> str:
    """Name of whoever caused the event that runs now; empty without a login."""
    from gradio.context import LocalContext

    request = LocalContext.request.get(None)
    return _cleaned(str(getattr(request, "username", None) or ""))


def _cleaned(name: str) -> str:
    """Good for a header: printable ASCII, of some length at most."""
    return "".join(c for c in name if c.isascii() and c.isprintable()).strip()[:_LONGEST_NAME]
