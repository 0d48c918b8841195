"""`s3://bucket/key`, taken apart and put together."""

from __future__ import annotations

from dropforge.errors import InvalidRequest


def split(uri: str) -> tuple[str, str]:
    """Bucket and key. Raises InvalidRequest for anything that is not `s3://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise InvalidRequest(
            f"{uri!r} is not an s3://bucket/key address", code="uri_invalid", fix="give s3://bucket/key"
        )
    return bucket, key


def join(base: str, *parts: str) -> str:
    """`join("s3://b/a", "c")` is `s3://b/a/c`."""
    return "/".join((base.rstrip("/"), *(p.strip("/") for p in parts)))
