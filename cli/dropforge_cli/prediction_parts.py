"""Predictions of a large batch file, which come in parts, as one file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

_COPIED = 4 * 1024 * 1024  # bytes at a time


def join(parts: Sequence[Path], target: Path) -> None:
    """The rows of all parts, which lie in one folder, below one header; in the parts' own format."""
    if target.suffix == ".parquet":
        _join_parquet(parts, target)
    else:
        _join_text(parts, target)


def _join_text(parts: Sequence[Path], target: Path) -> None:
    with target.open("wb") as out:
        for number, part in enumerate(parts):
            with part.open("rb") as rows:
                rows.seek(_header_bytes(part) if number else 0)
                shutil.copyfileobj(rows, out, _COPIED)


def _header_bytes(part: Path) -> int:
    """To the end of the header: the first line end outside quotes."""
    with part.open("rb") as rows:
        length, quotes = 0, 0
        for line in rows:
            length, quotes = length + len(line), quotes + line.count(b'"')
            if quotes % 2 == 0:
                break
    return length


def _join_parquet(parts: Sequence[Path], target: Path) -> None:
    from dropforge.ingest.duckdb_connection import connect

    folder = parts[0].parent
    whole = folder / "whole.parquet"
    with closing(connect(folder)) as database:
        database.read_parquet([str(p) for p in parts]).write_parquet(str(whole), compression="zstd")
    shutil.move(whole, target)
