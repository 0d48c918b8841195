"""What a comparison needs to know of a data set: counts on fixed bins. Small, mergeable, stored beside the data.

The reference fixes the bins; every later profile counts on the reference's bins, so the reference's rows are never
read again, and profiles of parts add up to the profile of the whole (`merge`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dropforge.analysis.pairs import Pair, Pairs
from dropforge.data.schema import NUMERIC, Kind

VALUE_SKETCH = 256  # smallest hashes kept of a column's distinct values
_NAMED = 600  # categories that a merged profile names at most
BUCKETS = 64  # that the values of a column of many categories fall into by their hash
FREQUENT = 20  # most frequent numbers whose exact counts are kept
ROW_SKETCH = 1024  # and of a table's distinct rows
_HASHES = 2.0**64


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
    hours: tuple[int, ...] = Field(default=(), description="of a datetime: values by hour of the day")
    buckets: tuple[int, ...] = Field(default=(), description="values by hash, when there are more than are named")
    damaged: int = Field(default=0, description="texts that were decoded with a wrong encoding")
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct values, for merging")
    sketch_counts: tuple[int, ...] = Field(default=(), description="how often each of these values occurs")

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def binned(self) -> bool:
        return self.kind in {"integer", "number", "datetime"}

    @property
    def mean(self) -> float | None:
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

    format_version: int = 2
    rows: int
    duplicates: int
    conflicts: int = Field(default=0, description="rows whose features occur with a more frequent other label")
    target: str
    columns: tuple[ColumnProfile, ...] = Field(default=())
    pairs: Pairs = Pairs()
    by_class: tuple[Sums, ...] = Field(default=(), description="of every number, for every class of the target")
    products: tuple[Sums, ...] = Field(default=(), description="of every pair of numbers")
    gaps: tuple[ColumnProfile, ...] = Field(default=(), description="seconds from one datetime column to another")
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct rows")
    sketch_counts: tuple[int, ...] = Field(default=(), description="how often each of these rows occurs")

    def column(self, wanted: str) -> ColumnProfile | None:
        return next((c for c in self.columns if c.name == wanted), None)

    def gap(self, wanted: str) -> ColumnProfile | None:
        return next((c for c in self.gaps if c.name == wanted), None)


def is_binned(kind: Kind) -> bool:
    return kind in NUMERIC or kind == "datetime"


def distinct_of(sketch: Sequence[int], size: int) -> int:
    """Distinct values behind a sketch of the `size` smallest hashes: exact below, else (k-1)/max (Bar-Yossef 2002)."""
    if len(sketch) < size:
        return len(sketch)
    return round((size - 1) * _HASHES / max(sketch[-1], 1))


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


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both; both must count on the same bins (one `like` the other, or both like a third).

    Counts, sums and extremes are exact. Distinct values and repeated rows come from sketches: exact while they are few.
    Conflicting labels between the two parts are not seen.
    """
    rows = a.rows + b.rows
    sketch, counts = _merge_sketches(a.sketch, a.sketch_counts, b.sketch, b.sketch_counts, ROW_SKETCH)
    return Profile(
        rows=rows,
        duplicates=max(0, rows - distinct_of(sketch, ROW_SKETCH)),
        conflicts=a.conflicts + b.conflicts,
        target=a.target,
        columns=tuple(_merge_columns(c, d) for c in a.columns if (d := b.column(c.name)) is not None),
        pairs=_merge_pairs(a.pairs, b.pairs),
        by_class=_merge_sums(a.by_class, b.by_class),
        products=_merge_sums(a.products, b.products),
        gaps=tuple(_merge_columns(c, d) for c in a.gaps if (d := b.gap(c.name)) is not None),
        sketch=sketch,
        sketch_counts=counts,
    )


def _merge_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    own = _merge_numbers(a, b) if a.binned else _merge_categories(a, b)
    return a.model_copy(
        update={
            "rows": a.rows + b.rows,
            "missing": a.missing + b.missing,
            "minimum": min((x for x in (a.minimum, b.minimum) if x is not None), default=None),
            "maximum": max((x for x in (a.maximum, b.maximum) if x is not None), default=None),
            "total": a.total + b.total,
            "squares": a.squares + b.squares,
            "outliers": a.outliers + b.outliers,
            "below": a.below + b.below,
            "damaged": a.damaged + b.damaged,
            "hours": _added(a.hours, b.hours),
            **own,
        }
    )


def _merge_numbers(a: ColumnProfile, b: ColumnProfile) -> dict[str, Any]:
    sketch = _smallest(a.sketch, b.sketch, VALUE_SKETCH)
    ours, theirs = (dict(zip(c.frequent, c.frequent_counts, strict=True)) for c in (a, b))
    both = {v: ours.get(v, 0) + theirs.get(v, 0) for v in {*ours, *theirs}}
    listed = sorted(both, key=lambda v: (-both[v], v))[: max(FREQUENT, len(a.frequent))]
    return {
        "counts": _added(a.counts, b.counts),
        "distinct": distinct_of(sketch, VALUE_SKETCH),
        "sketch": sketch,
        "frequent": tuple(listed),
        "frequent_counts": tuple(both[v] for v in listed),
        "frequent_bound": max(a.frequent_bound + b.frequent_bound, *(both[v] for v in {*both} - {*listed}), 0),
    }


def _merge_categories(a: ColumnProfile, b: ColumnProfile) -> dict[str, Any]:
    """Every value that either part names stays named; a part that does not name it counts it among its rest."""
    ours, theirs = dict(zip(a.values, a.counts, strict=True)), dict(zip(b.values, b.counts, strict=True))
    both = {v: ours.get(v, 0) + theirs.get(v, 0) for v in (*ours, *theirs)}
    named = {*sorted(both, key=lambda v: -both[v])[:_NAMED]}
    values = tuple(v for v in both if v in named)
    counts = tuple(both[v] for v in values)
    other = a.other + b.other + sum(both.values()) - sum(counts)
    exact = not other
    sketch, sketch_counts = tuple[int, ...](), tuple[int, ...]()
    if not exact:
        sketch, sketch_counts = _merge_sketches(*value_sketch(a), *value_sketch(b), VALUE_SKETCH)
    return {
        "values": values,
        "counts": counts,
        "other": other,
        "distinct": sum(1 for c in counts if c)
        if exact
        else max(a.distinct, b.distinct, distinct_of(sketch, VALUE_SKETCH)),
        "buckets": () if exact else _added(bucket_counts(a), bucket_counts(b)),
        "sketch": sketch,
        "sketch_counts": sketch_counts,
    }


def _added(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True)) if a and b else tuple(a or b)


def _merge_sketches(
    a: Sequence[int], a_counts: Sequence[int], b: Sequence[int], b_counts: Sequence[int], size: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Among the smallest hashes of both a part keeps all of its own, so their counts add up exactly."""
    sketch = _smallest(a, b, size)
    if len(a) != len(a_counts) or len(b) != len(b_counts):
        return sketch, ()
    first, second = dict(zip(a, a_counts, strict=True)), dict(zip(b, b_counts, strict=True))
    return sketch, tuple(first.get(h, 0) + second.get(h, 0) for h in sketch)


def _merge_pairs(a: Pairs, b: Pairs) -> Pairs:
    known = {(p.first, p.second): p for p in b.pairs}
    merged = []
    for p in a.pairs:
        other = known.get((p.first, p.second))
        counts = tuple(x + y for x, y in zip(p.counts, other.counts, strict=True)) if other else p.counts
        merged.append(Pair(first=p.first, second=p.second, counts=counts))
    return Pairs(axes=a.axes, pairs=tuple(merged))


def _merge_sums(a: Sequence[Sums], b: Sequence[Sums]) -> tuple[Sums, ...]:
    found = {(s.first, s.second, s.group): s for s in a}
    for s in b:
        key = (s.first, s.second, s.group)
        t = found.get(key)
        found[key] = s if t is None else s.model_copy(update={f: getattr(s, f) + getattr(t, f) for f in _ADDED})
    return tuple(sorted(found.values(), key=lambda s: (s.first, s.second, s.group)))


_ADDED = ("n", "x", "y", "xx", "yy", "xy")


def _smallest(a: Sequence[int], b: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(sorted({*a, *b})[:size])
