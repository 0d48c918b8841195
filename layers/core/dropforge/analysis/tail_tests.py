"""How likely values outside the reference's range are without any change: by their number, and by how far they lie.

By number the test is exact whatever the distribution (Rosenbaum 1954), and no test that is can do better: six values beyond
all others have one chance in 64 to be all in one of two files of equal size. With ten columns or more that is no evidence.
How far they lie is, if the tail is a Pareto tail or a lighter one. A column with a few wild values of its own is neither, so
distance counts only beside a number that is rare by itself: whatever the distribution, the chance of a rejection by distance
is at most `_RARE` on each side. Of more rows a change of the same share is more values, so that less will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.data_profile import EXTREMES, FEW_ROWS, ColumnProfile

_RARE, _PER_ROW = (
    0.02,
    5.0,
)  # chance of as many values beyond the reference, from which on their distance counts; over its rows
_OUTER = 8  # the tail of few rows: at most one in so many of them
_OWN_TAIL = 0.6  # of the exponent that the single most extreme reference value suggests
_LEAST_TAIL = 1.05


def p_value(before: ColumnProfile, after: ColumnProfile, low: int, high: int) -> float:
    """Of a column with `low` new values below and `high` above everything in the reference: the smallest of its tests, corrected."""
    n, m = before.present, after.present
    ranks = st.exceedance_p_value(low, n, m), st.exceedance_p_value(high, n, m)
    if n >= FEW_ROWS:
        return min(1.0, 3 * min(*ranks, _tail(before, after)))
    if not (before.lowest and before.highest and after.lowest and after.highest):
        return min(1.0, 2 * min(ranks))  # a profile of an earlier version
    return min(1.0, 4 * min(*ranks, *_far(before, after, ranks)))


def _tail(before: ColumnProfile, after: ColumnProfile) -> float:
    """Expected number of values as extreme as the new extremes, of a Pareto tail through the outer quantiles.

    Distances are taken from the median. Two estimates of the exponent, and the smaller counts, so that the result errs to the
    side of chance: from two quantiles (Hill 1975), lowered by two of its standard deviations; and from how far the
    reference's own extreme lies beyond a quantile, which one value in n/32 is expected to reach. One where there is no tail.
    """
    n, m, middle, marks = before.present, after.present, 0.0, dict[float, float]()
    if None in (before.minimum, before.maximum, after.minimum, after.maximum):
        return 1.0
    cumulative = 0
    for edge, count in zip(before.edges, before.counts, strict=False):
        cumulative += count
        for q in (1 / 32, 1 / 16, 1 / 2, 15 / 16, 31 / 32):
            if q not in marks and cumulative >= q * n:
                marks[q] = edge
    middle, chances = marks[1 / 2], [1.0]
    for near, far, own, extreme in (
        (marks[15 / 16], marks[31 / 32], before.maximum, after.maximum),
        (marks[1 / 16], marks[1 / 32], before.minimum, after.minimum),
    ):
        a, b, most, t = (abs((x or 0.0) - middle) for x in (near, far, own, extreme))
        if b <= 0 or t <= most:
            continue
        alpha = _OWN_TAIL * math.log(n / 32) / math.log(max(_LEAST_TAIL, most / b))
        if 0 < a < b:
            alpha = min(alpha, math.log(2) / math.log(b / a) * max(0.0, 1 - 2 / math.sqrt(n / 32)))
        chances.append(m / 32 * (t / b) ** -alpha)
    return min(chances)


def _far(before: ColumnProfile, after: ColumnProfile, ranks: tuple[float, float]) -> Iterator[float]:
    """How many new values lie beyond the reference's extreme, and how far, together: below and above, of few rows.

    Distances are taken from the median.
    """
    middle = _median(before)
    sides = [
        (ranks[0], [middle - x for x in before.lowest], [middle - x for x in after.lowest]),
        (ranks[1], [x - middle for x in before.highest], [x - middle for x in after.highest]),
    ]
    for rank, known, new in sides:
        if rank <= min(_RARE, _PER_ROW / before.present):
            far, near = _gap(known, new, (before.present + after.present) // _OUTER)
            yield st.both(rank, st.gap_p_value(far, near))


def _gap(known: Sequence[float], new: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """Distances beyond the largest known one; and the largest of both files up to it, `most` at most, as far as both are known.

    Which file a value is of says nothing of where the values lie, so that how far is independent of how many. The reference's
    values alone would not do: where its largest are close together by chance, more new ones lie beyond them, and farther.
    """
    ends = [values[-1] for values in (known, new) if len(values) >= EXTREMES]
    limit, end = known[0], max(ends, default=-math.inf)
    near = sorted({x for x in (*known, *new) if end <= x <= limit}, reverse=True)
    return [x for x in new if x > limit], near[: max(2, most)]


def _median(column: ColumnProfile) -> float:
    """Upper edge of the bin that the middle value is in."""
    cumulative = 0
    for edge, count in zip(column.edges, column.counts, strict=False):
        cumulative += count
        if 2 * cumulative >= column.present:
            return edge
    return column.maximum or 0.0
