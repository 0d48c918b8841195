"""DuckDB, locked down: it may touch one folder, load nothing, and nobody changes that afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MOST_SPILLED = "6GB"  # the functions have 10 GB of disk, which also hold the file, unpacked, and its snapshot


def connect(folder: Path, *, memory: str = "1500MB", threads: int | None = None, ordered: bool = True) -> Any:
    """An in-memory DuckDB connection that reads and writes below `folder` only and spills there.

    What needs more than `memory` and MOST_SPILLED on disk ends in a duckdb.OutOfMemoryException, not in the process's end.
    Without `ordered` rows come as the threads finish them, which is faster: for those who count only.
    """
    import duckdb

    spill = folder / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    options = {
        "memory_limit": memory,
        "temp_directory": str(spill),
        "max_temp_directory_size": MOST_SPILLED,
        # Nothing is fetched from the network, whatever a query names.
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        **({"threads": str(threads)} if threads else {}),
    }
    connection = duckdb.connect(":memory:", config=options)
    connection.execute(f"SET allowed_directories = [{quote(str(folder))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute(f"SET preserve_insertion_order = {str(ordered).lower()}")
    connection.execute("SET lock_configuration = true")
    return connection


def is_ordered(connection: Any) -> bool:
    """Whether rows keep the order of their file on this connection."""
    return bool(connection.execute("SELECT current_setting('preserve_insertion_order')").fetchone()[0])


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A SQL identifier."""
    return '"' + text.replace('"', '""') + '"'


# Of IN with five values or more, list_contains and subqueries DuckDB 2.0 makes joins, and behind a join rows have no order: where rows
# are numbered or identified by their order these two stand instead.
def is_any_of(value: str, options: Sequence[str]) -> str:
    """SQL with the value of `value IN (options)`: NULL where that is unknown. Both are SQL."""
    # A lambda's parameter stands for the value: an expression written once is computed once.
    return f"list_transform([{value}], lambda x: {' OR '.join(f'x = {o}' for o in options)})[1]"


def is_text_of(text: str, texts: Iterable[str]) -> str:
    """SQL: whether the text is one of these; false for NULL. For texts that mostly are.

    An enumeration is looked up by hash, however many there are; a miss costs about a microsecond.
    """
    return f"(TRY_CAST({text} AS ENUM({', '.join(map(quote, dict.fromkeys(texts)))})) IS NOT NULL)"
