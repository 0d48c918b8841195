"""A file to be scored, read by a model's features: typed columns in pieces, rows that cannot be read quarantined.

The same reader, the same rules for cells and the same quarantine as an upload's. No row is lost:
`rows_in = rows_used + len(rejects)`. Columns that are no feature are carried along as text, so that ids come out again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from dropforge.ingest.rejected_rows import Reject
from dropforge.value_formats import FORMULA, NUMBER, PLAIN, NumberFormat

if TYPE_CHECKING:
    import numpy as np

_TABLE, _SCORES = "scored_rows", "scores"
_BAD = (
    "bad"  # the tables of this module have columns c0, c1, … and this one; a user's names stand in what is written only
)
_EXAMPLES = 3  # rows of each sort that a reason names at most
_MOST_LEVELS = 60_000  # a column with more distinct texts is handed over as texts


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model asks of rows: its columns, and rules whose violations are counted, or quarantined with `refuse`."""

    features: Sequence[Feature]
    rules: Sequence[RowRule] = ()
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Rejects:
    """Rows quarantined: of a wrong form, and with a cell that is not of its column's kind; each sort in file order."""

    of_form: list[Reject] = field(default_factory=list)
    of_cells: list[Reject] = field(default_factory=list)

    def in_order(self) -> list[Reject]:
        """Both, in file order."""
        return sorted([*self.of_form, *self.of_cells], key=lambda r: r.line)


@dataclass(frozen=True, slots=True)
class TypedRows:
    """Rows of a file, or of its shards together. `readable`: of the right form; `unreadable`: of them those with a cell that is not
    of its column's kind; `malformed`: of a wrong form. `number_formats`: how often cells are written how, by numeric feature, where
    that was counted (column_scan.count_formats).
    """

    readable: int
    unreadable: int
    malformed: int
    number_formats: dict[int, dict[str, int]] = field(default_factory=dict)

    @property
    def rows_in(self) -> int:
        """All of them."""
        return self.readable + self.malformed

    @property
    def rows_used(self) -> int:
        """Those that can be scored."""
        return self.readable - self.unreadable

    def most(self, data: DataSettings) -> int:
        """Rows that may be quarantined."""
        return rejected_rows.most(self.rows_in, data.limits)

    def check(self, data: DataSettings, first: Rejects) -> None:
        """Raises RejectedUpload when the file as a whole cannot be used; the reason names the first rows."""
        if self.rows_in > data.limits.max_rows:
            raise text_table.over_rows(self.rows_in, data.limits)
        if not self.rows_in:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        unread, most = self.malformed + self.unreadable, self.most(data)
        if unread > most or not self.rows_used:
            named = first.in_order() if self.malformed <= most else first.of_form
            words = "; ".join(f"line {r.line}: {r.reason}" for r in named[:3])
            raise RejectedUpload(
                f"{unread:,} of {self.rows_in:,} rows cannot be read ({words})",
                code="too_many_bad_rows",
                fix="correct the file (delimiter? quotes?), or raise data.limits.max_quarantined_share",
            )

    def check_sum(self, quarantined: int) -> None:
        """Raises RejectedUpload when a row were lost."""
        if self.rows_used + quarantined != self.rows_in:
            raise RejectedUpload(
                f"{self.rows_in} rows came in but {self.rows_used} read and {quarantined} quarantined do not add up",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )


def together(shards: Sequence[TypedRows]) -> TypedRows:
    """Of the whole file, from all its shards."""
    counts: dict[int, Counter[str]] = {}
    for shard in shards:
        for place, counted in shard.number_formats.items():
            counts.setdefault(place, Counter()).update(counted)
    return TypedRows(
        sum(s.readable for s in shards),
        sum(s.unreadable for s in shards),
        sum(s.malformed for s in shards),
        {place: dict(counted) for place, counted in counts.items()},
    )


class ScoringFile:
    """One file, or a shard of it, read onto an open connection (engine.connect)."""

    def __init__(self, source: text_table.Source, schema: Schema, contract: ModelContract, data: DataSettings) -> None:
        self.source = source
        self._data = data
        self._formats: dict[int, NumberFormat] = {}
        self.schema = schema
        self._db = source.connection
        self._markers = {f.name: f.missing_markers for f in contract.features}
        self._categories = {f.name: frozenset((*f.categories, *f.merge)) for f in contract.features}
        self._contract = contract
        self._levels: dict[str, list[str | float | None]] = {}
        self.typed = TypedRows(0, 0, 0)
        self.rejects = Rejects()
        self.violations: dict[str, int] = {}  # by rule, of the rows used
        self._check_features()

    def read(self) -> None:
        """Type every row; rows that violate a rule are counted, or quarantined where the contract refuses them.

        Raises RejectedUpload when the file as a whole cannot be used.
        """
        if not self.plain:
            self._formats = self.decide_formats(self._count_formats())
        self.typed = self._type()
        if self.typed.unreadable and self.plain:  # numbers written in another way than the model's data?
            formats = self.decide_formats(self._count_formats())
            if is_other(formats, self._formats):
                self._formats = formats
                self.typed = self._type()
        most = self.typed.most(self._data)
        self._set_aside(most, most)
        text_table.check_complete(self.source, self.typed.rows_in)
        self.typed.check(self._data, self.rejects)
        self.typed.check_sum(len(self.rejects.in_order()))
        self._count_violations()

    def survey(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> None:
        """Type the rows of a shard by what was decided so far and find the first that cannot be used; `points`: count how
        numbers are written too. Raises RejectedUpload when rows were lost.
        """
        self._formats = dict(number_formats)
        self.typed = self._type()
        text_table.check_complete(self.source, self.typed.rows_in)
        self._set_aside(_EXAMPLES, rejected_rows.most(self._data.limits.max_rows, self._data.limits))
        if points:
            self.typed = replace(self.typed, number_formats=self._count_formats())

    def read_shard(self, number_formats: Mapping[int, NumberFormat], most: int) -> None:
        """Type the rows of a shard by what was decided for the whole file, of which `most` rows may be quarantined."""
        self._formats = dict(number_formats)
        self.typed = self._type()
        self._set_aside(most, most)
        self.typed.check_sum(len(self.rejects.in_order()))
        self._count_violations()

    def _set_aside(self, most: int, malformed: int) -> None:
        """Find the rows that cannot be used, at most one more of each sort than `most`. Cells are not looked at behind more rows
        of a wrong form than `malformed`: there are too many in any case.
        """
        form, of_cells = rejected_rows.of_form(self.source, most + 1), list[Reject]()
        if self.typed.unreadable and self.typed.malformed <= malformed:
            of_cells = rejected_rows.of_cells(self.source, self._numbered(), self._faults(), most + 1)[0]
        self.rejects = Rejects(form, of_cells)

    @property
    def plain(self) -> bool:
        """Whether every number of the model's data is written plainly."""
        return all(c.number_format == PLAIN for c in self.schema.columns)

    def _check_features(self) -> None:
        absent = [c for c in self.schema.names if c not in self.source.header]
        if absent:
            raise RejectedUpload(
                f"the model's column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} missing in the file",
                code="missing_column",
                fix="send every feature (empty where unknown); GET /model_info lists them",
            )

    def _faults(self) -> list[rejected_rows.Fault]:
        rules = self._contract.rules if self._contract.refuse else ()
        cells = [(self._place(c.name), c, cell_parsing.NO_RULE) for c in self.schema.columns]
        return [*rejected_rows.faults(cells), *(self._of_rule(rule) for rule in rules)]

    def _count_violations(self) -> None:
        rules = self._contract.rules
        if not rules or self._contract.refuse:
            return
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
        verb = f"INSERT INTO {_SCORES}" if self._has_scores() else f"CREATE TABLE {_SCORES} AS"
        self._db.execute(f"{verb} SELECT {columns} FROM chunk")
        self._db.unregister("chunk")

    def write(self, file: Path, classes: Sequence[str]) -> Path:
        """The rows used with their scores, in file order, in the file's own format: every column as it was read, then
        `prediction` and one `probability_…` for each class (none: a regression). Raises RejectedUpload when a row were lost
        on the way.
        """
        if not self._has_scores():  # no row of this shard can be used
            probabilities = "".join(f", p{k} DOUBLE" for k in range(len(classes)))
            self._db.execute(f"CREATE TABLE {_SCORES} (label {'BIGINT' if classes else 'DOUBLE'}{probabilities})")
        rows = int(self._db.execute(f"SELECT count(*) FROM {_SCORES}").fetchone()[0])
        if rows != self.typed.rows_used:
            raise RejectedUpload(
                f"{self.typed.rows_used} rows were read and {rows} scored",
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
        return file

    # --- SQL -----------------------------------------------------------------------------------------------------------
    def _has_scores(self) -> bool:
        return bool(self._db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scores'").fetchone()[0])

    def _type(self) -> TypedRows:
        typed = ", ".join(f"{self._typed(c)} AS c{i}" for i, c in enumerate(self.schema.columns))
        bad = " OR ".join(f.condition for f in self._faults()) or "false"
        self._db.execute(f"CREATE OR REPLACE TABLE {_TABLE} AS SELECT {typed}, ({bad}) AS {_BAD} FROM {self._rows()}")
        read, unreadable = self._db.execute(f"SELECT count(*), count(*) FILTER ({_BAD}) FROM {_TABLE}").fetchone()
        return TypedRows(int(read), int(unreadable), rejected_rows.count_of_form(self.source))

    def _count_formats(self) -> dict[int, dict[str, int]]:
        texts = {i: f for i, f in self._known_formats().items() if i not in self.source.native}
        return column_scan.count_formats(self._db, self._table(), texts)

    def decide_formats(self, counts: Mapping[int, Mapping[str, int]]) -> dict[int, NumberFormat]:
        """How each feature writes its numbers: as declared, else by the whole file, of which `counts` are."""
        declared = {c for c, o in self._data.columns.items() if o.number_format}
        fixed = frozenset(self._place(c.name) for c in self.schema.columns if c.numeric and c.name in declared)
        return column_scan.chosen_formats(counts, self._table(), self._known_formats(), fixed)

    def _known_formats(self) -> dict[int, NumberFormat]:
        return {self._place(c.name): c.number_format for c in self.schema.columns if c.numeric}

    def _table(self) -> column_scan.Table:
        source = self.source
        return column_scan.Table(
            source.relation,
            source.relation,
            source.fields,
            source.columnar,
            separated_by_comma=source.delimiter in {"", ","},
        )

    def _rows(self) -> str:
        of_feature = {self._place(c.name): c for c in self.schema.columns}
        columns = []
        for i, sql in enumerate(self.source.fields):
            c = of_feature.get(i)
            columns.append(
                cell_parsing.Cells(
                    sql,
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
        if not self._data.csv.escape_formulas:
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


def schema_of(contract: ModelContract) -> Schema:
    """What a file is read by."""
    described = [{"name": f.name, "kind": f.kind, "number_format": f.number_format} for f in contract.features]
    return Schema.model_validate({"columns": described, "target": ""})


@contextmanager
def opened(
    path: Path,
    *,
    workdir: Path,
    connection: Any,
    data: DataSettings,
    contract: ModelContract,
    options: text_table.OpenOptions = text_table.WHOLE_TABLE,
) -> Iterator[ScoringFile]:
    """A file, or a shard of one, with the model's columns and rules; not read yet.

    Raises RejectedUpload with a stable code, the place and the fix when it cannot be used as a whole.
    """
    check_size(path.stat().st_size, data)
    schema = schema_of(contract)
    with text_table.decoding() as reading:
        source = reading.source = text_table.open_source(path, workdir, connection, data, schema, options)
        yield ScoringFile(source, schema.widened(), contract, data)


def is_other(formats: Mapping[int, NumberFormat], before: Mapping[int, NumberFormat]) -> bool:
    """Whether numbers are written in another way than before; nothing before: plainly."""
    return any(f != before.get(i, PLAIN) for i, f in formats.items())


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
