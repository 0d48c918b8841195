"""The reading of one shard of a large file: what its cells are, and its rows by what was decided over the whole file.

Each function takes files and leaves files and small values, so that it can run anywhere and be repeated.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.ingest import cell_parsing, column_scan, rejected_rows, row_contract, target_check, text_table
from dropforge.ingest import parquet_snapshot as snapshot
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import connect, quote
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.rejected_rows import Reject
from dropforge.ingest.row_contract import RuleResult
from dropforge.ingest.row_faults import RowFaults
from dropforge.value_formats import NumberFormat

_EXAMPLES = 3

# Called with the accepted rows of a shard while they can be asked: connection, SQL of the rows, schema, folder of the shard.
CountRows = Callable[[Any, str, Schema, Path], None]


@dataclass(frozen=True, slots=True)
class ShardFile:
    """What a shard is read from. `folder`: its own, where everything of it is left; `data`: the settings, with delimiter and encoding
    of the whole file; `rows`: first row and the one behind the last, of a Parquet file that has the other shards too.
    """

    path: Path
    folder: Path
    data: DataSettings
    reference: Schema | None
    rows: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ShardSurvey:
    """Cells by column in the header's order; rows of a wrong form and the first of them; rows by class of the target, where they were
    counted; by unique column the file (Parquet: raw, c) of its texts.
    """

    scans: list[ColumnScan]
    malformed: int
    examples: list[Reject]
    labels: dict[str, int]
    unique: dict[str, Path]


@dataclass(frozen=True, slots=True)
class Decided:
    """What holds for every shard. `scans`: of the whole file; `lone`: classes of one row; `repeated`: as RowFaults has it; `limit`:
    rows of the whole file that may be quarantined.
    """

    schema: Schema
    scans: Mapping[str, ColumnScan]
    lone: tuple[str, ...]
    repeated: Mapping[str, Path]
    limit: int


@dataclass(frozen=True, slots=True)
class ShardRows:
    """Accepted rows (Parquet) with their number, rows quarantined by lines of the shard's file, outcomes of rules."""

    file: Path
    rows: int
    rejects: list[Reject]
    rules: tuple[RuleResult, ...]


def survey(shard: ShardFile, number_formats: Mapping[int, NumberFormat], *, points: bool) -> ShardSurvey:
    """Look at every cell, decide nothing. Raises RejectedUpload when rows were lost. `points`: as column_scan.scan_shard."""
    with _opened(shard) as file:
        file.hold_small(shard.path.stat().st_size)
        scans = column_scan.scan_shard(
            file.db, file.table(), [file.markers(c) for c in file.source.header], number_formats, points=points
        )
        by_name = dict(zip(file.source.header, scans, strict=True))
        malformed = rejected_rows.count_of_form(file.source)
        text_table.check_complete(file.source, max((s.cells for s in scans), default=0) + malformed)
        target = by_name.get(shard.data.target)
        classified = shard.data.task != "regression" and target is not None
        return ShardSurvey(
            [replace(s, values="", counts="", rows="", group=0) for s in scans],
            malformed,
            rejected_rows.of_form(file.source, _EXAMPLES) if malformed else [],
            target_check.counts(file.db, target.counts) if classified and target is not None else {},
            {c: _texts(file, c, by_name[c]) for c in by_name if row_contract.is_unique(shard.data.columns.get(c))},
        )


def _texts(file: OpenFile, column: str, scan: ColumnScan) -> Path:
    target = file.workdir / f"unique-{file.source.header.index(column)}.parquet"
    source = (
        f"SELECT r0 AS raw, CAST(sum(c) AS BIGINT) AS c FROM {scan.rows} WHERE g = {scan.group} GROUP BY 1"
        if scan.rows
        else "SELECT '' AS raw, 0::BIGINT AS c WHERE false"
    )
    file.db.execute(f"COPY ({source}) TO {quote(str(target))} (FORMAT parquet, COMPRESSION zstd)")
    return target


def admit(shard: ShardFile, decided: Decided, accepted: int, count_rows: CountRows) -> ShardRows:
    """Type the rows by what was decided; quarantine those that do not fit. `accepted`: the shard's rows of the right form."""
    with _opened(shard) as file:
        file.hold_small(shard.path.stat().st_size)
        scans = _scans(file, decided, accepted)
        # Into the only folder that the connection may read.
        repeated = {c: Path(shutil.copy(f, shard.folder)) for c, f in decided.repeated.items()}
        faults = RowFaults(file, decided.schema, scans, accepted, decided.lone, repeated)
        faults.judge()
        layered = snapshot.LayeredRows(file, faults.schema, faults.scans, bad=faults.bad, violated=faults.violated)
        target = shard.folder / snapshot.SNAPSHOT
        stored = snapshot.write(file.db, target, layered, keep=True, compression="lz4")  # quick: it is read soon
        try:
            rows = snapshot.count(file.db, stored)
            form = rejected_rows.of_form(file.source, decided.limit + 1)
            of_cells = faults.rejects(decided.limit + 1, stored.left_out) if rows < accepted else []
            rules = faults.results(stored.relation, rows)
            count_rows(file.db, stored.relation, faults.schema, shard.folder)
        finally:
            stored.written.exception()  # waits: whoever closes the connection must not meet its writer
        stored.written.result()
        return ShardRows(stored.file, rows, sorted([*form, *of_cells], key=lambda r: r.line), rules)


def _scans(file: OpenFile, decided: Decided, accepted: int) -> Mapping[str, ColumnScan]:
    """Those of the whole file, which say what occurs; of this shard where its violations of rules on cells are counted."""
    if not (file.data.columns or decided.lone):
        return {c: replace(scan, cells=accepted, rows="") for c, scan in decided.scans.items()}
    formats = {i: decided.scans[c].number_format for i, c in enumerate(file.source.header) if c in decided.scans}
    markers = [file.markers(c) for c in file.source.header]
    scans = column_scan.scan_shard(file.db, file.table(), markers, formats)
    by_name = dict(zip(file.source.header, scans, strict=True))
    return {c: by_name[c] for c in decided.scans}


@contextmanager
def _opened(shard: ShardFile) -> Iterator[OpenFile]:
    with closing(connect(shard.folder)) as db, text_table.decoding() as reading:
        source = reading.source = text_table.open_source(
            shard.path,
            shard.folder,
            db,
            shard.data,
            shard.reference,
            text_table.OpenOptions(pair_quotes=False, rows=shard.rows),
        )
        yield OpenFile(source, shard.data, shard.reference, shard.folder)


def repeated_texts(file: OpenFile, place: int, scan: ColumnScan, files: Sequence[Path]) -> ColumnScan:
    """The scan with the texts of a unique column that the shards stored, as if they had been counted at once."""
    column = file.source.header[place]
    listed = ", ".join(quote(str(f)) for f in files)
    relation = f"(SELECT raw, CAST(sum(c) AS BIGINT) AS c FROM read_parquet([{listed}]) GROUP BY 1)"
    one = cell_parsing.Cells("raw", file.markers(column), number_format=scan.number_format)
    return replace(scan, rows=cell_parsing.layered(relation, [one], keep=("0 AS g", "c")), group=0)
