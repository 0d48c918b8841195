"""Bytes in, accepted rows and rejects out. `rows_in = rows_used + rows_quarantined`, always.

The file is parsed with columns declared and nothing detected, every cell as text; then each cell is read as the kind the
schema gives. Rows that do not fit the table's form or a column's kind are set aside with line, column and reason.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dropforge.data import cells, rejects, sources, target
from dropforge.data.engine import connect, name, quote
from dropforge.data.schema import ROW_HASH, Column, Kind, Schema
from dropforge.errors import RejectedUpload
from dropforge.settings import DataSettings

_GROUP = 10_000  # rows of one leaf of the dataset's hash tree


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
    first_rejects: tuple[rejects.Reject, ...]
    missing: dict[str, dict[str, int]]
    header: tuple[str, ...]
    extra_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    notes: tuple[Note, ...]
    format: str
    delimiter: str
    encoding: str
    bytes: int
    file_sha256: str

    @property
    def rows_quarantined(self) -> int:
        return self.rows_in - self.rows_used


def admit(path: Path, *, data: DataSettings, reference: Schema | None, workdir: Path) -> Admission:
    """Read a CSV or Parquet file by the reference's schema, or infer one when there is none.

    `workdir` must be an existing folder; the snapshot and the rejects are left in it.
    Raises RejectedUpload with a stable code, the place and the fix when the file as a whole cannot be used.
    """
    if path.stat().st_size > data.limits.max_bytes:
        raise RejectedUpload(
            f"the file has {path.stat().st_size:,} bytes; the limit is {data.limits.max_bytes:,}",
            code="over_byte_budget",
            fix="split the file, or raise data.limits.max_bytes",
        )
    import duckdb

    connection = connect(workdir)
    try:
        source = sources.open_source(path, workdir, connection, data, reference)
        return _Reading(source, data, reference, workdir).run(path)
    except duckdb.InvalidInputException as error:  # a damaged page, or text no CSV can be
        raise sources.unreadable(error) from None
    finally:
        connection.close()


class _Reading:
    """One file being read; holds what the steps share."""

    def __init__(self, source: sources.Source, data: DataSettings, reference: Schema | None, workdir: Path) -> None:
        self.source = source
        self.db = source.connection
        self.data = data
        self.reference = reference
        self.workdir = workdir
        self._known_failures: dict[str, int] = {}
        self.notes = [Note(code, message) for code, message in source.notes]

    def run(self, path: Path) -> Admission:
        if self.data.target not in self.source.header:
            raise RejectedUpload(
                f"the target column {self.data.target!r} is missing; columns are {_listed(self.source.header)}",
                code="target_missing",
                fix="add the column, or correct data.target in settings.yaml",
            )
        missing, kinds, accepted = self._survey()
        schema = self.reference or self._schema(kinds)
        form_rejects = rejects.of_form(self.source)
        rows_in = accepted + len(form_rejects)
        if rows_in == 0:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        failing = self._failures(schema)
        self._check_share(schema, failing, accepted)
        cell_rejects = rejects.of_cells(self.source, self._rows(schema), schema, self._fails) if failing else []
        every = sorted([*form_rejects, *cell_rejects], key=lambda r: r.line)
        self._check_total(every, rows_in)
        snapshot = self._write(schema, failing=bool(failing))
        dataset_id, rows_used = self._identify(snapshot)
        if rows_used + len(every) != rows_in:
            raise RejectedUpload(
                f"{rows_in} rows came in but {rows_used} used and {len(every)} set aside do not add up",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )
        target.check(self.db, schema, snapshot)
        present = set(self.source.header)
        names = set(schema.names)
        return Admission(
            snapshot=snapshot,
            schema=schema,
            dataset_id=dataset_id,
            snapshot_sha256=_sha256(snapshot),
            rows_in=rows_in,
            rows_used=rows_used,
            rejects_csv=rejects.write_csv(every, self.workdir / "rejects.csv"),
            reason_counts=rejects.counts(every),
            first_rejects=tuple(every[:100]),
            missing=missing,
            header=tuple(self.source.header),
            extra_columns=tuple(c for c in self.source.header if c not in names),
            absent_columns=tuple(c for c in schema.names if c not in present),
            notes=tuple(self.notes),
            format=self.source.format,
            delimiter=self.source.delimiter,
            encoding=self.source.encoding,
            bytes=path.stat().st_size,
            file_sha256=_sha256(path),
        )

    # --- one look at every cell ----------------------------------------------------------------------------------------
    def _markers(self, column: str) -> tuple[str, ...]:
        override = self.data.columns.get(column)
        return (
            override.missing_markers if override and override.missing_markers is not None else self.data.missing_markers
        )

    def _rows(self, schema: Schema | None) -> str:
        """The file's rows in layers; numbers only where the schema (or the inference) needs them."""
        columns = self.source.header
        return cells.layered(
            self.source.relation,
            columns,
            {c: self._markers(c) for c in columns},
            {c: schema is None or (c in schema.names and schema.column(c).numeric) for c in columns},
            decimal_comma=self.source.decimal_comma,
        )

    def _numeric(self, column: str) -> bool:
        return self.reference is None or self.reference.column(column).numeric

    def _fails(self, column: Column) -> str:
        if column.name not in self.source.header:
            return "false"
        return cells.fails(self.source.header.index(column.name), column.kind)

    def _survey(self) -> tuple[dict[str, dict[str, int]], dict[str, Kind], int]:
        """Missing counts by marker, inferred kinds, and the rows of the right form; one scan."""
        wanted = [
            (i, c) for i, c in enumerate(self.source.header) if self.reference is None or c in self.reference.names
        ]
        select, labels = ["count(*)"], list[tuple[str, str, str]]()
        for i, c in wanted:
            asked = {
                ("missing", "(empty)"): f"count_if(r{i} IS NULL OR t{i} = '')",
                ("missing", "NaN"): f"count_if(length(t{i}) = 3 AND lower(t{i}) = 'nan')",
                ("note", "spaces"): f"count_if(r{i} <> t{i})",
            }
            if self._numeric(c):
                asked[("note", "infinite")] = f"count_if({cells.is_infinite(i)})"
            asked |= {("missing", m): f"count_if(t{i} = {quote(m)})" for m in self._markers(c) if m}
            if self.reference is None:
                asked |= {("probe", k): sql for k, sql in cells.probes(i).items()}
            else:
                asked[("fails", "")] = f"count_if({self._fails(self.reference.column(c))})"
            for (group, label), sql in asked.items():
                labels.append((c, group, label))
                select.append(sql)
        row = self.db.execute(f"SELECT {', '.join(select)} FROM {self._rows(self.reference)}").fetchall()[0]
        found: dict[str, dict[str, dict[str, int]]] = {
            c: {"missing": {}, "note": {}, "probe": {}, "fails": {}} for _, c in wanted
        }
        for (c, group, label), count in zip(labels, row[1:], strict=True):
            found[c][group][label] = int(count or 0)
        kinds: dict[str, Kind] = (
            {c: cells.infer(f["probe"]) for c, f in found.items()} if self.reference is None else {}
        )
        for c, f in found.items():
            self._remark(c, {**f["note"], **f["probe"]})
        if self.reference is None:
            for c, f in found.items():
                f["fails"][""] = cells.unparsed(kinds[c], f["probe"]) if c != self.data.target else 0
        self._known_failures = {c: n for c, f in found.items() if (n := f["fails"].get("", 0))}
        return {c: {k: n for k, n in f["missing"].items() if n} for c, f in found.items()}, kinds, int(row[0])

    def _remark(self, column: str, found: dict[str, int]) -> None:
        if found["spaces"]:
            self.notes.append(Note("trimmed", "spaces around values were removed", column, found["spaces"]))
        if found.get("infinite"):
            self.notes.append(Note("infinite", "infinite values are treated as missing", column, found["infinite"]))
        if found.get("codes"):
            self.notes.append(
                Note("codes_kept", "numbers with leading zeros are codes; kept as text", column, found["codes"])
            )
        elif found.get("overflows"):
            self.notes.append(Note("beyond_int64", "integers beyond 64 bits; kept as text", column, found["overflows"]))

    def _schema(self, kinds: dict[str, Kind]) -> Schema:
        columns = []
        for c in self.source.header:
            override = self.data.columns.get(c)
            kind: Kind = "category" if c == self.data.target else kinds[c]
            columns.append(Column(name=c, kind=override.type if override and override.type else kind))
        return Schema(columns=tuple(columns), target=self.data.target)

    # --- rows that do not parse ----------------------------------------------------------------------------------------
    def _failures(self, schema: Schema) -> dict[str, int]:
        """Cells that do not parse, by column; the survey has counted them unless a person declared other kinds."""
        declared = any(o.type for o in self.data.columns.values())
        if self.reference is not None or not declared:
            return self._known_failures
        asked = [(c, f) for c in schema.columns if (f := self._fails(c)) != "false"]
        if not asked:
            return {}
        select = ", ".join(f"count_if({f})" for _, f in asked)
        row = self.db.execute(f"SELECT {select} FROM {self._rows(schema)}").fetchall()[0]
        return {c.name: int(n) for (c, _), n in zip(asked, row, strict=True) if n}

    def _check_share(self, schema: Schema, failing: dict[str, int], accepted: int) -> None:
        for column, count in failing.items():
            if count > self.data.limits.max_quarantined_share * accepted:
                kind = schema.column(column).kind
                examples = rejects.of_cells(self.source, self._rows(schema), schema, self._fails, limit=3)
                where = "; ".join(f"line {r.line}: {r.reason}" for r in examples)
                raise RejectedUpload(
                    f"column {column!r} is {kind} in the reference, but {count:,} of {accepted:,} values are not ({where})",
                    code="type_changed",
                    fix=f"correct the column, or declare its type: data.columns: {{{column}: {{type: category}}}}",
                )

    def _check_total(self, every: list[rejects.Reject], rows_in: int) -> None:
        if len(every) > self.data.limits.max_quarantined_share * rows_in and len(every) > 1:
            first = "; ".join(f"line {r.line}: {r.reason}" for r in every[:3])
            raise RejectedUpload(
                f"{len(every):,} of {rows_in:,} rows cannot be read ({first})",
                code="too_many_bad_rows",
                fix="correct the file (delimiter? quotes?), or raise data.limits.max_quarantined_share",
            )
        if len(every) == rows_in:
            raise RejectedUpload(
                f"no row can be read ({every[0].reason})", code="too_many_bad_rows", fix="correct the file"
            )

    # --- the accepted rows ---------------------------------------------------------------------------------------------
    def _write(self, schema: Schema, *, failing: bool) -> Path:
        typed = []
        for c in schema.columns:
            if c.name in self.source.header:
                sql = f"CAST({cells.parsed(self.source.header.index(c.name), c.kind)} AS {c.physical})"
            else:
                sql = f"CAST(NULL AS {c.physical})"
            typed.append(f"{sql} AS {name(c.name)}")
        # Unit and record separators cannot be typed into a cell by accident; NULL differs from every text.
        canonical = ", ".join(f"coalesce(CAST({name(c.name)} AS VARCHAR), '\x1e')" for c in schema.columns)
        rows = f"SELECT {', '.join(typed)} FROM {self._rows(schema)}"
        if failing:
            bad = " OR ".join(f for c in schema.columns if (f := self._fails(c)) != "false")
            # Materialised: a filter pushed below the layers would compute every expression of theirs again.
            typed.append(f"({bad}) AS bad")
            rows = (
                f"WITH read AS MATERIALIZED (SELECT {', '.join(typed)} FROM {self._rows(schema)}) "
                "SELECT * EXCLUDE (bad) FROM read WHERE NOT bad"
            )
        file = self.workdir / "data.parquet"
        self.db.execute(
            f"COPY (SELECT *, md5_number_lower(concat_ws('\x1f', {canonical})) AS {name(ROW_HASH)} FROM ({rows})) "
            f"TO {quote(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        )
        return file

    def _identify(self, snapshot: Path) -> tuple[str, int]:
        """Hash tree over the row hashes in file order: 16 hex, and the number of rows."""
        leaves = self.db.execute(
            f"SELECT sha256(string_agg({name(ROW_HASH)}, ',' ORDER BY n)), count(*) FROM (SELECT {name(ROW_HASH)}, "
            f"file_row_number AS n FROM read_parquet({quote(str(snapshot))}, file_row_number = true)) "
            f"GROUP BY n // {_GROUP} ORDER BY min(n)"
        ).fetchall()
        digest = hashlib.sha256("".join(leaf for leaf, _ in leaves).encode()).hexdigest()
        return digest[:16], sum(int(count) for _, count in leaves)


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
