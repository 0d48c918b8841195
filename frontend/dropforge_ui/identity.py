"""The identity an Application Load Balancer vouches for after it asked an OpenID provider: a signed token in a header.

The header alone proves nothing, as anybody who reaches the page may send it. Its signature (ES256, key by its id from AWS), its
signer (this load balancer and no other) and its expiry are checked, as AWS's documentation of user claims asks for.
"""

from __future__ import annotations

import urllib.request
from functools import lru_cache
from typing import Any

import jwt

from dropforge_ui.config import Identity

HEADER = "x-amzn-oidc-data"
_KEY_BYTES = 4096


class Verifier:
    """Tokens of one load balancer."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def person(self, request: Any) -> str | None:
        """E-mail, or the provider's id, of the signed-in person; None when the request carries no valid token."""
        try:
            claims = self._claims(request.headers.get(HEADER, ""))
        except (jwt.PyJWTError, OSError, ValueError):
            return None
        return str(claims.get("email") or claims.get("sub") or "") or None

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("signer") != self._identity.signer:
            raise ValueError("signed by another load balancer")
        key = public_key(self._identity.keys_url, str(header.get("kid", "")))
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["ES256"], options={"require": ["exp"], "verify_aud": False}
        )
        return claims


@lru_cache(maxsize=16)
def public_key(keys_url: str, key_id: str) -> str:
    """PEM of a load balancer's key. Raises ValueError for what is no key id, OSError when it cannot be had."""
    if not key_id or not all(c.isalnum() or c == "-" for c in key_id):
        raise ValueError("no key id")
    with urllib.request.urlopen(f"{keys_url}/{key_id}", timeout=5) as answer:  # noqa: S310 - https, from the configuration
        result: str = answer.read(_KEY_BYTES).decode("ascii")
    return result
