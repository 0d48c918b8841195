"""Who sits in front of the page: nobody asks on loopback; elsewhere a password, or the identity a load balancer vouches for."""

from __future__ import annotations

import hmac
from typing import Any

from dropforge_ui.config import Options

_LONGEST_NAME = 100


def parameters(options: Options) -> dict[str, Any]:
    """What Gradio is given for the login."""
    if options.identity is not None:
        from dropforge_ui.identity import Verifier

        return {"auth_dependency": Verifier(options.identity).person}
    if options.password:

        def check(name: str, password: str) -> bool:
            return bool(_cleaned(name)) and hmac.compare_digest(password.encode(), options.password.encode())

        return {"auth": check, "auth_message": "Your name stands in the deployment history beside what you change."}
    return {}


def person() -> str:
    """Name of whoever caused the event that runs now; empty without a login."""
    from gradio.context import LocalContext

    request = LocalContext.request.get(None)
    return _cleaned(str(getattr(request, "username", None) or ""))


def _cleaned(name: str) -> str:
    """Good for a header: printable ASCII, of some length at most."""
    return "".join(c for c in name if c.isascii() and c.isprintable()).strip()[:_LONGEST_NAME]
