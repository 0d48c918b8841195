"""Bytes in, accepted rows and rejects out. `rows_in = rows_used + rows_quarantined`, always.

The file is parsed with columns declared and nothing detected, every cell as text; then each cell is read as the kind the
schema gives. Rows that do not fit the table's form or a column's kind are quarantined with line, column and reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import (
    column_kinds,
    rejected_rows,
    row_contract,
    shard_plan,
    target_check,
    text_table,
    unknown_columns,
)
from dropforge.ingest import parquet_snapshot as snapshot
from dropforge.ingest.admission import Admission
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.rejected_rows import Reject
from dropforge.ingest.row_faults import RowFaults
from dropforge.ingest.shard_plan import Plan
from dropforge.ingest.sharded_file import ReadShards, ShardedFile

Announce = Callable[[Schema, snapshot.Levels], None]
_MOST_LABELS = 100_000  # distinct ones: a target with so many is no class label


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How a file is read.

    `keep`: whether rows are identified and a snapshot is stored; without it the table is all there is. `partial`: the rows belong
    to an earlier file, so that one class alone is no mistake.
    `announce` is called with the file's schema and categories as soon as they are known, long before the end; `known`: the
    categories of another file that it is compared with. `read_shards`: who reads the shards of a text or Parquet file of more than
    `data.limits.shard_bytes`, each in bounded memory; without it a file is read at once.
    """

    keep: bool = True
    partial: bool = False
    announce: Announce = lambda _schema, _levels: None
    known: snapshot.Levels = field(default_factory=dict)
    read_shards: ReadShards | None = None


USUAL = ReadingOptions()


@dataclass(frozen=True, slots=True)
class _Rows:
    """How many rows a file has. `accepted`: those of the right form; `limit`: rows that may be quarantined."""

    accepted: int
    malformed: int
    limit: int
    form_rejects: list[Reject]

    @property
    def total(self) -> int:
        return self.accepted + self.malformed


def admit(
    path: Path,
    *,
    data: DataSettings,
    reference: Schema | None,
    workdir: Path,
    connection: Any = None,
    options: ReadingOptions = USUAL,
) -> Admission:
    """Read a CSV or Parquet file by the reference's schema, or infer one when there is none.

    `workdir` must be an existing folder; the snapshot and the rejects are left in it. A `connection` given
    (duckdb_connection.connect) stays open, and has the accepted rows as `table`; only without `options.keep` may it be one that
    keeps no order.
    Raises RejectedUpload with a stable code, the place and the fix when the file as a whole cannot be used.
    """
    check_size(path.stat().st_size, data)
    own = connect(workdir) if connection is None else None
    connection = connection or own
    try:
        with text_table.decoding() as reading:
            source = reading.source = text_table.open_source(path, workdir, connection, data, reference)
            file = OpenFile(source, data, reference, workdir)
            reading_of_file = _Reading(file, path, keep=options.keep, partial=options.partial)
            plan = shards(source, data) if options.read_shards else None
            if plan is None or options.read_shards is None:
                return reading_of_file.run(options)
            return reading_of_file.run_by_shards(ShardedFile(file, plan, options.read_shards(file, plan)))
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


def shards(source: text_table.Source, data: DataSettings) -> Plan | None:
    """How a large text or Parquet file is cut; None for a file that is one shard."""
    text, most = source.text, data.limits.shard_bytes
    if source.parquet is not None and sum(size for _, size in source.groups) > most:
        plan: Plan = shard_plan.plan_rows(source.parquet, source.groups, most)
    elif text is not None and source.lines is None and text.path.stat().st_size > most:
        plan = shard_plan.plan_text(
            text.path, source.delimiter, header_lines=source.header_lines, quotes=text.quotes, shard_bytes=most
        )
    else:
        return None
    return plan if len(plan.shards) > 1 else None


@dataclass(frozen=True, slots=True)
class _Used:
    """The rows of a file that are used: SQL of them, their snapshot's file, their id and number; and what became of the others."""

    relation: str
    file: Path
    dataset_id: str
    rows: int
    rejects: list[Reject]
    rules: tuple[row_contract.RuleResult, ...]
    shards: tuple[Path, ...] = ()


class _Reading:
    """The reading of one file, from its scan to its admission."""

    def __init__(self, file: OpenFile, path: Path, *, keep: bool, partial: bool) -> None:
        self.file = file
        self.path = path
        self.keep = keep
        self.partial = partial

    def run(self, options: ReadingOptions) -> Admission:
        file = self.file
        column_kinds.check_target(file)
        file.hold_small(self.path.stat().st_size)
        scans = column_kinds.survey(file)
        accepted = max((scan.cells for scan in scans.values()), default=0)
        rows = self._rows(
            accepted, rejected_rows.count_of_form(file.source), partial(rejected_rows.of_form, file.source)
        )
        classes = self._classes(scans)
        schema = column_kinds.schema_of(file, scans, tuple(classes)[: target_check.MAX_CLASSES])
        faults = RowFaults(file, schema, scans, rows.accepted, () if self.partial else self._lone(classes))
        levels = snapshot.enumerate_levels(file.db, schema, file.source.header, faults.scans, options.known)
        options.announce(schema, snapshot.shared(levels))
        text_table.check_complete(file.source, rows.total)
        faults.judge()
        faults.check_types()
        stored = self._store(faults, levels, options.known)
        try:
            admission = self._admission(rows, classes, faults, self._used(rows, faults, stored))
        finally:
            wait([stored.written])  # whoever closes the connection must not meet its writer
        stored.written.result()
        return replace(admission, snapshot_sha256=_sha256(stored.file)) if self.keep else admission

    def run_by_shards(self, shards: ShardedFile) -> Admission:
        """The same admission of a file whose texts are never in memory or on disk as a whole."""
        file = self.file
        column_kinds.check_target(file)
        surveyed = shards.survey()
        scans = column_kinds.read_columns(file, surveyed.scans)
        accepted = max((scan.cells for scan in scans.values()), default=0)
        rows = self._rows(accepted, surveyed.malformed, lambda limit: surveyed.examples[:limit])
        classes = dict(list(surveyed.labels.items())[:_MOST_LABELS])
        schema = column_kinds.schema_of(file, scans, tuple(classes)[: target_check.MAX_CLASSES])
        lone = () if self.partial else self._lone(classes)
        faults = RowFaults(file, schema, shards.with_unique_texts(scans), rows.accepted, lone)
        text_table.check_complete(file.source, rows.total)
        faults.judge()
        faults.check_types()
        admitted = shards.admit(faults, lone, rows.limit)
        rejects = [r for shard in admitted for r in shard.rejects]
        _check_total(rejects, len(rejects), rows)
        relation, target = shards.relation(admitted), file.workdir / snapshot.SNAPSHOT
        dataset_id, rows_used = "", sum(shard.rows for shard in admitted)
        if self.keep:
            dataset_id, rows_used = snapshot.join(file.db, relation, target)
        used = _Used(
            relation, target, dataset_id, rows_used, rejects, shards.rules(admitted), tuple(s.folder for s in admitted)
        )
        admission = self._admission(rows, classes, faults, used)
        return replace(admission, snapshot_sha256=_sha256(target)) if self.keep else admission

    def _rows(self, accepted: int, malformed: int, of_form: Callable[[int], list[Reject]]) -> _Rows:
        """Raises RejectedUpload for a file of no rows, of too many, or of too many that have the wrong form.

        `of_form`: the first rows of a wrong form, at most so many.
        """
        limits = self.file.data.limits
        total = accepted + malformed
        limit = rejected_rows.most(total, limits)
        if total == 0:
            raise RejectedUpload(
                "the file has a header line and no rows", code="no_rows", fix="upload rows below the header"
            )
        if total > limits.max_rows:
            raise text_table.over_rows(total, limits)
        rows = _Rows(accepted, malformed, limit, of_form(limit + 1))
        if malformed > limit:
            _check_total(rows.form_rejects, malformed, rows)
        return rows

    def _classes(self, scans: Mapping[str, ColumnScan]) -> dict[str, int]:
        """Rows by class of the target; none of a regression."""
        file = self.file
        if file.data.task == "regression":
            return {}
        labels = scans[file.data.target].counts if file.data.target in scans else ""
        return target_check.counts(file.db, labels)

    def _lone(self, classes: Mapping[str, int]) -> tuple[str, ...]:
        reference = self.file.reference
        known = reference.classes if reference else ()
        if reference is not None and not known:  # a reference of an earlier version: its classes are not known
            return ()
        return target_check.lone_classes(classes, known, self.file.data.limits.max_quarantined_share)

    def _store(self, faults: RowFaults, levels: snapshot.Levels, known: snapshot.Levels) -> snapshot.Snapshot:
        file = self.file
        layered = snapshot.LayeredRows(
            file, faults.schema, faults.scans, bad=faults.bad, violated=faults.violated, levels=levels, known=known
        )
        return snapshot.write(file.db, file.workdir / snapshot.SNAPSHOT, layered, keep=self.keep)

    def _used(self, rows: _Rows, faults: RowFaults, stored: snapshot.Snapshot) -> _Used:
        """Raises RejectedUpload for too many rejects."""
        db = self.file.db
        dataset_id, rows_used = (
            snapshot.identify(db, stored.relation) if self.keep else ("", snapshot.count(db, stored))
        )
        rejects = self._rejects(rows, rows_used, faults, stored.left_out)
        rules = faults.results(stored.relation, rows_used)
        return _Used(stored.relation, stored.file, dataset_id, rows_used, rejects, rules)

    def _admission(self, rows: _Rows, classes: Mapping[str, int], faults: RowFaults, used: _Used) -> Admission:
        """The admission of the used rows, without the hash of their file, which may still be written.

        Raises RejectedUpload for a target that cannot be learned.
        """
        file, schema, rejects = self.file, faults.schema, used.rejects
        extra_counts = self._extra_counts(schema)
        for table in ("raw", "left_out"):
            file.db.execute(f"DROP TABLE IF EXISTS {table}")
        if used.rows + len(rejects) != rows.total:
            raise RejectedUpload(
                f"{rows.total} rows came in but {used.rows} used and {len(rejects)} quarantined do not add up",
                code="rows_lost",
                fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
            )
        untrained = self._check_learnable(classes, faults, used.relation)
        file_sha256 = _sha256(self.path) if self.keep else ""
        names, header = set(schema.names), file.source.header
        return Admission(
            snapshot=used.file,
            schema=schema,
            dataset_id=used.dataset_id,
            snapshot_sha256="",
            rows_in=rows.total,
            rows_used=used.rows,
            rejects_csv=rejected_rows.write_csv(rejects, file.workdir / "rejects.csv"),
            reason_counts=rejected_rows.counts(rejects),
            first_rejects=tuple(rejects[:100]),
            missing={c: scan.missing for c, scan in faults.scans.items()},
            header=tuple(header),
            extra_columns=tuple(c for c in header if c not in names),
            absent_columns=tuple(c for c in schema.names if c not in header and c != file.data.target),
            notes=tuple(file.notes),
            extra_counts=extra_counts,
            format=file.source.format,
            delimiter=file.source.delimiter,
            encoding=file.source.encoding,
            bytes=self.path.stat().st_size,
            file_sha256=file_sha256,
            table=used.relation,
            rules=used.rules,
            bundle_rules=row_contract.for_bundles(file.data, schema, faults.parsed_rules),
            shards=used.shards,
            untrained=untrained,
        )

    def _rejects(self, rows: _Rows, rows_used: int, faults: RowFaults, left_out: str) -> list[Reject]:
        """Every row quarantined, in file order. Raises RejectedUpload when they are too many."""
        of_cells = faults.rejects(rows.limit + 1, left_out) if rows_used < rows.accepted else []
        rejects = sorted([*rows.form_rejects, *of_cells], key=lambda r: r.line)
        _check_total(rejects, len(rejects), rows, at_least=len(of_cells) > rows.limit)
        return rejects

    def _extra_counts(self, schema: Schema) -> tuple[unknown_columns.ExtraCounts, ...]:
        file = self.file
        fields = dict(zip(file.source.header, file.source.fields, strict=True))
        of_schema = set(schema.names)
        unknown = {c: f for c, f in fields.items() if c not in of_schema}
        if file.data.target not in fields:
            return ()
        markers = file.markers(file.data.target)
        return unknown_columns.counts(file.db, file.source.relation, unknown, fields[file.data.target], markers)

    def _check_learnable(self, classes: Mapping[str, int], faults: RowFaults, relation: str) -> str:
        """Why the rows start no training; empty when they do. Raises RejectedUpload for a target that cannot be learned."""
        file, schema, first = self.file, faults.schema, self.file.reference is None
        if self.partial:
            return ""
        if file.data.task == "regression":
            numbers = target_check.numbers(file.db, schema, relation)
            if first:
                target_check.check_numbers(schema, *numbers)
            return target_check.untrained_numbers(*numbers, file.data.target)
        learned = {c: n for c, n in classes.items() if c not in faults.forbidden(file.data.target)}
        target_check.check(schema, learned, first=first)
        return target_check.untrained(learned, file.data.target)


def _check_total(rejects: list[Reject], number: int, rows: _Rows, *, at_least: bool = False) -> None:
    """`rejects`: the first of so many, or of more (`at_least`)."""
    if number > rows.limit:
        first = "; ".join(f"line {r.line}: {r.reason}" for r in rejects[:3])
        raise RejectedUpload(
            f"{'at least ' * at_least}{number:,} of {rows.total:,} rows cannot be used ({first})",
            code="too_many_bad_rows",
            fix="correct the file (delimiter? quotes? a rule of data.columns?), or raise data.limits.max_quarantined_share",
        )
    if number == rows.total:
        raise RejectedUpload(
            f"no row can be used ({rejects[0].reason})", code="too_many_bad_rows", fix="correct the file"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
