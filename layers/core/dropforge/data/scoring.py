"""A file to be scored, read by a model's features: typed columns in pieces, rows that cannot be read set aside.

The same reader, the same rules for cells and the same quarantine as an upload's. No row is lost:
`rows_in = rows_used + len(rejects)`. Columns that are no feature are carried along as text, so that ids come out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge.data import cells, rejects, sources
from dropforge.data.engine import name, quote
from dropforge.data.schema import ROW_HASH, Column, Schema
from dropforge.errors import RejectedUpload
from dropforge.settings import DataSettings

if TYPE_CHECKING:
    import numpy as np

_TABLE, _SCORES = "scored_rows", "scores"
_BAD = ROW_HASH  # the one name that no header may have
_MOST_LEVELS = 60_000  # a column with more distinct texts is handed over as texts


@dataclass(frozen=True, slots=True)
class Scored:
    """Where the answer lies and how many rows it has."""

    file: Path
    rows: int


class ScoringFile:
    """One file, read onto an open connection (engine.connect)."""

    def __init__(self, source: sources.Source, schema: Schema, markers: Mapping[str, tuple[str, ...]]) -> None:
        self.source = source
        self.schema = schema
        self._db = source.connection
        self._markers = markers
        self._levels: dict[str, list[str | None]] = {}
        self.rows_in = 0
        self.rows_used = 0
        self.rejects: list[rejects.Reject] = []

    def read(self, data: DataSettings) -> None:
        """Type every row in one pass. Raises RejectedUpload when the file as a whole cannot be used."""
        absent = [c for c in self.schema.names if c not in self.source.header]
        if absent:
            raise RejectedUpload(
                f"the model's column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} missing in the file",
                code="missing_column",
                fix="send every feature (empty where unknown); GET /model_info lists them",
            )
        typed = ", ".join(self._typed(c) for c in self.source.header)
        fails = [f for c in self.schema.columns if (f := self._fails(c)) != "false"]
        bad = " OR ".join(fails) or "false"
        self._db.execute(f"CREATE TABLE {_TABLE} AS SELECT {typed}, ({bad}) AS {name(_BAD)} FROM {self._rows()}")
        read, unreadable = self._db.execute(f"SELECT count(*), count(*) FILTER ({name(_BAD)}) FROM {_TABLE}").fetchone()
        form = rejects.of_form(self.source)
        of_cells = rejects.of_cells(self.source, self._rows(), self.schema, self._fails) if unreadable else []
        self.rejects = sorted([*form, *of_cells], key=lambda r: r.line)
        self.rows_in, self.rows_used = read + len(form), read - unreadable
        sources.check_complete(self.source, self.rows_in)
        self._check(data)

    def chunks(self, rows: int) -> Iterator[dict[str, Any]]:
        """The features of the rows used, in file order, at most `rows` at a time.

        Numbers and booleans as float64 with NaN, dates as datetime64 with NaT, texts as (distinct values, codes).
        """
        self._find_levels()
        last = self._db.execute(f"SELECT coalesce(max(rowid), -1) FROM {_TABLE}").fetchone()[0]
        for start in range(0, int(last) + 1, rows):
            wanted = ", ".join(f"{self._handed(c)} AS c{i}" for i, c in enumerate(self.schema.columns))
            found = self._db.execute(
                f"SELECT {wanted} FROM {_TABLE} WHERE rowid >= {start} AND rowid < {start + rows} AND NOT {name(_BAD)}"
            ).fetchnumpy()
            if len(found["c0"]):
                yield {c.name: self._given(c, found[f"c{i}"]) for i, c in enumerate(self.schema.columns)}

    def keep(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Keep the scores of the next chunk: places of labels [rows], probabilities [rows, classes]; of a regression the
        predicted numbers, twice."""
        chunk = {"label": labels, **{f"p{k}": probabilities[:, k] for k in range(probabilities.shape[1])}}
        self._db.register("chunk", chunk)
        columns = ", ".join(chunk)
        made = self._db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scores'").fetchone()[0]
        verb = f"INSERT INTO {_SCORES}" if made else f"CREATE TABLE {_SCORES} AS"
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
        answers = [f"{f'[{shown}][label + 1]' if classes else 'label'} AS {name(_free('prediction', taken))}"]
        answers += [f"p{k} AS {name(_free(f'probability_{c}', taken))}" for k, c in enumerate(classes)]
        plain = f"SELECT * EXCLUDE ({name(_BAD)}) FROM {_TABLE} WHERE NOT {name(_BAD)}"
        scores = f"SELECT {', '.join(answers)} FROM {_SCORES}"
        joined = f"SELECT r.*, s.* FROM ({plain}) r POSITIONAL JOIN ({scores}) s"
        form = (
            "(FORMAT parquet, COMPRESSION zstd)"
            if self.source.format == "parquet"
            else f"(FORMAT csv, HEADER, DELIMITER {quote(self.source.delimiter or ',')})"
        )
        self._db.execute(f"COPY ({joined}) TO {quote(str(file))} {form}")
        return Scored(file, rows)

    # --- SQL -----------------------------------------------------------------------------------------------------------
    def _rows(self) -> str:
        header = self.source.header
        features = set(self.schema.names)
        return cells.layered(
            self.source.relation,
            header,
            {c: self._markers.get(c, ()) for c in header},
            {c: c in features and self.schema.column(c).numeric for c in header},
            decimal_comma=self.source.decimal_comma,
        )

    def _typed(self, column: str) -> str:
        i = self.source.header.index(column)
        if column not in self.schema.names:
            return f"r{i} AS {name(column)}"
        c = self.schema.column(column)
        return f"CAST({cells.parsed(i, c.kind)} AS {c.physical}) AS {name(column)}"

    def _fails(self, column: Column) -> str:
        return cells.fails(self.source.header.index(column.name), column.kind)

    def _find_levels(self) -> None:
        texts = [(i, c.name) for i, c in enumerate(self.schema.columns) if c.kind in {"category", "text"}]
        if not texts:
            return
        counts = ", ".join(f"approx_count_distinct({name(c)})" for _, c in texts)
        few = self._db.execute(f"SELECT {counts} FROM {_TABLE}").fetchone()
        for (i, c), distinct in zip(texts, few, strict=True):
            if distinct > _MOST_LEVELS:
                continue
            found = f"SELECT DISTINCT {name(c)} FROM {_TABLE} WHERE {name(c)} IS NOT NULL"
            self._db.execute(f"CREATE TYPE level_{i} AS ENUM ({found})")
            listed = self._db.execute(f"SELECT unnest(enum_range(NULL::level_{i}))").fetchall()
            self._levels[c] = [*(str(v[0]) for v in listed), None]

    def _handed(self, c: Column) -> str:
        if c.name in self._levels:
            at = self.schema.columns.index(c)
            missing = len(self._levels[c.name]) - 1
            return f"coalesce(CAST(enum_code(CAST({name(c.name)} AS level_{at})) AS INTEGER), {missing})"
        if c.kind in {"category", "text", "datetime"}:
            return name(c.name)
        number = f"CAST({name(c.name)} AS TINYINT)" if c.kind == "boolean" else name(c.name)
        return f"coalesce(CAST({number} AS DOUBLE), 'NaN'::DOUBLE)"

    def _given(self, c: Column, found: Any) -> Any:
        import numpy as np

        if c.name in self._levels:
            return self._levels[c.name], np.asarray(found)
        if not np.ma.isMaskedArray(found):
            return found
        return found.filled(np.datetime64("NaT") if c.kind == "datetime" else None)

    # --- what stops a file ---------------------------------------------------------------------------------------------
    def _check(self, data: DataSettings) -> None:
        if not self.rows_in:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        share = data.limits.max_quarantined_share
        if (len(self.rejects) > share * self.rows_in and len(self.rejects) > 1) or not self.rows_used:
            first = "; ".join(f"line {r.line}: {r.reason}" for r in self.rejects[:3])
            raise RejectedUpload(
                f"{len(self.rejects):,} of {self.rows_in:,} rows cannot be read ({first})",
                code="too_many_bad_rows",
                fix="correct the file (delimiter? quotes?), or raise data.limits.max_quarantined_share",
            )
        if self.rows_used + len(self.rejects) != self.rows_in:
            raise RejectedUpload(
                f"{self.rows_in} rows came in but {self.rows_used} read and {len(self.rejects)} set aside do not add up",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )


def open_file(
    path: Path,
    *,
    workdir: Path,
    connection: Any,
    data: DataSettings,
    schema: Schema,
    markers: Mapping[str, tuple[str, ...]],
) -> ScoringFile:
    """Read a CSV or Parquet file by the model's columns (`schema`); `markers`: texts that mean missing, by column.

    Raises RejectedUpload with a stable code, the place and the fix when the file as a whole cannot be used.
    """
    if path.stat().st_size > data.limits.max_bytes:
        raise RejectedUpload(
            f"the file has {path.stat().st_size:,} bytes; the limit is {data.limits.max_bytes:,}",
            code="over_byte_budget",
            fix="split the file, or raise data.limits.max_bytes",
        )
    import duckdb

    try:
        opened = ScoringFile(sources.open_source(path, workdir, connection, data, schema), schema, markers)
        opened.read(data)
    except duckdb.InvalidInputException as error:  # a damaged page, or text no CSV can be
        raise sources.unreadable(error) from None
    return opened


def _free(wanted: str, taken: set[str]) -> str:
    """The name, or with underscores behind until no column of the file has it."""
    while wanted.lower() in taken:
        wanted += "_"
    taken.add(wanted.lower())
    return wanted
