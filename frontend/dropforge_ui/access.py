"""Which requests are signed: what the API's OpenAPI document says of each route, and a safe rule until it is known.

A route that wants no more than the API key is a "key" route; every other one is administration and is signed with
AWS Signature Version 4. Signing a request that need not be signed does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_KEY_ROUTES: Final = frozenset(
    {("POST", "/predict"), ("GET", "/model_info"), ("GET", "/health"), ("GET", "/openapi.json")}
)


class Access:
    """What each route wants. Before `learn`, only the routes of those who use a model go unsigned."""

    def __init__(self) -> None:
        self._signed: dict[tuple[str, str], bool] = {}

    def learn(self, document: Mapping[str, Any]) -> None:
        """Take the `security` of every operation of an OpenAPI 3 document; what it does not say stays as it was."""
        schemes = (document.get("components") or {}).get("securitySchemes") or {}
        signing = {name for name, scheme in schemes.items() if _is_signature(scheme)}
        for path, operations in (document.get("paths") or {}).items():
            for verb, operation in operations.items():
                security = operation.get("security", document.get("security")) if isinstance(operation, dict) else None
                if security is not None:
                    self._signed[verb.upper(), path] = any(name in signing for one in security for name in one)

    def signed(self, method: str, path: str) -> bool:
        """For a real path such as `/uploads/0123?x=1`."""
        bare = path.partition("?")[0]
        for (verb, pattern), answer in self._signed.items():
            if verb == method and _fits(pattern, bare):
                return answer
        return (method, bare) not in _KEY_ROUTES


def _is_signature(scheme: Mapping[str, Any]) -> bool:
    return (
        "sigv4" in str(scheme.get("x-amazon-apigateway-authtype", "")).lower()
        or str(scheme.get("name", "")).lower() == "authorization"
    )


def _fits(pattern: str, path: str) -> bool:
    wanted, given = pattern.strip("/").split("/"), path.strip("/").split("/")
    return len(wanted) == len(given) and all(w == g or w.startswith("{") for w, g in zip(wanted, given, strict=True))
