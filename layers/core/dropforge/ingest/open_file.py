"""A file that is being read: what the steps of reading share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge import value_formats
from dropforge.config.missing_markers import missing_texts
from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Column, Schema
from dropforge.ingest import cell_parsing, column_scan, text_table
from dropforge.ingest.admission import Note
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.text_table import Source

NO_SCANS: Mapping[str, ColumnScan] = {}
_SMALL_BYTES = 16_000_000  # of text; held in memory it takes less than counting all columns in one pass does


@dataclass(slots=True)
class OpenFile:
    """The source with its connection, the settings of its columns, the reference's schema (None for a first file), a folder.

    `notes` grow while the file is read.
    """

    source: Source
    data: DataSettings
    reference: Schema | None
    workdir: Path
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes.extend(Note(code, message) for code, message in self.source.notes)

    @property
    def db(self) -> Any:
        """The DuckDB connection that the file is read on."""
        return self.source.connection

    def table(self) -> column_scan.Table:
        """The file as column_scan reads it."""
        source = self.source
        return column_scan.Table(
            source.relation,
            source.sample or source.relation,
            source.fields,
            source.columnar,
            separated_by_comma=source.delimiter in {"", ","},
        )

    def hold_small(self, size: int) -> None:
        """A file of few bytes is held in memory, and one whose columns are not counted in one pass."""
        header = self.source.header
        one_pass = len(header) <= column_scan.TOGETHER and len({self.markers(c) for c in header}) == 1
        if not one_pass or size < _SMALL_BYTES:
            self.source.hold(self.workdir)

    def markers(self, column: str) -> tuple[str, ...]:
        """Texts that mean missing in the column."""
        return missing_texts(self.data, column)

    def rows(
        self,
        schema: Schema,
        scans: Mapping[str, ColumnScan] = NO_SCANS,
        relation: str = "",
        *,
        lean: bool = False,
        places: Sequence[int] | None = None,
        keep: Sequence[str] = (),
    ) -> str:
        """The file's rows in layers; numbers only where the schema needs them. `lean`: no layer the scans show to be idle.

        `places`: of the columns wanted, all when None; `keep`: SQL of what else is passed on.
        """
        columns, of_schema = {}, {c.name: c for c in schema.columns}
        for i in range(len(self.source.header)) if places is None else places:
            c, cell = self.source.header[i], text_table.field_name(i)
            scan, column = scans.get(c), of_schema.get(c)
            idle = lean and scan is not None and not scan.spaces
            columns[i] = cell_parsing.Cells(
                cell,
                self.markers(c),
                numeric=column is not None and column.numeric,
                number_format=column.number_format if column is not None else value_formats.PLAIN,
                trimmed=idle,
                seen=scan.missing if scan is not None and idle else None,
                clean=_is_clean(scan, column),
            )
        return cell_parsing.layered(relation or self.source.relation, columns, keep)


def _is_clean(scan: ColumnScan | None, column: Column | None) -> bool:
    """Whether the cells are known to be numbers of the column's kind, as it writes them."""
    if scan is None or column is None or scan.number_format != column.number_format:
        return False
    return column.numeric and scan.is_clean(column.kind)
