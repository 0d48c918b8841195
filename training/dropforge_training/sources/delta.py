"""A Delta table: rows that were appended since a version, or, after any other change, the whole table again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dropforge.config.settings import SourceSettings
from dropforge_training.sources import parquet_rows
from dropforge_training.sources.pulled import Position, Pulled
from dropforge_training.sources.unreadable_source import unreadable

_MOST: Final = 1000  # versions between two pulls that are looked at one by one
_APPENDS: Final = {"WRITE", "CREATE TABLE", "STREAMING UPDATE", "COPY INTO"}
_SAME_ROWS: Final = {
    "OPTIMIZE",
    "VACUUM START",
    "VACUUM END",
    "SET TBLPROPERTIES",
    "FSCK",
    "CREATE TABLE",
    "ADD CONSTRAINT",
}


def pull(source: SourceSettings, position: Position, workdir: Path) -> Pulled:
    """Raises InvalidRequest for a table that cannot be read."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(source.uri)
        now = table.version()
        after = Position(place=position.place, version=now)
        target = workdir / "new.parquet"
        if position.version == now:
            return Pulled(target, 0, after)
        fresh, reason = _appended(table, source.uri, position.version) if position.version >= 0 else (None, "")
        rows = _write(table, fresh, target)
    except (DeltaError, OSError) as error:
        raise unreadable(source, error, "check the address and your permission to read it") from None
    remark = (f"the whole table is read again: {reason}",) if reason else ()
    return Pulled(target, rows, after, remark)


def _appended(table: Any, uri: str, since: int) -> tuple[set[str] | None, str]:
    """Files that appends added; None with the reason when the rows since cannot be told from the ones before."""
    from deltalake import DeltaTable

    now = table.version()
    if now < since or now - since > _MOST:
        return None, f"its version was {since} and is {now}"
    commits = {int(c["version"]): c for c in table.history(now - since) if "version" in c}
    fresh: set[str] = set()
    for version in range(since + 1, now + 1):
        commit = commits.get(version, {})
        operation = str(commit.get("operation", ""))
        mode = str((commit.get("operationParameters") or {}).get("mode", "Append"))
        if operation in _SAME_ROWS and not (operation == "CREATE TABLE" and mode == "Overwrite"):
            if fresh and operation == "OPTIMIZE":
                return None, f"version {version} rewrote files that versions after {since} had added"
            continue
        if operation not in _APPENDS or mode != "Append":
            return None, f"version {version} was no append ({operation or 'unknown'} {mode})"
        before = set(DeltaTable(uri, version=version - 1).file_uris())
        fresh |= set(DeltaTable(uri, version=version).file_uris()) - before
    return fresh, ""


def _write(table: Any, files: set[str] | None, target: Path) -> int:
    """Rows of these files, or of all, as Parquet; how many there are."""
    import pyarrow.dataset as ds

    dataset = table.to_pyarrow_dataset()
    fragments = [f for f in dataset.get_fragments() if files is None or any(u.endswith(f.path) for u in files)]
    if files is not None and len(fragments) != len(files):
        raise OSError(f"{len(files) - len(fragments)} of {len(files)} new files are no longer in the table")
    some = ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)
    return parquet_rows.write(dataset.schema, some.to_batches() if fragments else (), target)
