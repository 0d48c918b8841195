"""What one scan of a column's cells counts."""

from __future__ import annotations

import random
from dataclasses import replace

import duckdb
import pytest

from dropforge.ingest import column_scan

_POOLS = {
    "whole numbers": ("7", "-12", "007", "9223372036854775808", "1e5", "0"),
    "fractions": ("0.5", "-1.25", ".5", "1e400", "inf", "1_000"),
    "decimal commas": ("1,5", "1.234,5", "12,75", "3"),
    "groups": ("1,234", "1,234.5", "12,345,678", "3"),
    "units": ("$5", "$1,234.50", "7 %", "(5)", "5-", "1 234", "−3", "ABC7"),
    "groups by points": ("1.234.567", "1.234", "12.5", "3"),
    "dates": ("2024-01-05", "2024-01-05T10:00:00+02:00", "05.01.2024", "2024/1/5", "2024-13-01"),
    "dates by name": ("5-Jan-2024", "Jan 2024", "March 3, 2024 10:15 PM", "May"),
    "texts": ("true", "Bern", "Never-married", "a, b", "10:15", "1.2.3"),
}
_EVERYWHERE = ("", " ", "?", "nan", " 5 ", None)


@pytest.mark.parametrize("pool", [*_POOLS, ""])
def test_what_no_cell_can_count_for_is_0_without_being_asked(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that leaves out the conditions which no text of the table can meet counts as one that has them all."""
    rng = random.Random(1)
    texts = [*(_POOLS[pool] if pool else ("x", "1", "2.5")), *_EVERYWHERE]
    db = duckdb.connect()
    db.execute("CREATE TABLE raw (f0 VARCHAR, f1 VARCHAR)")
    db.executemany("INSERT INTO raw VALUES (?, ?)", [(rng.choice(texts), rng.choice(texts)) for _ in range(300)])
    table = column_scan.Table("raw", "raw", ("f0", "f1"), columnar=True)

    def scan() -> list[column_scan.ColumnScan]:
        return [replace(s, rows="", values="", counts="") for s in column_scan.scan(db, table, [("?",)] * 2, {})]

    lean = scan()
    monkeypatch.setattr(column_scan, "_forms", lambda _db, _batch: (True, frozenset()))
    assert lean == scan()
