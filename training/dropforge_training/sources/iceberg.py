"""An Iceberg table: rows that were appended since a snapshot, or, after any other change, the whole table again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dropforge.config.settings import SourceSettings
from dropforge_training.sources import parquet_rows
from dropforge_training.sources.pulled import Position, Pulled
from dropforge_training.sources.unreadable_source import unreadable

_MOST: Final = 1000  # snapshots between two pulls that are looked at one by one
_GLUE: Final = "glue:"
_NUMBER: Final = re.compile(r"v?([0-9]+)[^/]*\.metadata\.json")  # v3.metadata.json, 00003-….metadata.json


def pull(source: SourceSettings, position: Position, workdir: Path) -> Pulled:
    """Raises InvalidRequest for a table that cannot be read."""
    from botocore.exceptions import BotoCoreError, ClientError
    from pyarrow.lib import ArrowException
    from pyiceberg.exceptions import NoSuchTableError, ValidationError

    target = workdir / "new.parquet"
    try:
        table = _table(source.uri)
        current = table.current_snapshot()
        if current is None:
            return Pulled(target, 0, Position(place=position.place))
        after = Position(place=position.place, version=current.snapshot_id)
        if position.version == current.snapshot_id:
            return Pulled(target, 0, after)
        fresh, reason = _appended(table, current, position.version) if position.version >= 0 else (None, "")
        rows = _written(table, fresh, target)
    except (
        ArrowException,
        BotoCoreError,
        ClientError,
        OSError,
        NoSuchTableError,
        ValidationError,
        ValueError,
    ) as error:
        raise unreadable(source, error, "check the address and your permission to read it") from None
    remark = (f"the whole table is read again: {reason}",) if reason else ()
    return Pulled(target, rows, after, remark)


def _table(uri: str) -> Any:
    """glue:database.table, the address of a metadata file, or of a table's folder, whose newest metadata file counts."""
    from pyiceberg.catalog import load_catalog
    from pyiceberg.table import StaticTable

    if uri.startswith(_GLUE):
        return load_catalog("glue", type="glue").load_table(tuple(uri.removeprefix(_GLUE).split(".")))
    return StaticTable.from_metadata(uri if uri.endswith(".metadata.json") else _newest_metadata(uri))


def _newest_metadata(folder: str) -> str:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(folder if "://" in folder else Path(folder).resolve().as_uri())
    files = system.get_file_info(fs.FileSelector(f"{path.rstrip('/')}/metadata", allow_not_found=True))
    numbered = [(int(m[1]), f.path) for f in files if (m := _NUMBER.fullmatch(f.base_name))]
    if not numbered:
        raise OSError("it has no metadata/…metadata.json")
    scheme = folder.partition("://")[0] if "://" in folder else "file"
    return f"{scheme}://{max(numbered)[1]}"


def _appended(table: Any, current: Any, since: int) -> tuple[set[str] | None, str]:
    """Files that appends added; None with the reason when the rows since cannot be told from the ones before."""
    from pyiceberg.manifest import ManifestEntryStatus
    from pyiceberg.table.snapshots import Operation

    fresh, snapshot, rewritten = set[str](), current, 0  # from the newest snapshot back
    for _ in range(_MOST):
        if snapshot.snapshot_id == since:
            return fresh, ""
        operation = snapshot.summary.operation if snapshot.summary else None
        if operation not in {Operation.APPEND, Operation.REPLACE}:
            return (
                None,
                f"snapshot {snapshot.snapshot_id} was no append ({operation.value if operation else 'unknown'})",
            )
        if operation == Operation.APPEND and rewritten:
            return None, f"snapshot {rewritten} rewrote files, perhaps some that were added after {since}"
        rewritten = rewritten or (snapshot.snapshot_id if operation == Operation.REPLACE else 0)
        for manifest in snapshot.manifests(table.io) if operation == Operation.APPEND else ():
            if manifest.added_snapshot_id == snapshot.snapshot_id:
                entries = manifest.fetch_manifest_entry(table.io)
                fresh |= {e.data_file.file_path for e in entries if e.status == ManifestEntryStatus.ADDED}
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
        if snapshot is None:
            break
    return None, f"snapshot {since} is no longer among those before {current.snapshot_id}"


def _written(table: Any, files: set[str] | None, target: Path) -> int:
    """Rows of these files, or of all, as Parquet; how many there are."""
    scan = table.scan()
    if files is None:
        reader = scan.to_arrow_batch_reader()
        return parquet_rows.write(reader.schema, reader, target)
    tasks = [t for t in scan.plan_files() if t.file.file_path in files]
    if len(tasks) != len(files):
        raise OSError(f"{len(files) - len(tasks)} of {len(files)} new files are no longer in the table")
    return parquet_rows.write(_arrow_schema(scan), _batches(table, scan, tasks), target)


def _arrow_schema(scan: Any) -> Any:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return schema_to_pyarrow(scan.projection(), include_field_ids=False)


def _batches(table: Any, scan: Any, tasks: list[Any]) -> Iterator[Any]:
    from pyiceberg.io.pyarrow import ArrowScan

    return ArrowScan(table.metadata, table.io, scan.projection(), scan.row_filter).to_record_batches(tasks)
