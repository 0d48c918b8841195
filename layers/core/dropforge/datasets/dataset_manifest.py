"""Manifests of immutable dataset versions: small JSON that names content-addressed Parquet parts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from dropforge.datasets.table_schema import Schema


class Part(BaseModel):
    """One Parquet file: the accepted rows of one upload, in file order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset_id: str
    uri: str
    rows: int
    sha256: str


class DatasetManifest(BaseModel):
    """`datasets/{dataset_id}/manifest.json` (one part) or `…/training-{sha256}.json` (reference + history)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    dataset_id: str
    # Names of the dataset columns with their kinds; parts also carry the row hash column.
    data_schema: Schema
    parts: tuple[Part, ...]
    source: str
    created_at: str
    rules: tuple[dict[str, Any], ...] = ()  # what the newest part's rows were held to (dropforge.inference.row_rules)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(p.rows for p in self.parts)
