"""backup, restore: everything a system knows into a folder, and back into an empty one of the same name."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dropforge import keys
from dropforge.errors import Conflict, InvalidRequest, NotFound
from dropforge.ports import ObjectStore
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, say
from dropforge_cli.target import Target, home, project_root

if TYPE_CHECKING:
    from dropforge_cli.archive import Archive, Manifest

Folder = Annotated[Path, typer.Argument(help="folder of the backup; only its owner may read it")]
_DATABASE, _KEY = "mlflow.db", "history.key"
_SECONDS_BETWEEN_LINES = 5.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Operations"
    app.command(rich_help_panel=panel)(backup)
    app.command(rich_help_panel=panel)(restore)


def backup(folder: Folder, json: Json = False) -> None:
    """Copy both buckets, the local MLflow database and the deployment history's key file into a folder.

    The system may go on working. Interrupted, or run again later, it copies what is not there yet. On AWS the database of the MLflow
    server is not part of it: back it up by its own means; predictions, switches and rollbacks need none.
    """
    from dropforge_cli.archive import Archive

    target = Target.find()
    manifest = create(target, Archive(folder.resolve()), local_home(target))
    document = {
        "objects": manifest.objects,
        "bytes": manifest.size,
        "mlflow": manifest.mlflow,
        "history key": manifest.history_key or "none",
    }
    document["uploads under way"] = len(manifest.under_way)
    emit_json({**document, "folder": str(folder.resolve())}) if json else emit_facts(document)


def restore(folder: Folder, json: Json = False) -> None:
    """Put a backup into an empty system of the same name, account and region. Interrupted, run it again.

    Raw uploads and decisions are put under `restored/`, where they start nothing. On the local cloud run `dropforge down` and
    `dropforge up` afterwards.
    """
    from dropforge_cli.archive import Archive

    target = Target.find()
    archive = Archive(folder.resolve())
    output = put_back(target, archive, local_home(target), _stop_mlflow)
    emit_json(output) if json else emit_facts(output)
    if output["uploads under way"]:
        say(
            "uploads that had not ended in the backup end as skipped: send their files again (restored/incoming/ has them)"
        )


def local_home(target: Target) -> Path | None:
    """The folder of the local cloud; None on AWS."""
    return home(project_root()) if target.local else None


def create(target: Target, archive: Archive, local: Path | None) -> Manifest:
    """Copy what is not there yet and write the manifest."""
    from dropforge_cli.archive import Manifest, now

    s3 = target.client("s3")
    archive.copy(s3, {"data": target.outputs["DataBucket"]}, _lines())
    # Between the buckets: it names artifacts that are there, and is named by records that were copied.
    mlflow, key = _copy_local(archive.folder, local) if local else ("", target.outputs.get("HistoryKey", ""))
    archive.copy(s3, {"artifacts": target.outputs["ArtifactBucket"]}, _lines())
    objects, size, index = archive.totals()
    manifest = Manifest(
        buckets=_buckets(target),
        created_at=now(),
        objects=objects,
        size=size,
        index=index,
        mlflow=mlflow or "not part of it: the database of the MLflow server has a backup of its own",
        history_key=key,
        under_way=tuple(_under_way(archive)),
    )
    archive.finish(manifest)
    return manifest


def put_back(target: Target, archive: Archive, local: Path | None, stop_mlflow: Callable[[], object]) -> dict[str, Any]:
    """Raises InvalidRequest (no finished backup, another system's), Conflict (the system is not empty).

    `stop_mlflow` is called before the local cloud's database is replaced.
    """
    manifest = archive.manifest()
    if manifest.buckets != _buckets(target):
        raise InvalidRequest(
            f"the backup is of {', '.join(manifest.buckets.values())}; this system has {', '.join(_buckets(target).values())}",
            code="backup_of_another_system",
            fix="addresses inside the records name their buckets: deploy under the same project name, in the same account and region",
        )
    s3 = target.client("s3")
    _begin(s3, target.outputs["DataBucket"], archive, manifest)
    if local:
        stop_mlflow()
        _restore_local(archive.folder, local, manifest)
    done = archive.put_back(s3, manifest.buckets, _lines())
    next_step = "dropforge down, then dropforge up" if local else "dropforge doctor"
    return {"objects": done, "mlflow": manifest.mlflow, "uploads under way": len(manifest.under_way), "next": next_step}


def _stop_mlflow() -> None:
    from dropforge_cli.commands.cloud import CloudOptions, config_of
    from dropforge_local import cloud

    cloud.mlflow(config_of(CloudOptions())).stop()


def _buckets(target: Target) -> dict[str, str]:
    return {"data": target.outputs["DataBucket"], "artifacts": target.outputs["ArtifactBucket"]}


def _lines() -> Any:
    """One line on stderr every few seconds."""
    last = [time.monotonic()]

    def tell(objects: int, size: int) -> None:
        if time.monotonic() - last[0] > _SECONDS_BETWEEN_LINES:
            last[0] = time.monotonic()
            say(f"… {objects:,} objects, {size / 1e6:,.0f} MB")

    return tell


def _under_way(archive: Archive) -> list[str]:
    """Ids of uploads that the index had as not ended."""
    return sorted(
        {c.key.rpartition("/")[2] for c in archive.copied() if c.role == "data" and keys.is_open_upload(c.key)}
    )


def _copy_local(folder: Path, local: Path) -> tuple[str, str]:
    """MLflow's database as one consistent state while the server writes, and the key of the deployment history."""
    from dropforge_cli.archive import copy_private

    with (
        closing(sqlite3.connect(f"file:{local / _DATABASE}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(folder / _DATABASE)) as copy,
    ):
        live.backup(copy, pages=1000)
    (folder / _DATABASE).chmod(0o600)
    copy_private(local / _KEY, folder / _KEY)
    return _DATABASE, _KEY


def _begin(s3: Any, bucket: str, archive: Archive, manifest: Manifest) -> None:
    """Mark the system as being restored from this backup. Raises Conflict when it holds data of its own, or of another backup."""
    from dropforge.adapters.s3_store import S3Store

    store, mark = S3Store(s3), keys.restored(bucket)
    try:
        if store.get(mark).body == manifest.index.encode():
            return
    except NotFound:
        if _is_empty(store, bucket):
            store.put(mark, manifest.index.encode(), content_type="text/plain", if_absent=True)
            archive.forget_progress()  # of a restore into a system that is gone
            return
    raise Conflict(
        f"the bucket {bucket} holds data already",
        code="system_not_empty",
        fix="restore into an empty system: dropforge down and another DROPFORGE_HOME, or make destroy and make deploy",
    )


def _is_empty(store: ObjectStore, bucket: str) -> bool:
    """Whether nothing was uploaded or activated. Recovery notes how far it has searched at the first start already."""
    matches = (o for folder in keys.of_a_used_system(bucket) for o in store.list(folder, limit=2))
    return all(keys.is_of_recovery(o.uri.removeprefix(keys.uri(bucket, ""))) for o in matches)


def _restore_local(folder: Path, local: Path, manifest: Manifest) -> None:
    """Database and key of the local cloud, in place of the empty ones; functions that run know the old key until they end."""
    from dropforge_cli.archive import copy_private

    if manifest.mlflow == _DATABASE:
        for leftover in local.glob(f"{_DATABASE}-*"):  # journals of the database that goes
            leftover.unlink()
        copy_private(folder / _DATABASE, local / _DATABASE)
    if manifest.history_key == _KEY:
        copy_private(folder / _KEY, local / _KEY)
