"""Which requests are signed with AWS Signature Version 4.

The routes of those who use a model want no more than the API key; every other one is administration and is signed. Signing a
request that need not be signed does no harm.
"""

from __future__ import annotations

from typing import Final

_KEY_ROUTES: Final = frozenset({("POST", "/predict"), ("GET", "/model_info"), ("GET", "/health")})


def signed(method: str, path: str) -> bool:
    """For a real path such as `/uploads/0123?x=1`."""
    return (method, path.partition("?")[0]) not in _KEY_ROUTES
