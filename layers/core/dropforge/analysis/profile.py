"""What a comparison needs to know of a data set: counts on fixed bins. Small, mergeable, stored beside the data.

The reference fixes the bins; every later profile counts on the reference's bins, so the reference's rows are never
read again, and profiles of parts add up to the profile of the whole (`merge`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from dropforge.analysis.pairs import Pair, Pairs
from dropforge.data.schema import NUMERIC, Kind

VALUE_SKETCH = 256  # smallest hashes kept of a numeric column's distinct values
ROW_SKETCH = 1024  # and of a table's distinct rows
_HASHES = 2.0**64


class ColumnProfile(BaseModel):
    """Counts of one column.

    Numeric (and datetime, as seconds): `edges` ascending; counts[i] is the number of values in (edges[i-1], edges[i]],
    counts[-1] the values above the last edge; with `points` the edges are the values themselves. Categories: `values`
    and their counts, `other` for the rest.
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
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct values, for merging")

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
    sketch: tuple[int, ...] = Field(default=(), description="smallest hashes of the distinct rows")

    def column(self, wanted: str) -> ColumnProfile | None:
        return next((c for c in self.columns if c.name == wanted), None)


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


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both; both must count on the same bins (one `like` the other, or both like a third).

    Counts, sums and extremes are exact. Distinct values and repeated rows come from sketches: exact while they are few.
    Conflicting labels between the two parts are not seen.
    """
    rows, sketch = a.rows + b.rows, _smallest(a.sketch, b.sketch, ROW_SKETCH)
    return Profile(
        rows=rows,
        duplicates=max(0, rows - distinct_of(sketch, ROW_SKETCH)),
        conflicts=a.conflicts + b.conflicts,
        target=a.target,
        columns=tuple(_merge_columns(c, d) for c in a.columns if (d := b.column(c.name)) is not None),
        pairs=_merge_pairs(a.pairs, b.pairs),
        by_class=_merge_sums(a.by_class, b.by_class),
        products=_merge_sums(a.products, b.products),
        sketch=sketch,
    )


def _merge_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    values, counts, sketch = a.values, [*a.counts], _smallest(a.sketch, b.sketch, VALUE_SKETCH)
    if a.binned:
        counts = [x + y for x, y in zip(a.counts, b.counts, strict=True)] if b.counts else counts
        distinct = distinct_of(sketch, VALUE_SKETCH)
    else:
        ours, theirs = dict(zip(a.values, a.counts, strict=True)), dict(zip(b.values, b.counts, strict=True))
        values = (*a.values, *(v for v in b.values if v not in ours))
        counts = [ours.get(v, 0) + theirs.get(v, 0) for v in values]
        distinct = max(sum(1 for c in counts if c), a.distinct, b.distinct)
    return a.model_copy(
        update={
            "rows": a.rows + b.rows,
            "missing": a.missing + b.missing,
            "distinct": distinct,
            "values": values,
            "counts": tuple(counts),
            "other": a.other + b.other,
            "minimum": min((x for x in (a.minimum, b.minimum) if x is not None), default=None),
            "maximum": max((x for x in (a.maximum, b.maximum) if x is not None), default=None),
            "total": a.total + b.total,
            "squares": a.squares + b.squares,
            "outliers": a.outliers + b.outliers,
            "sketch": sketch,
        }
    )


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
