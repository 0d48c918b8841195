"""ObjectStore on S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dropforge import uris
from dropforge.adapters.aws import translated
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStat, PresignedPost, StoredObject


class S3Store:
    """One boto3 client; safe to share between threads."""

    def __init__(self, client: Any) -> None:
        self._s3 = client

    def get(self, uri: str, version: str = "") -> StoredObject:
        with translated(uri):
            answer = self._s3.get_object(**_address(uri, version))
            return StoredObject(answer["Body"].read(), answer["ETag"], answer.get("VersionId", ""))

    def get_if_changed(self, uri: str, etag: str) -> StoredObject | None:
        with translated(uri):
            try:
                answer = self._s3.get_object(**_address(uri), IfNoneMatch=etag)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 304:
                    return None
                raise
            return StoredObject(answer["Body"].read(), answer["ETag"], answer.get("VersionId", ""))

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
            with translated(uri):
                answer = self._s3.put_object(**_address(uri), Body=body, ContentType=content_type, **condition)
        except NotFound as error:
            if not if_match:
                raise
            # If-Match on a key that is gone answers 404; for the writer that is a lost race like any other.
            raise Conflict(f"{uri} is gone", code="write_conflict", fix="read it again and decide anew") from error
        return str(answer["ETag"])

    def download(self, uri: str, path: Path, version: str = "") -> ObjectStat:
        found = self.stat(uri, version)
        if found is None:
            raise NotFound(f"{uri} does not exist", code="object_missing", fix="check the address")
        bucket, key = uris.split(uri)
        extra = {"VersionId": version} if version else None
        with translated(uri):
            try:
                self._s3.download_file(bucket, key, str(path), ExtraArgs=extra)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return found

    def upload(
        self, path: Path, uri: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> None:
        bucket, key = uris.split(uri)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        # One PUT (up to 5 GB): the condition holds and the write is whole or absent; boto3's multipart helper takes no condition.
        with translated(uri), path.open("rb") as body:
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **condition)

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

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        bucket, key = uris.split(prefix)
        with translated(prefix):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
                for o in page.get("Contents", ()):
                    yield ObjectStat(
                        f"s3://{bucket}/{o['Key']}", int(o["Size"]), o["ETag"], "", o["LastModified"].isoformat()
                    )

    def presign_get(self, uri: str, seconds: int) -> str:
        with translated(uri):
            return str(self._s3.generate_presigned_url("get_object", Params=_address(uri), ExpiresIn=seconds))

    def presign_post(self, uri: str, *, max_bytes: int, seconds: int) -> PresignedPost:
        bucket, key = uris.split(uri)
        with translated(uri):
            form = self._s3.generate_presigned_post(
                bucket, key, Conditions=[["content-length-range", 0, max_bytes]], ExpiresIn=seconds
            )
        return PresignedPost(form["url"], form["fields"])


def _address(uri: str, version: str = "") -> dict[str, str]:
    bucket, key = uris.split(uri)
    return {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
