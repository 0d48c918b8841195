"""Bytes in, accepted rows and rejects out. `rows_in = rows_used + rows_quarantined`, always.

The file is parsed with columns declared and nothing detected, every cell as text; then each cell is read as the kind the
schema gives. Rows that do not fit the table's form or a column's kind are quarantined with line, column and reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dropforge import value_formats
from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Column, Kind, Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import (
    cell_parsing,
    column_scan,
    rejected_rows,
    row_contract,
    target_check,
    text_table,
    unknown_columns,
)
from dropforge.ingest import parquet_snapshot as snapshot
from dropforge.ingest.duckdb_connection import connect, name

Announce = Callable[[Schema, snapshot.Levels], None]
NO_LEVELS: snapshot.Levels = {}
NO_SCANS: Mapping[str, column_scan.ColumnScan] = {}
_SMALL_BYTES = 16_000_000  # of text; held in memory it takes less than counting all columns in one pass does


@dataclass(frozen=True, slots=True)
class Note:
    """Something done or found while reading that is no reason to reject: shown in the report."""

    code: str
    message: str
    column: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a file. `snapshot` is Parquet: the schema's columns, typed, NULL for missing, and the row hash."""

    snapshot: Path
    schema: Schema
    dataset_id: str
    snapshot_sha256: str
    rows_in: int
    rows_used: int
    rejects_csv: Path
    reason_counts: dict[str, int]
    first_rejects: tuple[rejected_rows.Reject, ...]
    missing: dict[str, dict[str, int]]
    header: tuple[str, ...]
    extra_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    notes: tuple[Note, ...]
    extra_counts: tuple[unknown_columns.ExtraCounts, ...]
    format: str
    delimiter: str
    encoding: str
    bytes: int
    file_sha256: str
    table: str = ""  # the accepted rows for who asks on the connection they were read with
    rules: tuple[row_contract.RuleResult, ...] = ()  # data.columns and data.rules, and how the rows fared
    bundle_rules: tuple[dict[str, Any], ...] = ()  # the same rules as bundles keep them
    untrained: str = ""  # why these rows are compared and stored but start no training; empty when they do

    @property
    def rows_quarantined(self) -> int:
        """Rows of the file that were not accepted."""
        return self.rows_in - self.rows_used


def admit(
    path: Path,
    *,
    data: DataSettings,
    reference: Schema | None,
    workdir: Path,
    connection: Any = None,
    announce: Announce = lambda _schema, _levels: None,
    known: snapshot.Levels = NO_LEVELS,
    keep: bool = True,
    partial: bool = False,
) -> Admission:
    """Read a CSV or Parquet file by the reference's schema, or infer one when there is none.

    `workdir` must be an existing folder; the snapshot and the rejects are left in it. A `connection` given (engine.connect)
    stays open, and has the accepted rows as `table`; only without `keep` may it be one that keeps no order. `announce` is told
    the schema and the categories as soon as they are known, long before the end; `known`: the categories of the file it is
    compared with.
    Without `keep` nothing is identified and no snapshot is kept: the table is all there is. `partial`:
    the rows belong to an earlier file, so that one class alone is no mistake.
    Raises RejectedUpload with a stable code, the place and the fix when the file as a whole cannot be used.
    """
    check_size(path.stat().st_size, data)
    own = connect(workdir) if connection is None else None
    connection = connection or own
    try:
        with text_table.decoding() as reading:
            source = reading.source = text_table.open_source(path, workdir, connection, data, reference)
            return _Reading(source, data, reference, workdir).run(path, announce, known, keep=keep, partial=partial)
    finally:
        if own is not None:
            own.close()


def check_size(size: int, data: DataSettings) -> None:
    """Raises RejectedUpload for a file over the budget of bytes; asked before a download too."""
    if size > data.limits.max_bytes:
        raise RejectedUpload(
            f"the file has {size:,} bytes; the limit is {data.limits.max_bytes:,}",
            code="over_byte_budget",
            fix="split the file, or raise data.limits.max_bytes",
        )


class _Reading:
    """One file being read; holds what the steps share."""

    def __init__(self, source: text_table.Source, data: DataSettings, reference: Schema | None, workdir: Path) -> None:
        self.source = source
        self.db = source.connection
        self.data = data
        self.reference = reference
        self.workdir = workdir
        self.notes = [Note(code, message) for code, message in source.notes]
        self._rules: dict[str, cell_parsing.Rule] = {}
        self._row_rules: tuple[row_contract.ParsedRule, ...] = ()
        self._violations: dict[tuple[str, str], int] = {}  # by column (or rule) and code

    def run(self, path: Path, announce: Announce, known: snapshot.Levels, *, keep: bool, partial: bool) -> Admission:
        self._check_target()
        one_pass = (
            len(self.source.header) <= column_scan.TOGETHER and len({self._markers(c) for c in self.source.header}) == 1
        )
        if not one_pass or path.stat().st_size < _SMALL_BYTES:
            self.source.hold(self.workdir)
        looks = self._survey()
        accepted = max((seen.cells for seen in looks.values()), default=0)
        malformed = rejected_rows.count_of_form(self.source)
        rows_in = accepted + malformed
        most = rejected_rows.most(rows_in, self.data.limits)
        self._check_rows(rows_in)
        form_rejects = rejected_rows.of_form(self.source, most + 1)
        if malformed > most:
            self._check_total(form_rejects, rows_in, f"{malformed:,}")
        labels = looks[self.data.target].counts if self.data.target in looks else ""
        regression = self.data.task == "regression"
        classes = {} if regression else target_check.counts(self.db, labels)
        schema = self._schema(looks, tuple(classes)[: target_check.MAX_CLASSES])
        self._rules = self._ruled(schema, () if partial else self._lone(classes))
        self._row_rules = row_contract.parse_rules(self.db, self.data, schema)
        looks = {c: seen for c, seen in looks.items() if c in schema.names}
        levels = snapshot.enumerate_levels(self.db, schema, self.source.header, looks, known)
        announce(schema, snapshot.shared(levels))
        text_table.check_complete(self.source, rows_in)
        faults = self._faults(schema, looks)
        self._check_types(schema, looks, accepted, faults)
        stored = snapshot.write(
            self.db,
            self.workdir / "data.parquet",
            schema,
            self.source.header,
            looks,
            rows=self._rows(schema, looks, lean=not faults),
            bad=" OR ".join(f.condition for f in faults),
            keep=keep,
            levels=levels,
            known=known,
            violated=" OR ".join(r.condition(self._typed(schema)) for r in self._quarantining),
        )
        try:
            dataset_id, rows_used = (
                snapshot.identify(self.db, stored) if keep else ("", snapshot.count(self.db, stored))
            )
            cell_rejects = self._rejected(schema, faults, most + 1) if rows_used < accepted else []
            every = sorted([*form_rejects, *cell_rejects], key=lambda r: r.line)
            self._check_total(every, rows_in, f"{'at least ' * (len(cell_rejects) > most)}{len(every):,}")
            rules = self._results(schema, looks, stored.relation, accepted, rows_used)
            extra_counts = self._extra_counts(schema)
            self.db.execute("DROP TABLE IF EXISTS raw")
            if rows_used + len(every) != rows_in:
                raise RejectedUpload(
                    f"{rows_in} rows came in but {rows_used} used and {len(every)} quarantined do not add up",
                    code="rows_lost",
                    fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
                )
            learned = {c: n for c, n in classes.items() if c not in self._rules[self.data.target].forbidden}
            known_rows, distinct = target_check.numbers(self.db, schema, stored.relation) if regression else (0, 0)
            if regression and not partial and self.reference is None:
                target_check.check_numbers(schema, known_rows, distinct)
            if not regression and not partial:
                target_check.check(schema, learned, first=self.reference is None)
            file_sha256 = _sha256(path) if keep else ""
        finally:
            wait([stored.written])  # whoever closes the connection must not meet its writer
        stored.written.result()
        present = set(self.source.header)
        names = set(schema.names)
        return Admission(
            snapshot=stored.file,
            schema=schema,
            dataset_id=dataset_id,
            snapshot_sha256=_sha256(stored.file) if keep else "",
            rows_in=rows_in,
            rows_used=rows_used,
            rejects_csv=rejected_rows.write_csv(every, self.workdir / "rejects.csv"),
            reason_counts=rejected_rows.counts(every),
            first_rejects=tuple(every[:100]),
            missing={c: seen.missing for c, seen in looks.items()},
            header=tuple(self.source.header),
            extra_columns=tuple(c for c in self.source.header if c not in names),
            absent_columns=tuple(c for c in schema.names if c not in present and c != self.data.target),
            notes=tuple(self.notes),
            extra_counts=extra_counts,
            format=self.source.format,
            delimiter=self.source.delimiter,
            encoding=self.source.encoding,
            bytes=path.stat().st_size,
            file_sha256=file_sha256,
            table=stored.relation,
            rules=rules,
            bundle_rules=row_contract.for_bundles(self.data, schema, self._row_rules),
            untrained=""
            if partial
            else target_check.untrained_numbers(known_rows, distinct, self.data.target)
            if regression
            else target_check.untrained(learned, self.data.target),
        )

    def _check_rows(self, rows: int) -> None:
        if rows == 0:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        if rows > self.data.limits.max_rows:
            raise text_table.over_rows(rows, self.data.limits)

    def _check_target(self) -> None:
        """The first file needs the target; later ones may come before their labels do."""
        wanted = self.data.target
        if wanted in self.source.header:
            return
        if self.reference is None or wanted not in self.reference.names:
            raise RejectedUpload(
                f"the target column {wanted!r} is missing; columns are {_listed(self.source.header)}",
                code="target_missing",
                fix="add the column, or correct data.target in settings.yaml",
            )
        self.notes.append(
            Note("target_absent", "the target column is missing: rows are compared and stored, not trained on", wanted)
        )

    # --- one look at every cell ----------------------------------------------------------------------------------------
    def _markers(self, column: str) -> tuple[str, ...]:
        override = self.data.columns.get(column)
        return (
            override.missing_markers if override and override.missing_markers is not None else self.data.missing_markers
        )

    def _rows(
        self,
        schema: Schema,
        looks: Mapping[str, column_scan.ColumnScan] = NO_SCANS,
        relation: str = "",
        *,
        lean: bool = False,
    ) -> str:
        """The file's rows in layers; numbers only where the schema needs them. `lean`: no layer the looks show to be idle."""
        columns = []
        for field, c in zip(self.source.fields, self.source.header, strict=True):
            seen = looks.get(c)
            idle = lean and seen is not None and not seen.spaces
            columns.append(
                cell_parsing.Cells(
                    field,
                    self._markers(c),
                    numeric=c in schema.names and schema.column(c).numeric,
                    number_format=schema.column(c).number_format if c in schema.names else value_formats.PLAIN,
                    trimmed=idle,
                    seen=seen.missing if seen is not None and idle else None,
                )
            )
        return cell_parsing.layered(relation or self.source.relation, columns)

    def _survey(self) -> dict[str, column_scan.ColumnScan]:
        # Every column, also those the reference lacks: the first scan must see each row whole to find its faults.
        source, declared = self.source, self._formats()
        fixed = source.native | {
            i for i, c in enumerate(source.header) if (o := self.data.columns.get(c)) and o.number_format
        }
        looks = column_scan.scan(
            self.db,
            column_scan.Table(
                source.relation,
                source.sample or source.relation,
                source.fields,
                source.columnar,
                separated_by_comma=source.delimiter in {"", ","},
            ),
            [self._markers(c) for c in source.header],
            declared,
            fixed=frozenset(fixed),
        )
        matches = dict(zip(source.header, looks, strict=True))
        return {c: seen for c, seen in matches.items() if self.reference is None or c in self.reference.names}

    def _formats(self) -> dict[int, value_formats.NumberFormat]:
        """How columns write their numbers: declared, else as in the reference; a column of numbers (Parquet) has no format."""
        known: dict[int, value_formats.NumberFormat] = {}
        for i, c in enumerate(self.source.header):
            override = self.data.columns.get(c)
            if i in self.source.native:
                known[i] = value_formats.PLAIN
            elif override and override.number_format:
                known[i] = override.number_format
            elif self.reference is not None and c in self.reference.names:
                known[i] = self.reference.column(c).number_format
        return known

    # --- what the columns are -----------------------------------------------------------------------------------------
    def _schema(self, looks: Mapping[str, column_scan.ColumnScan], classes: tuple[str, ...]) -> Schema:
        if self.reference is None:
            columns = [self._inferred(c, looks[c]) for c in self.source.header]
            schema = Schema(columns=tuple(columns), target=self.data.target, classes=classes)
        else:
            columns = [self._as_referenced(c, looks.get(c.name)) for c in self.reference.columns]
            schema = self.reference.model_copy(update={"columns": tuple(columns)})
        for column in columns:
            if column.name in looks:
                self._remark(column, looks[column.name])
        return schema

    def _inferred(self, column: str, look: column_scan.ColumnScan) -> Column:
        override = self.data.columns.get(column)
        kind: Kind = cell_parsing.infer(look.probes)
        if column == self.data.target:
            # Whole numbers of a regression are numbers: a later file may have fractions.
            number = self.data.task == "regression" and kind in {"integer", "number"}
            kind = "number" if number else "category"
        return Column(
            name=column, kind=override.type if override and override.type else kind, number_format=look.number_format
        )

    def _as_referenced(self, column: Column, look: column_scan.ColumnScan | None) -> Column:
        """The reference's column as this file has it: of the type declared; a whole number is a number."""
        override = self.data.columns.get(column.name)
        kind = override.type if override and override.type else column.kind
        if look is None:
            return column.model_copy(update={"kind": kind})
        fractions = look.fails["integer"] - look.fails["number"]
        if kind == "integer" and fractions > 0 and not (override and override.type):
            kind = "number"
            self.notes.append(
                Note("widened", "whole numbers in the reference; read as numbers here", column.name, fractions)
            )
        return column.model_copy(update={"kind": kind, "number_format": look.number_format})

    def _remark(self, column: Column, look: column_scan.ColumnScan) -> None:
        name, probes = column.name, look.probes
        if look.spaces:
            self.notes.append(Note("trimmed", "spaces around values were removed", name, look.spaces))
        if look.infinite and column.numeric:
            self.notes.append(Note("infinite", "infinite values are treated as missing", name, look.infinite))
        if column.kind == "datetime" and probes["zoned"]:
            self.notes.append(Note("zones", "times that state a zone were converted to UTC", name, probes["zoned"]))
        if column.numeric and look.number_format != value_formats.PLAIN:
            comma = look.number_format == value_formats.COMMA
            code, predicted = (
                ("decimal_comma", "with a decimal comma") if comma else ("digit_groups", "in groups of digits")
            )
            self.notes.append(Note(code, f"numbers are written {predicted}: {look.number_format}", name))
        elif probes["comma"] and probes["groups"]:
            self.notes.append(
                Note("number_format", "1.234,5 and 1,234.5 are mixed; kept as text", name, probes["comma"])
            )
        if self.reference is not None:
            return
        if codes := probes["codes"]:
            self.notes.append(Note("codes_kept", "numbers with leading zeros are codes; kept as text", name, codes))
        elif overflows := probes["overflows"]:
            self.notes.append(Note("beyond_int64", "integers beyond 64 bits; kept as text", name, overflows))
        elif not column.numeric and (beyond := probes["beyond"]):
            self.notes.append(Note("beyond_float32", "numbers beyond ±3.4e38; kept as text", name, beyond))

    def _lone(self, classes: Mapping[str, int]) -> tuple[str, ...]:
        known = self.reference.classes if self.reference else ()
        if self.reference is not None and not known:  # a reference of an earlier version: its classes are not known
            return ()
        return target_check.lone_classes(classes, known, self.data.limits.max_quarantined_share)

    def _ruled(self, schema: Schema, lone: tuple[str, ...]) -> dict[str, cell_parsing.Rule]:
        """By column, what its values must be besides being of its kind."""
        rules = {}
        for c in schema.columns:
            o = self.data.columns.get(c.name)
            rule = row_contract.column_rule(c, o)
            if c.name == schema.target and c.kind in {"category", "text"}:
                rule = replace(rule, forbidden=lone)
            rules[c.name] = rule
            if idle := row_contract.unused(c, o):
                self.notes.append(Note("rule_unused", f"data.columns has {idle}, but the column is {c.kind}", c.name))
            if rule.required and c.name not in self.source.header:
                raise RejectedUpload(
                    f"the column {c.name!r} is missing, and data.columns wants a value of it in every row",
                    code="column_required",
                    fix=f"add the column, or take not_null and role: identifier from data.columns.{c.name}",
                )
        return rules

    # --- rows that do not fit ------------------------------------------------------------------------------------------
    def _faults(self, schema: Schema, looks: Mapping[str, column_scan.ColumnScan]) -> list[rejected_rows.Fault]:
        """What quarantines a row of this file: cells that do not parse and rules that some cell violates. Rules are judged here,
        once for each distinct text.
        """
        places = [(i, schema.column(c), looks[c]) for i, c in enumerate(self.source.header) if c in looks]
        judged = []
        for i, column, look in places:
            conditions = cell_parsing.faults(0, column.kind, self._rules[column.name])
            if row_contract.is_unique(self.data.columns.get(column.name)):
                table, often = row_contract.repeated(self.db, i, column, look)
                self._rules[column.name] = replace(self._rules[column.name], repeated=table)
                self._violations[column.name, "value_repeated"] = often
            of_rules = {k: v for k, v in conditions.items() if k not in {"beyond_float32", f"not_{column.kind}"}}
            judged.append((column, look, of_rules))
        for (column, _, _), counts in zip(judged, row_contract.violations(self.db, judged), strict=True):
            self._violations |= {(column.name, code): n for code, n in counts.items()}
        every = rejected_rows.faults([(i, column, self._rules[column.name]) for i, column, _ in places])
        return [
            f
            for f in every
            if self._violations.get((f.column, f.code), looks[f.column].fails.get(schema.column(f.column).kind, 0))
        ]

    @property
    def _quarantining(self) -> list[row_contract.ParsedRule]:
        return [r for r in self._row_rules if r.settings.action == "quarantine"]

    def _typed(self, schema: Schema) -> dict[str, str]:
        """SQL of each column of the typed rows."""
        return {c.name: name(c.name) for c in schema.columns}

    def _check_types(
        self,
        schema: Schema,
        looks: Mapping[str, column_scan.ColumnScan],
        accepted: int,
        faults: Sequence[rejected_rows.Fault],
    ) -> None:
        for c, seen in looks.items():
            count = seen.fails.get(schema.column(c).kind, 0)
            if count > self.data.limits.max_quarantined_share * accepted:
                raise self._type_changed(schema, c, seen, accepted, [f for f in faults if f.column == c])

    def _results(
        self,
        schema: Schema,
        looks: Mapping[str, column_scan.ColumnScan],
        relation: str,
        accepted: int,
        rows_used: int,
    ) -> tuple[row_contract.RuleResult, ...]:
        """How the rows fared under every rule of the settings."""
        results = []
        for c in schema.columns:
            for title, code in row_contract.titles(c, self._rules[c.name], self.data.columns.get(c.name)):
                if c.name in looks:
                    count = self._violations.get((c.name, code), 0)
                    results.append(
                        row_contract.RuleResult(title, title, "quarantine", (c.name,), looks[c.name].cells, count)
                    )
        watching = [r for r in self._row_rules if r.settings.action != "quarantine"]
        counts = row_contract.count(self.db, relation, watching, schema)
        counted = dict(zip((r.code for r in watching), counts, strict=True))
        for rule in self._row_rules:
            watched = rule.code in counted
            results.append(
                row_contract.RuleResult(
                    rule.settings.name,
                    rule.settings.expect,
                    rule.settings.action,
                    rule.columns,
                    rows_used if watched else accepted,
                    counted[rule.code] if watched else self._violations.get(("", rule.code), 0),
                    rule.settings.tolerance,
                )
            )
        return tuple(results)

    def _extra_counts(self, schema: Schema) -> tuple[unknown_columns.ExtraCounts, ...]:
        fields = dict(zip(self.source.header, self.source.fields, strict=True))
        unknown = {c: f for c, f in fields.items() if c not in schema.names}
        if self.data.target not in fields:
            return ()
        markers = self._markers(self.data.target)
        return unknown_columns.counts(self.db, self.source.relation, unknown, fields[self.data.target], markers)

    def _rejected(
        self, schema: Schema, faults: Sequence[rejected_rows.Fault], limit: int
    ) -> list[rejected_rows.Reject]:
        """Rows that a cell or a rule on the row quarantines, in file order."""
        of_rows = self._quarantining
        places = {c: i for i, c in enumerate(self.source.header) if c in schema.names}
        needed = sorted({places[c] for rule in of_rows for c in rule.columns if c in places})
        cells = {c.name: f"CAST(NULL AS {c.physical})" for c in schema.columns}
        cells |= {c: f"p{i}" for c, i in places.items()}
        every = [*faults, *(_of_rule(rule, cells) for rule in of_rows)]
        with text_table.in_order(self.source, self.workdir) as ordered:
            rows = self._rows(schema, relation=ordered.relation)
            if needed:
                parsed = (
                    f"CAST({cell_parsing.parsed(i, c.kind)} AS {c.physical}) AS p{i}"
                    for i, c in ((i, schema.column(self.source.header[i])) for i in needed)
                )
                rows = f"(SELECT *, {', '.join(parsed)} FROM {rows})"
            tables = [f.repeated for f in self._rules.values() if f.repeated]
            row_contract.share(self.db, ordered.connection, tables)
            rejects, often = rejected_rows.of_cells(ordered, rows, every, limit)
        self._violations |= {("", f.code): n for f, n in zip(every, often, strict=True) if f.columns}
        return rejects

    def _type_changed(
        self,
        schema: Schema,
        column: str,
        look: column_scan.ColumnScan,
        accepted: int,
        faults: list[rejected_rows.Fault],
    ) -> RejectedUpload:
        kind = schema.column(column).kind
        where = "; ".join(f"line {r.line}: {r.reason}" for r in self._rejected(schema, faults, limit=3))
        now = cell_parsing.infer(look.probes)
        usable = now if now != kind and not look.fails.get(now, 0) else "category"
        declared = self.data.columns.get(column)
        source = "in settings.yaml" if declared and declared.type else "in the reference"
        return RejectedUpload(
            f"column {column!r} is {kind} {source}, but {look.fails[kind]:,} of {accepted:,} values are not ({where})",
            code="type_changed",
            fix=f"correct the column, or, if it has changed, declare what it is now: "
            f"data.columns: {{{_key(column)}: {{type: {usable}}}}}",
        )

    def _check_total(self, every: list[rejected_rows.Reject], rows_in: int, count: str) -> None:
        if len(every) > rejected_rows.most(rows_in, self.data.limits):
            first = "; ".join(f"line {r.line}: {r.reason}" for r in every[:3])
            raise RejectedUpload(
                f"{count} of {rows_in:,} rows cannot be used ({first})",
                code="too_many_bad_rows",
                fix="correct the file (delimiter? quotes? a rule of data.columns?), or raise data.limits.max_quarantined_share",
            )
        if len(every) == rows_in:
            raise RejectedUpload(
                f"no row can be used ({every[0].reason})", code="too_many_bad_rows", fix="correct the file"
            )


def _of_rule(rule: row_contract.ParsedRule, cells: Mapping[str, str]) -> rejected_rows.Fault:
    reason = f"violates the rule {rule.settings.name} ({rule.settings.expect})"
    return rejected_rows.Fault(", ".join(rule.columns), rule.code, rule.condition(cells), reason, rule.columns)


def _key(column: str) -> str:
    """A column's name as a key of a YAML block in braces."""
    return (
        column
        if column.replace("_", "").isalnum() and not column[:1].isdigit()
        else json.dumps(column, ensure_ascii=False)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
