"""Signature Version 4: for calls of the API's administrative routes, and of a managed MLflow server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropforge.errors import PermanentError


def credentials(access_key: str = "", secret_key: str = "") -> Any:
    """botocore credentials: those given, else those of the environment (profile, role, …). Raises PermanentError for none."""
    from botocore.credentials import Credentials

    if access_key:
        return Credentials(access_key, secret_key)
    import boto3

    result = boto3.Session().get_credentials()
    if result is None:
        raise PermanentError(
            "no AWS credentials to sign with", code="no_credentials", fix="set AWS_PROFILE, or `aws configure`"
        )
    return result


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests to one service of one region. `credentials`: botocore's."""

    region: str
    credentials: Any
    service: str = "execute-api"

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, covered: Sequence[str] = ()
    ) -> dict[str, str]:
        """`headers` with those of the signature added. `url` must be as it goes over the wire: query encoded, nothing added later.

        `covered`: names of `headers` that the signature vouches for.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        # Only what has to be signed: a proxy or the HTTP client may change or add any other header.
        request = AWSRequest(method=method, url=url, data=body, headers={name: headers[name] for name in covered})
        SigV4Auth(self.credentials, self.service, self.region).add_auth(request)
        return {**headers, **dict(request.headers.items())}
