"""Bytes in, accepted rows and rejects out. `rows_in = rows_used + rows_quarantined`, always.

The file is parsed with columns declared and nothing detected, every cell as text; then each cell is read as the kind the
schema gives. Rows that do not fit the table's form or a column's kind are set aside with line, column and reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge.data import cells, extra, rejects, snapshot, sources, survey, target
from dropforge.data.engine import connect
from dropforge.data.schema import Column, Kind, Schema
from dropforge.errors import RejectedUpload
from dropforge.settings import DataSettings

Announce = Callable[[Schema, snapshot.Levels], None]
NO_LEVELS: snapshot.Levels = {}
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
    first_rejects: tuple[rejects.Reject, ...]
    missing: dict[str, dict[str, int]]
    header: tuple[str, ...]
    extra_columns: tuple[str, ...]
    absent_columns: tuple[str, ...]
    notes: tuple[Note, ...]
    extra_counts: tuple[extra.ExtraCounts, ...]
    format: str
    delimiter: str
    encoding: str
    bytes: int
    file_sha256: str
    table: str = ""  # the accepted rows for who asks on the connection they were read with

    @property
    def rows_quarantined(self) -> int:
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
    if path.stat().st_size > data.limits.max_bytes:
        raise RejectedUpload(
            f"the file has {path.stat().st_size:,} bytes; the limit is {data.limits.max_bytes:,}",
            code="over_byte_budget",
            fix="split the file, or raise data.limits.max_bytes",
        )
    import duckdb

    own = connect(workdir) if connection is None else None
    connection = connection or own
    try:
        source = sources.open_source(path, workdir, connection, data, reference)
        return _Reading(source, data, reference, workdir).run(path, announce, known, keep=keep, partial=partial)
    except duckdb.InvalidInputException as error:  # a damaged page, or text no CSV can be
        raise sources.unreadable(error) from None
    finally:
        if own is not None:
            own.close()


class _Reading:
    """One file being read; holds what the steps share."""

    def __init__(self, source: sources.Source, data: DataSettings, reference: Schema | None, workdir: Path) -> None:
        self.source = source
        self.db = source.connection
        self.data = data
        self.reference = reference
        self.workdir = workdir
        self.notes = [Note(code, message) for code, message in source.notes]

    def run(self, path: Path, announce: Announce, known: snapshot.Levels, *, keep: bool, partial: bool) -> Admission:
        if self.data.target not in self.source.header:
            raise RejectedUpload(
                f"the target column {self.data.target!r} is missing; columns are {_listed(self.source.header)}",
                code="target_missing",
                fix="add the column, or correct data.target in settings.yaml",
            )
        one_pass = (
            len(self.source.header) <= survey.TOGETHER and len({self._markers(c) for c in self.source.header}) == 1
        )
        if not one_pass or path.stat().st_size < _SMALL_BYTES:
            self.source.hold(self.workdir)
        looks = self._survey()
        accepted = looks[self.data.target].cells
        form_rejects = rejects.of_form(self.source)
        schema = self.reference or self._schema(looks)
        levels = snapshot.enumerate_levels(self.db, schema, self.source.header, looks, known)
        announce(schema, snapshot.shared(levels))
        rows_in = accepted + len(form_rejects)
        if rows_in == 0:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        sources.check_complete(self.source, rows_in)
        failing = {c.name: n for c in schema.columns if c.name in looks and (n := looks[c.name].fails.get(c.kind, 0))}
        self._check_share(schema, failing, accepted)
        cell_rejects = self._aside(schema) if failing else []
        every = sorted([*form_rejects, *cell_rejects], key=lambda r: r.line)
        self._check_total(every, rows_in)
        kept = snapshot.write(
            self.db,
            self.workdir / "data.parquet",
            schema,
            self.source.header,
            looks,
            rows=self._rows(schema, None if failing else looks),
            bad=" OR ".join(f for c in schema.columns if (f := self._fails(c)) != "false") if failing else "",
            keep=keep,
            levels=levels,
            known=known,
        )
        try:
            dataset_id, rows_used = snapshot.identify(self.db, kept) if keep else ("", snapshot.count(self.db, kept))
            unknown = [c for c in self.source.header if c not in schema.names]
            markers = self._markers(self.data.target)
            extra_counts = extra.counts(self.db, self.source.relation, unknown, self.data.target, markers)
            self.db.execute("DROP TABLE IF EXISTS raw")
            if rows_used + len(every) != rows_in:
                raise RejectedUpload(
                    f"{rows_in} rows came in but {rows_used} used and {len(every)} set aside do not add up",
                    code="rows_lost",
                    fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
                )
            if not partial:
                target.check(self.db, schema, kept.relation)
            file_sha256 = _sha256(path) if keep else ""
        finally:
            wait([kept.written])  # whoever closes the connection must not meet its writer
        kept.written.result()
        present = set(self.source.header)
        names = set(schema.names)
        return Admission(
            snapshot=kept.file,
            schema=schema,
            dataset_id=dataset_id,
            snapshot_sha256=_sha256(kept.file) if keep else "",
            rows_in=rows_in,
            rows_used=rows_used,
            rejects_csv=rejects.write_csv(every, self.workdir / "rejects.csv"),
            reason_counts=rejects.counts(every),
            first_rejects=tuple(every[:100]),
            missing={c: seen.missing for c, seen in looks.items()},
            header=tuple(self.source.header),
            extra_columns=tuple(c for c in self.source.header if c not in names),
            absent_columns=tuple(c for c in schema.names if c not in present),
            notes=tuple(self.notes),
            extra_counts=extra_counts,
            format=self.source.format,
            delimiter=self.source.delimiter,
            encoding=self.source.encoding,
            bytes=path.stat().st_size,
            file_sha256=file_sha256,
            table=kept.relation,
        )

    # --- one look at every cell ----------------------------------------------------------------------------------------
    def _markers(self, column: str) -> tuple[str, ...]:
        override = self.data.columns.get(column)
        return (
            override.missing_markers if override and override.missing_markers is not None else self.data.missing_markers
        )

    def _rows(self, schema: Schema, looks: dict[str, survey.Look] | None = None, relation: str = "") -> str:
        """The file's rows in layers; numbers only where the schema needs them, and no layer the looks show to be idle."""
        columns = self.source.header
        idle = {c: look for c, look in (looks or {}).items() if not look.spaces}
        return cells.layered(
            relation or self.source.relation,
            columns,
            {c: self._markers(c) for c in columns},
            {c: c in schema.names and schema.column(c).numeric for c in columns},
            decimal_comma=self.source.decimal_comma,
            trimmed={c for c in columns if c in idle},
            seen={c: look.missing for c, look in idle.items()},
        )

    def _fails(self, column: Column) -> str:
        if column.name not in self.source.header:
            return "false"
        return cells.fails(self.source.header.index(column.name), column.kind)

    def _survey(self) -> dict[str, survey.Look]:
        # Every column, also those the reference lacks: the first scan must see each row whole to find its faults.
        looks = survey.look(
            self.db,
            self.source.relation,
            self.source.sample or self.source.relation,
            self.source.header,
            self._markers,
            decimal_comma=self.source.decimal_comma,
            columnar=self.source.columnar,
        )
        looks = {c: looks[c] for c in self.source.header if self.reference is None or c in self.reference.names}
        for c in looks:
            self._remark(c, looks[c])
        return looks

    def _remark(self, column: str, look: survey.Look) -> None:
        if look.spaces:
            self.notes.append(Note("trimmed", "spaces around values were removed", column, look.spaces))
        if look.infinite and (self.reference is None or self.reference.column(column).numeric):
            self.notes.append(Note("infinite", "infinite values are treated as missing", column, look.infinite))
        if self.reference is not None:
            return
        if codes := look.probes["codes"]:
            self.notes.append(Note("codes_kept", "numbers with leading zeros are codes; kept as text", column, codes))
        elif overflows := look.probes["overflows"]:
            self.notes.append(Note("beyond_int64", "integers beyond 64 bits; kept as text", column, overflows))

    def _schema(self, looks: dict[str, survey.Look]) -> Schema:
        columns = []
        for c in self.source.header:
            override = self.data.columns.get(c)
            kind: Kind = "category" if c == self.data.target else cells.infer(looks[c].probes)
            columns.append(Column(name=c, kind=override.type if override and override.type else kind))
        return Schema(columns=tuple(columns), target=self.data.target)

    # --- rows that do not parse ----------------------------------------------------------------------------------------
    def _aside(self, schema: Schema, limit: int | None = None) -> list[rejects.Reject]:
        with sources.in_order(self.source, self.workdir) as ordered:
            rows = self._rows(schema, relation=ordered.relation)
            return rejects.of_cells(ordered, rows, schema, self._fails, limit=limit)

    def _check_share(self, schema: Schema, failing: dict[str, int], accepted: int) -> None:
        for column, count in failing.items():
            if count > self.data.limits.max_quarantined_share * accepted:
                kind = schema.column(column).kind
                examples = self._aside(schema, limit=3)
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


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
