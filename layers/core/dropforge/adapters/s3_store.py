"""ObjectStore on S3."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from dropforge import s3_uri
from dropforge.adapters.aws_client import RACES, translated
from dropforge.errors import Conflict, NotFound, Unavailable
from dropforge.ports import ObjectStat, PresignedPost, StoredObject

_RACES = 5  # conditional writes that met another one at the same moment; then somebody else is told to wait
_READS = 10  # the client retries a request, not a body that breaks off while it is read; of a bad line, three in ten do


_PAGE = 1000  # keys of one list request, the most S3 gives


class S3Store:
    """One boto3 client; safe to share between threads."""

    def __init__(self, client: Any) -> None:
        self._s3 = client

    def get(self, uri: str, version: str = "") -> StoredObject:
        with translated(uri):
            return self._read(_address(uri, version))

    def get_if_changed(self, uri: str, etag: str) -> StoredObject | None:
        with translated(uri):
            try:
                return self._read({**_address(uri), "IfNoneMatch": etag})
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 304:
                    return None
                raise

    def _read(self, address: dict[str, str]) -> StoredObject:
        for last in (*(False,) * (_READS - 1), True):
            try:
                answer = self._s3.get_object(**address)
            except HTTPError:  # the body of an answer such as "no such key" broke off
                if last:
                    raise
                continue
            try:
                body = answer["Body"].read()
            except BotoCoreError:
                if last:
                    raise
                continue
            return StoredObject(body, answer["ETag"], answer.get("VersionId", ""))
        raise AssertionError  # the last read returned or raised

    def put(
        self,
        uri: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str = "",
    ) -> str:
        condition: dict[str, str] = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match else {}
        try:
            answer = self._put(uri, {"Body": body, "ContentType": content_type, **condition})
        except Conflict as error:
            etag = self._written_by_us(error, uri, body)
            if not etag:
                raise
            return etag
        except NotFound as error:
            if not if_match:
                raise
            # If-Match on a key that is gone answers 404; for the writer that is a lost race like any other.
            raise Conflict(f"{uri} is gone", code="write_conflict", fix="read it again, then decide") from error
        return str(answer["ETag"])

    def _put(self, uri: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """PutObject, again while S3 says that another conditional write was under way. Raises Conflict, NotFound, Unavailable."""
        for attempt in range(_RACES):
            try:
                with translated(uri):
                    answer: Mapping[str, Any] = self._s3.put_object(**_address(uri), **arguments)
                    return answer
            except Unavailable as error:
                rejection = error.__cause__
                code = rejection.response["Error"]["Code"] if isinstance(rejection, ClientError) else ""
                if code not in RACES or attempt + 1 == _RACES:
                    raise
                time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - a pause, no secret
        raise AssertionError  # the last attempt returned or raised

    def _written_by_us(self, conflict: Conflict, uri: str, body: bytes) -> str:
        """The etag, when the conflict is with our own write: its answer was lost, and the client's retry met it.

        Without this a switch or a journal entry that was made would be told, or made, a second time.
        """
        error = conflict.__cause__
        tries = error.response["ResponseMetadata"].get("RetryAttempts", 0) if isinstance(error, ClientError) else 0
        if not tries:
            return ""
        try:
            result = self.get(uri)
        except NotFound:
            return ""
        return result.etag if result.body == body else ""

    def download(self, uri: str, path: Path, version: str = "") -> ObjectStat:
        result = self.stat(uri, version)
        if result is None:
            raise NotFound(f"{uri} does not exist", code="object_missing", fix="check the address")
        bucket, key = s3_uri.split(uri)
        extra = {"VersionId": version} if version else None
        from boto3.s3.transfer import TransferConfig

        # One GET: a store that ignores Range for a version answers each part with the whole object, and the file is garbled.
        whole = TransferConfig(multipart_threshold=result.size + 1, use_threads=False)
        with translated(uri):
            try:
                self._s3.download_file(bucket, key, str(path), ExtraArgs=extra, Config=whole)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        if (got := path.stat().st_size) != result.size:
            path.unlink()
            raise Unavailable(f"{uri} has {result.size:,} bytes, but {got:,} arrived", code="download_size")
        return result

    def upload(
        self, path: Path, uri: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> None:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        # One PUT (up to 5 GB): the condition holds and the write is whole or absent; boto3's multipart helper takes no condition.
        with path.open("rb") as body:
            self._put(uri, {"Body": body, "ContentType": content_type, **condition})

    def stat(self, uri: str, version: str = "") -> ObjectStat | None:
        with translated(uri):
            try:
                head = self._s3.head_object(**_address(uri, version))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise
        return ObjectStat(
            uri, int(head["ContentLength"]), head["ETag"], head.get("VersionId", ""), head["LastModified"].isoformat()
        )

    def delete(self, uri: str) -> None:
        with translated(uri):
            self._s3.delete_object(**_address(uri))

    def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Iterator[ObjectStat]:
        bucket, key = s3_uri.split(prefix)
        start = {"StartAfter": s3_uri.split(after)[1]} if after else {}
        sizes = {"MaxItems": limit, "PageSize": min(limit, _PAGE)} if limit else {}
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=key, **start, PaginationConfig=sizes
        )
        with translated(prefix):
            for page in pages:
                for o in page.get("Contents", ()):
                    yield ObjectStat(
                        f"s3://{bucket}/{o['Key']}", int(o["Size"]), o["ETag"], "", o["LastModified"].isoformat()
                    )

    def versions(self, prefix: str, *, after: tuple[str, str] = ("", ""), limit: int = 0) -> Iterator[ObjectStat]:
        bucket, key = s3_uri.split(prefix)
        marks = {"KeyMarker": s3_uri.split(after[0])[1], "VersionIdMarker": after[1]} if after[0] else {}
        left, more = limit or None, True
        while more and left != 0:
            size = {"MaxKeys": min(left, _PAGE)} if left else {}
            with translated(prefix):
                page = self._s3.list_object_versions(Bucket=bucket, Prefix=key, **marks, **size)
            result = page.get("Versions", ())[:left]
            for o in result:
                uri = f"s3://{bucket}/{o['Key']}"
                yield ObjectStat(uri, int(o["Size"]), o["ETag"], o["VersionId"], o["LastModified"].isoformat())
            left = None if left is None else left - len(result)
            more = page["IsTruncated"]
            marks = {m: page[f"Next{m}"] for m in ("KeyMarker", "VersionIdMarker") if f"Next{m}" in page}

    def presign_get(self, uri: str, seconds: int) -> str:
        with translated(uri):
            return str(self._s3.generate_presigned_url("get_object", Params=_address(uri), ExpiresIn=seconds))

    def presign_post(self, uri: str, *, max_bytes: int, seconds: int) -> PresignedPost:
        bucket, key = s3_uri.split(uri)
        with translated(uri):
            form = self._s3.generate_presigned_post(
                bucket, key, Conditions=[["content-length-range", 0, max_bytes]], ExpiresIn=seconds
            )
        return PresignedPost(form["url"], form["fields"])


def _address(uri: str, version: str = "") -> dict[str, str]:
    bucket, key = s3_uri.split(uri)
    return {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
