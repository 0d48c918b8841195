"""What a comparison needs to know of a data set: counts on fixed bins. Small, mergeable, stored beside the data.

The reference fixes the bins; every later profile counts on the reference's bins, so the reference's rows are never
read again, and profiles of parts add up to the profile of the whole (`merge`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from dropforge.analysis.column_pairs import Pairs
from dropforge.analysis.timeline import Timeline
from dropforge.datasets.table_schema import NUMERIC, Kind

# 3 counts by period, 4 keeps extremes of few rows. Earlier profiles are read as they are; `dropforge upgrade` counts again.
PROFILE_VERSION = 4
VALUE_SKETCH = 256  # smallest hashes kept of a column's distinct values
BUCKETS = 64  # that the values of a column of many categories fall into by their hash
FREQUENT = 20  # most frequent numbers whose exact counts are kept
EXTREMES = 16  # smallest and largest numbers kept of a column of few rows
FEW_ROWS = 640  # values below which the outer quantiles are too few to estimate a tail, and the extremes are kept
ROW_SKETCH = 1024  # and of a table's distinct rows


class ColumnProfile(BaseModel):
    """Counts of one column.

    Numeric (and datetime, as seconds): `edges` ascending; counts[i] is the number of values in (edges[i-1], edges[i]],
    counts[-1] the values above the last edge; with `points` the edges are the values themselves. Categories: `values`
    and their counts, `other` for the rest, which `buckets` and `sketch` describe: which values are named depends on how
    often they occur, so the named ones alone of two samples of one population do not look alike.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: str
    rows: int
    missing: int
    distinct: int
    edges: tuple[float, ...] = ()
    points: bool = False
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    other: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    squares: float = 0.0
    fences: tuple[float, float] | None = Field(
        default=None, description="three interquartile ranges beyond the quartiles of the reference (Tukey 1977)"
    )
    outliers: int = Field(default=0, description="values beyond the fences")
    below: int = Field(default=0, description="values below the first edge: below everything in the reference")
    frequent: tuple[float, ...] = Field(default=(), description="numbers whose exact counts are in frequent_counts")
    frequent_counts: tuple[int, ...] = ()
    frequent_bound: int = Field(default=0, description="no other number occurs more often")
    lowest: tuple[float, ...] = Field(default=(), description="smallest different numbers, where there are few rows")
    highest: tuple[float, ...] = Field(default=(), description="largest different numbers, the largest first")
    hours: tuple[int, ...] = Field(default=(), description="of a datetime: values by hour of the day")
    buckets: tuple[int, ...] = Field(default=(), description="values by hash, when there are more than are named")
    damaged: int = Field(default=0, description="texts that were decoded with a wrong encoding")
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct values, for merging")
    sketch_counts: tuple[int, ...] = Field(default=(), description="how often each of these values occurs")

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def binned(self) -> bool:
        """Whether the column is counted by bins (numbers, dates), not by value."""
        return self.kind in {"integer", "number", "datetime"}

    @property
    def mean(self) -> float | None:
        """Mean of the numbers; None without any."""
        return self.total / self.present if self.present and self.binned else None

    @property
    def std(self) -> float | None:
        """Population standard deviation."""
        if not self.present or not self.binned:
            return None
        mean = self.total / self.present
        return math.sqrt(max(0.0, self.squares / self.present - mean * mean))


class Sums(BaseModel):
    """Sums over the rows of one class (`second` empty: of one column) or over the rows where both columns are there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    first: str
    second: str = ""
    group: str = ""
    n: int
    x: float
    y: float = 0.0
    xx: float
    yy: float = 0.0
    xy: float = 0.0

    @property
    def pearson(self) -> float | None:
        """Correlation of the two columns; None when one of them does not vary."""
        vx, vy = self.xx - self.x * self.x / max(1, self.n), self.yy - self.y * self.y / max(1, self.n)
        if self.n < 2 or vx <= 1e-12 * abs(self.xx) or vy <= 1e-12 * abs(self.yy):
            return None
        return max(-1.0, min(1.0, (self.xy - self.x * self.y / self.n) / math.sqrt(vx * vy)))


class Profile(BaseModel):
    """`datasets/{dataset_id}/profile.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = PROFILE_VERSION
    rows: int
    duplicates: int
    conflicts: int = Field(default=0, description="rows whose features occur with a more frequent other label")
    target: str
    columns: tuple[ColumnProfile, ...] = Field(default=())
    pairs: Pairs = Pairs()
    by_class: tuple[Sums, ...] = Field(default=(), description="of every number, for every class of the target")
    products: tuple[Sums, ...] = Field(default=(), description="of every pair of numbers")
    gaps: tuple[ColumnProfile, ...] = Field(default=(), description="seconds from one datetime column to another")
    timeline: Timeline | None = Field(default=None, description="counts by period of a time column")
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct rows")
    sketch_counts: tuple[int, ...] = Field(default=(), description="how often each of these rows occurs")

    def column(self, wanted: str) -> ColumnProfile | None:
        """The column of this name; None when there is none."""
        return next((c for c in self.columns if c.name == wanted), None)

    def gap(self, wanted: str) -> ColumnProfile | None:
        """The gaps in the times of this column; None when it has none."""
        return next((c for c in self.gaps if c.name == wanted), None)


def is_binned(kind: Kind) -> bool:
    """Whether columns of this kind are counted by bins."""
    return kind in NUMERIC or kind == "datetime"


def shared_rows(reference: Profile, new: Profile) -> tuple[float, int]:
    """Share of the new distinct rows that the reference has too, and on how many rows that estimate rests."""
    ends = [max(p.sketch) for p in (reference, new) if len(p.sketch) >= ROW_SKETCH]
    end = min(ends, default=None)
    seen = [h for h in new.sketch if end is None or h <= end]
    known = set(reference.sketch)
    return (sum(h in known for h in seen) / len(seen) if seen else 0.0), len(seen)


def common_counts(
    a: Sequence[int], a_counts: Sequence[int], b: Sequence[int], b_counts: Sequence[int], size: int
) -> list[tuple[int, int]]:
    """How often each value occurs in either of two samples, for the values whose hash both sketches reach.

    Which values these are depends on their hashes alone, never on how often they occur.
    """
    if len(a) != len(a_counts) or len(b) != len(b_counts):
        return []  # a profile of an earlier version
    end = min((s[-1] for s in (a, b) if len(s) >= size), default=None)
    first, second = dict(zip(a, a_counts, strict=True)), dict(zip(b, b_counts, strict=True))
    return [(first.get(h, 0), second.get(h, 0)) for h in {*first, *second} if end is None or h <= end]


def text_hash(value: str) -> int:
    """DuckDB's md5_number_lower: equal in every version and on every machine."""
    return int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[8:], "little")


def bucket_counts(column: ColumnProfile) -> tuple[int, ...]:
    """Values of a category column by hash; empty for a profile of an earlier version that does not know all values."""
    if column.buckets or column.other:
        return column.buckets
    counts = [0] * BUCKETS
    for value, count in zip(column.values, column.counts, strict=True):
        counts[text_hash(value) % BUCKETS] += count
    return tuple(counts)


def value_sketch(column: ColumnProfile) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Smallest hashes of a category column's values, and how often each value occurs."""
    if column.sketch or column.other:
        return column.sketch, column.sketch_counts
    hashed = sorted((text_hash(v), n) for v, n in zip(column.values, column.counts, strict=True) if n)[:VALUE_SKETCH]
    return tuple(h for h, _ in hashed), tuple(n for _, n in hashed)
