"""Rows that do not fit: which cells and rules quarantine a row, how often, and the rejects they give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import cell_parsing, rejected_rows, row_contract, text_table
from dropforge.ingest.admission import Note
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.rejected_rows import Fault, Reject
from dropforge.ingest.row_contract import ParsedRule, RuleResult
from dropforge.ingest.text_table import Source

NOTHING_REPEATED: Mapping[str, Path] = {}


class RowFaults:
    """What is expected of the rows of one file, by its schema, `data.columns` and `data.rules`, and which faults occur.

    `faults`: conditions on cells that some cell of the file meets; `parsed_rules`: those of `data.rules`; `accepted`: rows of
    the right form. `lone`: classes of the target that one row alone has. Raises RejectedUpload for a rule that does not fit the
    table. `repeated`: by unique column the file (Parquet: k) of the values that several rows of the table have, where this file is
    a shard of it.
    """

    def __init__(
        self,
        file: OpenFile,
        schema: Schema,
        scans: Mapping[str, ColumnScan],
        accepted: int,
        lone: tuple[str, ...] = (),
        repeated: Mapping[str, Path] = NOTHING_REPEATED,
    ) -> None:
        self.schema = schema
        of_schema = set(schema.names)
        self.scans = {c: scan for c, scan in scans.items() if c in of_schema}
        self.accepted = accepted
        self.faults: list[Fault] = []
        self._file = file
        self._repeated = repeated
        self._violations: dict[tuple[str, str], int] = {}  # by column (or rule) and code
        self._column_rules = self._rules_of_columns(lone)
        self.parsed_rules = row_contract.parse_rules(file.db, file.data, schema)

    def judge(self) -> None:
        """Find the `faults`. Rules on cells are judged here, once for each distinct text."""
        file, scans = self._file, self.scans
        columns = {c.name: c for c in self.schema.columns}
        places = [(i, columns[c], scans[c]) for i, c in enumerate(file.source.header) if c in scans]
        judged = []
        for i, column, scan in places:
            conditions = cell_parsing.faults(0, column.kind, self._column_rules[column.name])
            if row_contract.is_unique(file.data.columns.get(column.name)):
                known = self._repeated.get(column.name)
                table, often = row_contract.repeated(file.db, i, column, scan, known)
                self._column_rules[column.name] = replace(self._column_rules[column.name], repeated=table)
                self._violations[column.name, "value_repeated"] = often
            of_rules = {k: v for k, v in conditions.items() if k not in {"beyond_float32", f"not_{column.kind}"}}
            judged.append((column, scan, of_rules))
        for (column, _, _), counts in zip(judged, row_contract.violations(file.db, judged), strict=True):
            self._violations |= {(column.name, code): n for code, n in counts.items()}
        every = rejected_rows.faults([(i, column, self._column_rules[column.name]) for i, column, _ in places])
        self.faults = [
            f
            for f in every
            if self._violations.get((f.column, f.code), scans[f.column].fails.get(columns[f.column].kind, 0))
        ]

    @property
    def bad(self) -> dict[str, str]:
        """By column SQL over the layered rows: its cell is at fault; of those alone that have such cells."""
        conditions = dict[str, str]()
        for f in self.faults:
            conditions[f.column] = f"{conditions[f.column]} OR {f.condition}" if f.column in conditions else f.condition
        return conditions

    @property
    def violated(self) -> str:
        """SQL over typed rows (parquet_snapshot.LayeredRows): the row violates a rule that quarantines; empty without such."""
        typed = {c.name: f"c{n}" for n, c in enumerate(self.schema.columns)}
        return " OR ".join(r.condition(typed) for r in self._quarantining)

    @property
    def _quarantining(self) -> list[ParsedRule]:
        return [r for r in self.parsed_rules if r.settings.action == "quarantine"]

    def repeated_values(self) -> dict[str, str]:
        """By unique column the table (k) of its values that several rows have; columns without such values are left out."""
        return {column: rule.repeated for column, rule in self._column_rules.items() if rule.repeated}

    def forbidden(self, column: str) -> tuple[str, ...]:
        """Values whose rows are quarantined though they are of the column's kind."""
        return self._column_rules[column].forbidden

    def rejects(self, limit: int, left_out: str = "") -> list[Reject]:
        """Rows that a cell or a rule on the row quarantines, in file order, at most `limit`.

        `left_out`: the table of these rows (parquet_snapshot.Snapshot); without it the file is read again.
        """
        if not left_out:
            return self._rejects(self.faults, limit)
        source = self._file.source
        fields = ", ".join(f"t[{i}] AS {f}" for i, f in enumerate(source.fields, 1))
        return self._search(source, f"(SELECT n, t, {fields} FROM {left_out})", ("n", "t"), "t", self.faults, limit)

    def _rejects(self, faults: Sequence[Fault], limit: int) -> list[Reject]:
        """Of all rows of the file."""
        file = self._file
        with text_table.in_order(file.source, file.workdir) as ordered:
            tables = [r.repeated for r in self._column_rules.values() if r.repeated]
            row_contract.share(file.db, ordered.connection, tables, file.workdir)
            numbered = f"(SELECT row_number() OVER () AS n, * FROM {ordered.relation})"
            texts = f"[{', '.join(ordered.fields)}]"
            return self._search(ordered, numbered, ("n", *ordered.fields), texts, faults, limit)

    def _search(
        self, source: Source, relation: str, keep: tuple[str, ...], texts: str, faults: Sequence[Fault], limit: int
    ) -> list[Reject]:
        """Rows of the relation with a fault. `texts`: SQL of all cells of a row, over its columns to `keep`."""
        file, schema, of_rows = self._file, self.schema, self._quarantining
        of_schema = set(schema.names)
        places = {c: i for i, c in enumerate(source.header) if c in of_schema}
        needed = sorted({places[c] for rule in of_rows for c in rule.columns if c in places})
        cells = {c.name: f"CAST(NULL AS {c.physical})" for c in schema.columns}
        cells |= {c: f"p{i}" for c, i in places.items()}
        every = [*faults, *(_of_rule(rule, cells) for rule in of_rows)]
        layers = sorted({*needed, *(places[f.column] for f in faults)}) or [0]
        rows = file.rows(schema, relation=relation, places=layers, keep=keep)
        if needed:
            parsed = (
                f"CAST({cell_parsing.parsed(i, c.kind)} AS {c.physical}) AS p{i}"
                for i, c in ((i, schema.column(source.header[i])) for i in needed)
            )
            rows = f"(SELECT *, {', '.join(parsed)} FROM {rows})"
        rejects, often = rejected_rows.of_cells(source, rejected_rows.Rows(rows, texts), every, limit)
        self._violations |= {("", f.code): n for f, n in zip(every, often, strict=True) if f.columns}
        return rejects

    def results(self, relation: str, rows_used: int) -> tuple[RuleResult, ...]:
        """How the rows fared under every rule of the settings. `relation`: SQL of the typed rows that are used."""
        return (*self._results_of_columns(), *self._results_of_rows(relation, rows_used))

    def _results_of_columns(self) -> list[RuleResult]:
        results = []
        for c in self.schema.columns:
            for title, code in row_contract.titles(c, self._column_rules[c.name], self._file.data.columns.get(c.name)):
                if c.name in self.scans:
                    count, cells = self._violations.get((c.name, code), 0), self.scans[c.name].cells
                    results.append(RuleResult(title, title, "quarantine", (c.name,), cells, count))
        return results

    def _results_of_rows(self, relation: str, rows_used: int) -> list[RuleResult]:
        watching = [r for r in self.parsed_rules if r.settings.action != "quarantine"]
        counts = row_contract.count(self._file.db, relation, watching, self.schema)
        counted = dict(zip((r.code for r in watching), counts, strict=True))
        return [
            RuleResult(
                rule.settings.name,
                rule.settings.expect,
                rule.settings.action,
                rule.columns,
                rows_used if rule.code in counted else self.accepted,
                counted.get(rule.code, self._violations.get(("", rule.code), 0)),
                rule.settings.tolerance,
            )
            for rule in self.parsed_rules
        ]

    def _rules_of_columns(self, lone: tuple[str, ...]) -> dict[str, cell_parsing.Rule]:
        """By column, what its values must be besides being of its kind."""
        file, rules = self._file, {}
        for c in self.schema.columns:
            o = file.data.columns.get(c.name)
            rule = row_contract.column_rule(c, o)
            if c.name == self.schema.target and c.kind in {"category", "text"}:
                rule = replace(rule, forbidden=lone)
            rules[c.name] = rule
            if idle := row_contract.unused(c, o):
                file.notes.append(Note("rule_unused", f"data.columns has {idle}, but the column is {c.kind}", c.name))
            if rule.required and c.name not in file.source.header:
                raise RejectedUpload(
                    f"the column {c.name!r} is missing, and data.columns wants a value of it in every row",
                    code="column_required",
                    fix=f"add the column, or take not_null and role: identifier from data.columns.{c.name}",
                )
        return rules

    def check_types(self) -> None:
        """Raises RejectedUpload for a column with more cells of another kind than rows may be quarantined."""
        kinds = {c.name: c.kind for c in self.schema.columns}
        for c, scan in self.scans.items():
            count = scan.fails.get(kinds[c], 0)
            if count > self._file.data.limits.max_quarantined_share * self.accepted:
                raise self._type_changed(c, scan)

    def _type_changed(self, column: str, scan: ColumnScan) -> RejectedUpload:
        kind = self.schema.column(column).kind
        rejects = self._rejects([f for f in self.faults if f.column == column], limit=3)
        where = "; ".join(f"line {r.line}: {r.reason}" for r in rejects)
        now = cell_parsing.infer(scan.probes)
        usable = now if now != kind and not scan.fails.get(now, 0) else "category"
        declared = self._file.data.columns.get(column)
        source = "in settings.yaml" if declared and declared.type else "in the reference"
        return RejectedUpload(
            f"column {column!r} is {kind} {source}, but {scan.fails[kind]:,} of {self.accepted:,} values are not ({where})",
            code="type_changed",
            fix=f"correct the column, or, if it has changed, declare what it is now: "
            f"data.columns: {{{_key(column)}: {{type: {usable}}}}}",
        )


def _of_rule(rule: ParsedRule, cells: Mapping[str, str]) -> Fault:
    reason = f"violates the rule {rule.settings.name} ({rule.settings.expect})"
    return Fault(", ".join(rule.columns), rule.code, rule.condition(cells), reason, rule.columns)


def _key(column: str) -> str:
    """A column's name as a key of a YAML block in braces."""
    return (
        column
        if column.replace("_", "").isalnum() and not column[:1].isdigit()
        else json.dumps(column, ensure_ascii=False)
    )
