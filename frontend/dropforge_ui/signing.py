"""AWS Signature Version 4 for administrative requests."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def _credentials() -> Any:
    """From environment, profile or role, as every AWS tool finds them; None when there are none. Renewed by themselves."""
    from botocore.session import Session

    return Session().get_credentials()


def sign(method: str, url: str, body: bytes, region: str) -> dict[str, str]:
    """The headers to add; none without credentials (the API then says that it wants a signature)."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    result = _credentials()
    if result is None:
        return {}
    request = AWSRequest(method=method, url=url, data=body)
    SigV4Auth(result.get_frozen_credentials(), "execute-api", region).add_auth(request)
    return dict(request.headers.items())
