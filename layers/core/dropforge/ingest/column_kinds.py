"""What the columns of a file are: every cell is looked at once, then each column has a kind, by the reference or by its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dropforge import value_formats
from dropforge.datasets.table_schema import Column, Kind, Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import cell_parsing, column_scan
from dropforge.ingest.admission import Note
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.open_file import OpenFile


def check_target(file: OpenFile) -> None:
    """The first file needs the target; later ones may come before their ground truth does."""
    target = file.data.target
    if target in file.source.header:
        return
    if file.reference is None or target not in file.reference.names:
        raise RejectedUpload(
            f"the target column {target!r} is missing; columns are {_listed(file.source.header)}",
            code="target_missing",
            fix="add the column, or correct data.target in settings.yaml",
        )
    file.notes.append(
        Note("target_absent", "the target column is missing: rows are compared and stored, not trained on", target)
    )


def survey(file: OpenFile) -> dict[str, ColumnScan]:
    """The scan of each column of the file that the schema will have."""
    # Every column, also those the reference lacks: the first scan must see each row whole to find its faults.
    source = file.source
    known, fixed = declared_formats(file)
    scans = column_scan.scan(
        file.db,
        file.table(),
        [file.markers(c) for c in source.header],
        known,
        fixed=fixed,
    )
    return read_columns(file, scans)


def read_columns(file: OpenFile, scans: Sequence[ColumnScan]) -> dict[str, ColumnScan]:
    """By name, the scans of the columns that the schema will have; `scans` in the header's order."""
    matches = dict(zip(file.source.header, scans, strict=True))
    return {c: seen for c, seen in matches.items() if file.reference is None or c in file.reference.names}


def declared_formats(file: OpenFile) -> tuple[dict[int, value_formats.NumberFormat], frozenset[int]]:
    """How columns write their numbers: declared, else as in the reference; a column of numbers (Parquet) has no format.

    And the columns where the file itself is not asked.
    """
    fixed = file.source.native | {
        i for i, c in enumerate(file.source.header) if (o := file.data.columns.get(c)) and o.number_format
    }
    known: dict[int, value_formats.NumberFormat] = {}
    for i, c in enumerate(file.source.header):
        override = file.data.columns.get(c)
        if i in file.source.native:
            known[i] = value_formats.PLAIN
        elif override and override.number_format:
            known[i] = override.number_format
        elif file.reference is not None and c in file.reference.names:
            known[i] = file.reference.column(c).number_format
    return known, frozenset(fixed)


def schema_of(file: OpenFile, scans: Mapping[str, ColumnScan], classes: tuple[str, ...]) -> Schema:
    """The columns as this file has them: those of the reference, else what the cells are. What was decided is noted.

    `classes`: of a first file's target.
    """
    if file.reference is None:
        columns = [_inferred(file, c, scans[c]) for c in file.source.header]
        schema = Schema(columns=tuple(columns), target=file.data.target, classes=classes)
    else:
        columns = [_as_referenced(file, c, scans.get(c.name)) for c in file.reference.columns]
        schema = file.reference.model_copy(update={"columns": tuple(columns)})
    for column in columns:
        if column.name in scans:
            _remark(file, column, scans[column.name])
    return schema


def _inferred(file: OpenFile, column: str, scan: ColumnScan) -> Column:
    override = file.data.columns.get(column)
    kind: Kind = cell_parsing.infer(scan.probes)
    if column == file.data.target:
        # Whole numbers of a regression are numbers: a later file may have fractions.
        number = file.data.task == "regression" and kind in {"integer", "number"}
        kind = "number" if number else "category"
    return Column(
        name=column, kind=override.type if override and override.type else kind, number_format=scan.number_format
    )


def _as_referenced(file: OpenFile, column: Column, scan: ColumnScan | None) -> Column:
    """The reference's column as this file has it: of the type declared; a whole number is a number."""
    override = file.data.columns.get(column.name)
    kind = override.type if override and override.type else column.kind
    if scan is None:
        return column.model_copy(update={"kind": kind})
    fractions = scan.fails["integer"] - scan.fails["number"]
    if kind == "integer" and fractions > 0 and not (override and override.type):
        kind = "number"
        file.notes.append(
            Note("widened", "whole numbers in the reference; read as numbers here", column.name, fractions)
        )
    return column.model_copy(update={"kind": kind, "number_format": scan.number_format})


def _remark(file: OpenFile, column: Column, scan: ColumnScan) -> None:
    name, probes = column.name, scan.probes
    if scan.spaces:
        file.notes.append(Note("trimmed", "spaces around values were removed", name, scan.spaces))
    if scan.infinite and column.numeric:
        file.notes.append(Note("infinite", "infinite values are treated as missing", name, scan.infinite))
    if column.kind == "datetime" and probes["zoned"]:
        file.notes.append(Note("zones", "times that state a zone were converted to UTC", name, probes["zoned"]))
    if column.numeric and scan.number_format != value_formats.PLAIN:
        code, manner = _manner(scan.number_format)
        file.notes.append(Note(code, f"numbers are written {manner}: {scan.number_format}", name))
    elif probes["comma"] and probes["groups"]:
        file.notes.append(Note("number_format", "1.234,5 and 1,234.5 are mixed; kept as text", name, probes["comma"]))
    if file.reference is not None:
        return
    if codes := probes["codes"]:
        file.notes.append(Note("codes_kept", "numbers with leading zeros are codes; kept as text", name, codes))
    elif overflows := probes["overflows"]:
        file.notes.append(Note("beyond_int64", "integers beyond 64 bits; kept as text", name, overflows))
    elif not column.numeric and (beyond := probes["beyond"]):
        file.notes.append(Note("beyond_float32", "numbers beyond ±3.4e38; kept as text", name, beyond))


def _manner(number_format: value_formats.NumberFormat) -> tuple[str, str]:
    """A note's code and words for a format that is not the plain one."""
    writing = value_formats.written(number_format)
    if writing is not None:
        return "number_unit", f"with {writing.unit}" if writing.unit else "with brackets or spaces"
    if number_format == value_formats.COMMA:
        return "decimal_comma", "with a decimal comma"
    return "digit_groups", "in groups of digits"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
