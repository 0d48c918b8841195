"""A table that is being described: its source, and what a person has to check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dropforge.ingest import cell_parsing, column_scan, text_table
from dropforge.ingest.column_scan import ColumnScan
from dropforge.value_formats import PLAIN

MARKERS = ("?", "NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NULL", "null", "-", "--", ".")
Markers = Mapping[int, tuple[str, ...]]  # by place of a column: texts that mean missing in it alone
NO_MARKERS: Markers = {}


@dataclass(slots=True)
class OpenTable:
    """A file open on a DuckDB connection. `checks`: sentences about what only a person can know, in the order they came up."""

    db: Any
    source: text_table.Source
    checks: list[str] = field(default_factory=list)

    def scan(self, places: Sequence[int], own: Markers = NO_MARKERS) -> list[ColumnScan]:
        """Look once at every cell of the columns at these places of the header."""
        table = column_scan.Table(
            self.source.relation,
            self.source.sample or self.source.relation,
            [text_table.field_name(i) for i in places],
            self.source.columnar,
            separated_by_comma=self.source.delimiter in {"", ","},
        )
        native = {k: PLAIN for k, i in enumerate(places) if i in self.source.native}
        markers = [(*MARKERS, *own.get(i, ())) for i in places]
        return column_scan.scan(
            self.db, table, markers, native, fixed=frozenset(native), label="own" if own else "counted"
        )

    def rows(self, places: Sequence[int], scans: Sequence[ColumnScan], own: Markers = NO_MARKERS) -> str:
        """SQL of the rows with the columns at these places in the layers of cell_parsing, numbered from 0.

        Numbers only of columns that have some; no layer that the scans show to be idle: planning takes most of the time.
        """
        columns = [
            cell_parsing.Cells(
                text_table.field_name(i),
                (*MARKERS, *own.get(i, ())),
                numeric=bool(scans[i].probes["numbers"]),
                number_format=scans[i].number_format,
                trimmed=not scans[i].spaces,
                seen=None if scans[i].spaces else scans[i].missing,
            )
            for i in places
        ]
        return cell_parsing.layered(self.source.relation, columns)

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Every row of a statement's result."""
        rows: list[tuple[Any, ...]] = self.db.execute(sql).fetchall()
        return rows


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
