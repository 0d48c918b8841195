"""Parts of predictions become one file."""

from __future__ import annotations

from pathlib import Path

import duckdb

from dropforge_cli.prediction_parts import join


def test_parts_of_text_are_joined_below_one_header(tmp_path: Path) -> None:
    """Byte for byte; a header with quotes and line ends of its own is one header; a part without a row adds none."""
    header = b'"a\nb","say ""c""",prediction\n'
    parts = [tmp_path / f"part-{n:05d}.csv" for n in range(3)]
    for part, rows in zip(parts, (b'1,"x\ny",no\n', b"", b"2,z,yes\n"), strict=True):
        part.write_bytes(header + rows)
    join(parts, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_bytes() == header + b'1,"x\ny",no\n2,z,yes\n'


def test_parts_of_parquet_are_joined_in_order(tmp_path: Path) -> None:
    """With their types."""
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = [folder / f"part-{n:05d}.parquet" for n in range(3)]
    for number, part in enumerate(parts):
        start = 2000 * number
        duckdb.sql(f"COPY (SELECT i, i % 2 = 0 AS even FROM range({start}, {start + 2000}) t(i)) TO '{part}'")
    join(parts, tmp_path / "rows.parquet")
    joined = duckdb.sql(f"SELECT * FROM '{tmp_path}/rows.parquet'")
    assert [str(t) for t in joined.types] == ["BIGINT", "BOOLEAN"]
    assert [r[0] for r in joined.fetchall()] == list(range(6000))
