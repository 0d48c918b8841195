"""One pull of a source, by the command and by the worker: what is new goes into the bucket as an upload, then the position moves."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropforge import ids, keys
from dropforge.config.settings import Settings, SourceSettings
from dropforge.errors import Conflict, InvalidRequest
from dropforge.messages import PullResult
from dropforge_training.sources.pulled import Position, Positions, Pulled

Client = Callable[[str], Any]  # a boto3 client by the service's name


def described(name: str, settings: Settings) -> SourceSettings:
    """The source of this name. Raises InvalidRequest when there is none."""
    sources = {s.name: s for s in settings.sources}
    if name not in sources:
        raise InvalidRequest(
            f"no source {name!r}; there are {', '.join(sources) or 'none'}",
            code="source_unknown",
            fix="add it to `sources` in settings.yaml: docs/how-to/sources.md",
        )
    return sources[name]


def pull(source: SourceSettings, bucket: str, client: Client, *, whole: bool = False) -> PullResult:
    """Upload the rows that are new since the position in `bucket`; with `whole` all rows.

    Raises InvalidRequest for a source that cannot be read, Unavailable for one that is too slow, SettingsError for a secret that
    is none. A pull that dies before the position moved is repeated by the next one, under the same key.
    """
    from dropforge.adapters.s3_store import S3Store

    positions = Positions(S3Store(client("s3")), bucket)
    position, etag = positions.read(source.name, source.place)
    if whole:
        position = Position(place=source.place)
    with tempfile.TemporaryDirectory(prefix="dropforge-pull-") as work:
        pulled = _read(source, position, Path(work), bucket, client)
        remarks, upload_id = list(pulled.remarks), ""
        if pulled.rows:
            # Named by where it ends: pulled again after a crash, it is the same key, and its rows are recognised.
            key = keys.pulled(source.name, pulled.after.model_dump_json(), pulled.file.suffix)
            upload_id = _put(client("s3"), bucket, key, pulled.file)
    if pulled.after != position:
        try:
            positions.write(source.name, pulled.after, etag)
        except Conflict:
            remarks.append("another pull of this source ended first; rows that both brought are used once")
    return PullResult(source=source.name, rows=pulled.rows, upload_id=upload_id, remarks=tuple(remarks))


def _read(source: SourceSettings, position: Position, work: Path, bucket: str, client: Client) -> Pulled:
    try:
        if source.kind == "delta":
            from dropforge_training.sources import delta

            return delta.pull(source, position, work)
        if source.kind == "iceberg":
            from dropforge_training.sources import iceberg

            return iceberg.pull(source, position, work)
        if source.kind == "athena":
            from dropforge_training.sources import athena

            place = keys.query_results_folder(bucket, source.name, uuid.uuid4().hex)
            return athena.pull(source, position, work, client, place)
        from dropforge_training.sources import postgres

        return postgres.pull(source, position, work, _secret(source, client))
    except ImportError as error:
        raise InvalidRequest(
            f"{error.name} is not installed", code="extra_missing", fix="pip install 'dropforge[sources]'"
        ) from None


def _secret(source: SourceSettings, client: Client) -> dict[str, str]:
    if not source.secret:
        return {}
    from dropforge.adapters.secrets_manager import Secrets

    return Secrets(client("secretsmanager")).read(source.secret)


def _put(s3: Any, bucket: str, key: str, file: Path) -> str:
    """The upload's id, which derives from bucket, key and the new version."""
    with file.open("rb") as body:
        answer = s3.put_object(Bucket=bucket, Key=key, Body=body)
    return ids.upload_id(bucket, key, answer.get("VersionId") or answer["ETag"].strip('"'))
