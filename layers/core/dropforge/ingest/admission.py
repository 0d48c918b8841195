"""What became of a file that was read: its accepted rows, its rejects, its schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge.datasets.table_schema import Schema
from dropforge.ingest import rejected_rows, row_contract, unknown_columns


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
    shards: tuple[
        Path, ...
    ] = ()  # folders of what was counted of the rows of each shard; none where `table` was not cut
    untrained: str = ""  # why these rows are compared and stored but start no training; empty when they do

    @property
    def rows_quarantined(self) -> int:
        """Rows of the file that were not accepted."""
        return self.rows_in - self.rows_used
