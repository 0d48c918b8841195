"""A file to be scored, read by a model's features: typed columns in pieces, rows that cannot be read quarantined.

The same reader, the same rules for cells and the same quarantine as an upload's. No row is lost:
`rows_in = rows_used + len(rejects)`. Columns that are no feature are carried along as text, so that ids come out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Column, Schema
from dropforge.errors import RejectedUpload
from dropforge.inference.bundle_manifest import Feature
from dropforge.inference.row_rules import RowRule
from dropforge.ingest import cell_parsing, column_scan, rejected_rows, rule_sql, text_table
from dropforge.ingest.duckdb_connection import name, quote
from dropforge.ingest.ingest_file import check_size
from dropforge.value_formats import FORMULA, NUMBER, PLAIN, NumberFormat

if TYPE_CHECKING:
    import numpy as np

_TABLE, _SCORES = "scored_rows", "scores"
_BAD = (
    "bad"  # the tables of this module have columns c0, c1, … and this one; a user's names stand in what is written only
)
_MOST_LEVELS = 60_000  # a column with more distinct texts is handed over as texts


@dataclass(frozen=True, slots=True)
class Scored:
    """Where the answer lies and how many rows it has."""

    file: Path
    rows: int


class ScoringFile:
    """One file, read onto an open connection (engine.connect)."""

    def __init__(self, source: text_table.Source, schema: Schema, features: Sequence[Feature], *, escape: bool) -> None:
        self.source = source
        self._escape = escape
        self._formats: dict[int, NumberFormat] = {}
        self.schema = schema
        self._db = source.connection
        self._markers = {f.name: f.missing_markers for f in features}
        self._categories = {f.name: frozenset((*f.categories, *f.merge)) for f in features}
        self._levels: dict[str, list[str | float | None]] = {}
        self.rows_in = 0
        self.rows_used = 0
        self.rejects: list[rejected_rows.Reject] = []
        self.violations: dict[str, int] = {}  # by rule, of the rows used

    def read(self, data: DataSettings, rules: Sequence[RowRule], *, refuse: bool) -> None:
        """Type every row in one pass; rows that violate a rule are counted, or quarantined with `refuse`.

        Raises RejectedUpload when the file as a whole cannot be used.
        """
        absent = [c for c in self.schema.names if c not in self.source.header]
        if absent:
            raise RejectedUpload(
                f"the model's column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} missing in the file",
                code="missing_column",
                fix="send every feature (empty where unknown); GET /model_info lists them",
            )
        typed = ", ".join(f"{self._typed(c)} AS c{i}" for i, c in enumerate(self.schema.columns))
        faults = rejected_rows.faults([(self._place(c.name), c, cell_parsing.NO_RULE) for c in self.schema.columns])
        faults += [self._of_rule(rule) for rule in rules] if refuse else []
        bad = " OR ".join(f.condition for f in faults) or "false"
        if any(c.number_format != PLAIN for c in self.schema.columns):
            self._decide_formats(data)
        read, unreadable = self._type(typed, bad)
        if unreadable and self._decide_formats(data):  # numbers written in another way than the model's data
            read, unreadable = self._type(typed, bad)
        malformed = rejected_rows.count_of_form(self.source)
        self.rows_in, self.rows_used = read + malformed, read - unreadable
        most = rejected_rows.most(self.rows_in, data.limits)
        form = rejected_rows.of_form(self.source, most + 1)
        of_cells = (
            rejected_rows.of_cells(self.source, self._numbered(), faults, most + 1)[0]
            if unreadable and malformed <= most
            else []
        )
        self.rejects = sorted([*form, *of_cells], key=lambda r: r.line)
        text_table.check_complete(self.source, self.rows_in)
        self._check(data, malformed + unreadable)
        if rules and not refuse:
            self._count(rules)

    def _count(self, rules: Sequence[RowRule]) -> None:
        cells = {c.name: f"c{i}" for i, c in enumerate(self.schema.columns)}
        counts = ", ".join(f"count(*) FILTER ({_violated(rule, cells)})" for rule in rules)
        row = self._db.execute(f"SELECT {counts} FROM {_TABLE} WHERE NOT {_BAD}").fetchone()
        self.violations = {rule.name: int(n) for rule, n in zip(rules, row, strict=True) if n}

    def _of_rule(self, rule: RowRule) -> rejected_rows.Fault:
        cells = {c: self._typed(self.schema.column(c)) for c in rule.columns}
        reason = f"violates the rule {rule.name} ({rule.expect})"
        columns = tuple(rule.columns)
        return rejected_rows.Fault(", ".join(columns), "rule_violated", _violated(rule, cells), reason, columns)

    def chunks(self, rows: int) -> Iterator[dict[str, Any]]:
        """The features of the rows used, in file order, at most `rows` at a time.

        Numbers and booleans as float64 with NaN, dates as datetime64 with NaT, texts as (distinct values, codes).
        """
        self._find_levels()
        last = self._db.execute(f"SELECT coalesce(max(rowid), -1) FROM {_TABLE}").fetchone()[0]
        for start in range(0, int(last) + 1, rows):
            wanted = ", ".join(f"{self._handed(c, i)} AS x{i}" for i, c in enumerate(self.schema.columns))
            table = self._db.execute(
                f"SELECT {wanted} FROM {_TABLE} WHERE rowid >= {start} AND rowid < {start + rows} AND NOT {_BAD}"
            ).fetchnumpy()
            if len(table["x0"]):
                yield {c.name: self._given(c, table[f"x{i}"]) for i, c in enumerate(self.schema.columns)}

    def keep(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Keep the scores of the next chunk: places of labels [rows], probabilities [rows, classes]; of a regression the
        predicted numbers, twice."""
        chunk = {"label": labels, **{f"p{k}": probabilities[:, k] for k in range(probabilities.shape[1])}}
        self._db.register("chunk", chunk)
        columns = ", ".join(chunk)
        rows = self._db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scores'").fetchone()[0]
        verb = f"INSERT INTO {_SCORES}" if rows else f"CREATE TABLE {_SCORES} AS"
        self._db.execute(f"{verb} SELECT {columns} FROM chunk")
        self._db.unregister("chunk")

    def write(self, file: Path, classes: Sequence[str]) -> Scored:
        """The rows used with their scores, in file order, in the file's own format: every column as it was read, then
        `prediction` and one `probability_…` for each class (none: a regression). Raises RejectedUpload when a row were lost
        on the way.
        """
        rows = int(self._db.execute(f"SELECT count(*) FROM {_SCORES}").fetchone()[0])
        if rows != self.rows_used:
            raise RejectedUpload(
                f"{self.rows_used} rows were read and {rows} scored",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )
        taken = {c.lower() for c in self.source.header}
        shown = ", ".join(quote(c) for c in classes)
        parquet = self.source.format == "parquet"
        # Untouched columns come from the file itself: 70 stays 70, an integer of Parquet an integer.
        carried = [
            f"{f if parquet else self._safe(f)} AS {name(c)}"
            for f, c in zip(self.source.fields, self.source.header, strict=True)
        ]
        answer = f"[{shown}][label + 1]" if classes else "label"
        carried.append(
            f"{answer if parquet or not classes else self._safe(answer)} AS {name(_free('prediction', taken))}"
        )
        carried += [f"p{k} AS {name(_free(f'probability_{c}', taken))}" for k, c in enumerate(classes)]
        plain = f"SELECT r.* FROM {self.source.original or self.source.relation} r POSITIONAL JOIN {_TABLE} t WHERE NOT t.{_BAD}"
        joined = f"SELECT {', '.join(carried)} FROM ({plain}) r POSITIONAL JOIN {_SCORES} s"
        form = (
            "(FORMAT parquet, COMPRESSION zstd)"
            if parquet
            else f"(FORMAT csv, HEADER, DELIMITER {quote(self.source.delimiter or ',')})"
        )
        self._db.execute(f"COPY ({joined}) TO {quote(str(file))} {form}")
        return Scored(file, rows)

    # --- SQL -----------------------------------------------------------------------------------------------------------
    def _type(self, typed: str, bad: str) -> tuple[int, int]:
        """Rows of the right form, and how many of them have a cell that cannot be read."""
        self._db.execute(f"CREATE OR REPLACE TABLE {_TABLE} AS SELECT {typed}, ({bad}) AS {_BAD} FROM {self._rows()}")
        read, unreadable = self._db.execute(f"SELECT count(*), count(*) FILTER ({_BAD}) FROM {_TABLE}").fetchone()
        return int(read), int(unreadable)

    def _decide_formats(self, data: DataSettings) -> bool:
        """How each feature writes its numbers: as declared, else by the whole file; whether that is another way than before."""
        source, before = self.source, self._formats
        known = {self._place(c.name): c.number_format for c in self.schema.columns if c.numeric}
        declared = {c for c, o in data.columns.items() if o.number_format}
        fixed = frozenset(self._place(c.name) for c in self.schema.columns if c.numeric and c.name in declared)
        table = column_scan.Table(
            source.relation,
            source.relation,
            source.fields,
            source.columnar,
            separated_by_comma=source.delimiter in {"", ","},
        )
        texts = {i: f for i, f in known.items() if i not in source.native}
        self._formats = column_scan.formats(self._db, table, texts, fixed=fixed)
        return any(f != before.get(i, PLAIN) for i, f in self._formats.items())

    def _rows(self) -> str:
        of_feature = {self._place(c.name): c for c in self.schema.columns}
        columns = []
        for i, field in enumerate(self.source.fields):
            c = of_feature.get(i)
            columns.append(
                cell_parsing.Cells(
                    field,
                    self._markers.get(c.name, ()) if c else (),
                    numeric=bool(c and c.numeric),
                    number_format=self._formats.get(i, PLAIN),
                )
            )
        return cell_parsing.layered(self.source.relation, columns)

    def _numbered(self) -> rejected_rows.Rows:
        texts = f"[{', '.join(f'r{i}' for i in range(len(self.source.header)))}]"
        return rejected_rows.Rows(f"(SELECT row_number() OVER () AS n, * FROM {self._rows()})", texts)

    def _place(self, column: str) -> int:
        return self.source.header.index(column)

    def _typed(self, c: Column) -> str:
        return f"CAST({cell_parsing.parsed(self._place(c.name), c.kind)} AS {c.physical})"

    def _safe(self, text: str) -> str:
        """A text cell as it is, with an apostrophe where a spreadsheet would run it."""
        if not self._escape:
            return text
        dangerous = f"regexp_matches({text}, {quote(FORMULA)}) AND NOT regexp_full_match({text}, {quote(NUMBER)})"
        return f"CASE WHEN {dangerous} THEN concat(chr(39), {text}) ELSE {text} END"

    def _find_levels(self) -> None:
        texts = [(i, c.name) for i, c in enumerate(self.schema.columns) if c.kind in {"category", "text"}]
        if not texts:
            return
        counts = ", ".join(f"approx_count_distinct(c{i})" for i, _ in texts)
        few = self._db.execute(f"SELECT {counts} FROM {_TABLE}").fetchone()
        for (i, c), distinct in zip(texts, few, strict=True):
            if distinct > _MOST_LEVELS:
                continue
            result = f"SELECT DISTINCT c{i} FROM {_TABLE} WHERE c{i} IS NOT NULL"
            self._db.execute(f"CREATE TYPE level_{i} AS ENUM ({result})")
            listed = self._db.execute(f"SELECT unnest(enum_range(NULL::level_{i}))").fetchall()
            self._levels[c] = [*self._as_sent(c, [str(v[0]) for v in listed]), None]

    def _handed(self, c: Column, i: int) -> str:
        if c.name in self._levels:
            missing = len(self._levels[c.name]) - 1
            return f"coalesce(CAST(enum_code(CAST(c{i} AS level_{i})) AS INTEGER), {missing})"
        if c.kind in {"category", "text", "datetime"}:
            return f"c{i}"
        number = f"CAST(c{i} AS TINYINT)" if c.kind == "boolean" else f"c{i}"
        return f"coalesce(CAST({number} AS DOUBLE), 'NaN'::DOUBLE)"

    def _given(self, c: Column, values: Any) -> Any:
        import numpy as np

        if c.name in self._levels:
            return self._levels[c.name], np.asarray(values)
        if np.ma.isMaskedArray(values):
            values = values.filled(np.datetime64("NaT") if c.kind == "datetime" else None)
        if c.kind in {"category", "text"} and self._place(c.name) in self.source.native | self.source.truths:
            return np.array(self._as_sent(c.name, values.tolist()), dtype=object)
        return values

    def _as_sent(self, column: str, texts: Sequence[str | None]) -> list[Any]:
        """Categories of a column that holds numbers or truths, as a request sends them: 7.0 may be the 7 that training saw."""
        place, seen = self._place(column), self._categories[column]
        if place in self.source.truths:
            return [t if t is None or t in seen else t == "true" for t in texts]
        if place in self.source.native:
            return [t if t is None or t in seen else int(t) if _is_whole(t) else float(t) for t in texts]
        return [*texts]

    # --- what stops a file ---------------------------------------------------------------------------------------------
    def _check(self, data: DataSettings, unread: int) -> None:
        if self.rows_in > data.limits.max_rows:
            raise text_table.over_rows(self.rows_in, data.limits)
        if not self.rows_in:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        if unread > rejected_rows.most(self.rows_in, data.limits) or not self.rows_used:
            first = "; ".join(f"line {r.line}: {r.reason}" for r in self.rejects[:3])
            raise RejectedUpload(
                f"{unread:,} of {self.rows_in:,} rows cannot be read ({first})",
                code="too_many_bad_rows",
                fix="correct the file (delimiter? quotes?), or raise data.limits.max_quarantined_share",
            )
        if self.rows_used + len(self.rejects) != self.rows_in:
            raise RejectedUpload(
                f"{self.rows_in} rows came in but {self.rows_used} read and {len(self.rejects)} quarantined do not add up",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model asks of rows: its columns, and rules whose violations are counted, or quarantined with `refuse`."""

    features: Sequence[Feature]
    rules: Sequence[RowRule] = ()
    refuse: bool = False


def open_file(
    path: Path,
    *,
    workdir: Path,
    connection: Any,
    data: DataSettings,
    contract: ModelContract,
) -> ScoringFile:
    """Read a file by the model's columns and rules.

    Raises RejectedUpload with a stable code, the place and the fix when the file as a whole cannot be used.
    """
    check_size(path.stat().st_size, data)
    features = contract.features
    described = [{"name": f.name, "kind": f.kind, "number_format": f.number_format} for f in features]
    schema = Schema.model_validate({"columns": described, "target": ""})
    with text_table.decoding() as reading:
        source = reading.source = text_table.open_source(path, workdir, connection, data, schema)
        opened = ScoringFile(source, schema.widened(), features, escape=data.csv.escape_formulas)
        opened.read(data, contract.rules, refuse=contract.refuse)
        return opened


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _violated(rule: RowRule, cells: Mapping[str, str]) -> str:
    typed = {c: rule_sql.typed(cells[c], column.type) for c, column in rule.columns.items()}
    return rule_sql.condition(rule.expression, typed)


def _free(wanted: str, taken: set[str]) -> str:
    """The name, or with underscores behind until no column of the file has it."""
    while wanted.lower() in taken:
        wanted += "_"
    taken.add(wanted.lower())
    return wanted
