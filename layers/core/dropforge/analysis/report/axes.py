"""Numbers and dates as a reader wants them on an axis, and the bins that a picture of a column has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dropforge.analysis.data_profile import ColumnProfile

BARS = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400.0
_HEAVY = 0.25  # part of the range that holds the middle 31/32 of the rows, below which a straight axis shows one bar
_MOST_DIGITS = 12
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def date(seconds: float | None) -> str | None:
    """Seconds since 1970 as an ISO date, with the time where it is not midnight; None for None."""
    if seconds is None:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds:.0f} s"
    return moment.date().isoformat() if seconds % _DAY == 0 else moment.strftime("%Y-%m-%d %H:%M")


def plain(value: float, digits: int = 3) -> str:
    """Significant digits, three or more, without an exponent: 12,300 as 12.3k (SI prefixes from ten thousand on), 0.00012 as it is."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{float(mantissa):.{digits}g}·10^{int(exponent)}"
    unit, suffix = next(((u, s) for u, s in _UNITS if size >= u and float(f"{size:.{digits}g}") >= u), (1.0, ""))
    if suffix == "k":
        unit = 1e3
    exact = suffix or size < 1000 or digits > 3
    scaled = float(f"{value / unit:.{digits}g}") if exact else round(value)
    text = f"{scaled:.{digits + 6}f}".rstrip("0").rstrip(".") if isinstance(scaled, float) else str(scaled)
    return (text or "0").replace("-0", "0") + suffix if text in {"", "-0"} else text + suffix


def apart(values: Sequence[float]) -> list[str]:
    """Each as `plain` writes it, with as many digits as tell those apart that differ: 9.5826 and 9.5834, not 9.58 twice."""
    different = len(set(values))
    texts = (([plain(v, digits) for v in values]) for digits in range(3, _MOST_DIGITS + 1))
    return next((t for t in texts if len(set(t)) == different), [plain(v, _MOST_DIGITS) for v in values])


def texts_apart(first: float | None, second: float | None) -> tuple[str, str]:
    """Two numbers of a column as `value_text` writes them, with more digits where those would not tell them apart."""
    texts = [value_text("number", v) for v in (first, second)]
    if first is not None and second is not None and first != second and texts[0] == texts[1]:
        texts = apart((first, second))
    return texts[0], texts[1]


def change_text(before: float | None, after: float | None) -> str:
    """Two numbers of a column for a sentence: `6.04 → 6.96`."""
    return " → ".join(texts_apart(before, after))


def value_text(kind: str, value: float | None) -> str:
    """One value of a numeric or datetime column for a sentence."""
    if value is None:
        return "–"
    if kind == "datetime":
        return date(value) or "–"
    return (
        f"{value:,.0f}"
        if value == int(value) and abs(value) < 1e15
        else plain(value)
        if abs(value) < 10_000
        else f"{value:,.1f}"
    )


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `5 h 12 min`."""
    sign, left = "-" if seconds < 0 else "", abs(seconds)
    parts = list[str]()
    for size, unit in ((_DAY, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        count = int(left // size)
        if count and len(parts) < 2:
            parts.append(f"{count} {unit}")
            left -= count * size
    return sign + (" ".join(parts) or "0 s")


def histogram(base: ColumnProfile, new: ColumnProfile) -> tuple[list[str], list[float], list[float]]:
    """Labels and counts of both for a picture: values one by one when few, else bins on an axis that fits.

    A straight axis; with a long tail of values that are not negative a logarithmic one (zero has a bar of its own); with
    long tails otherwise the middle, and a bar at either end for what lies beyond.
    """
    if not base.edges:
        return [], [], []
    if base.points and len(base.edges) <= BARS:
        return _by_value(base, new)
    low = min(x for x in (base.minimum, new.minimum, base.edges[0]) if x is not None)
    high = max(x for x in (base.maximum, new.maximum, base.edges[-1]) if x is not None)
    inner, outer = _middle(base)
    if high <= low:
        cuts = [low, low + 1.0]
    elif base.kind == "datetime" or outer - inner >= _HEAVY * (high - low):
        cuts = [low + (high - low) * k / BARS for k in range(BARS + 1)]
    elif low >= 0:
        smallest = next((e for e in base.edges if e > 0), high)
        cuts = (
            [smallest * (high / smallest) ** (k / (BARS - 1)) for k in range(BARS)] if smallest < high else [0.0, high]
        )
        cuts = [low, *[c for c in cuts if c > low]]
    else:
        step = (outer - inner) / (BARS - 2) or (high - low) / (BARS - 2)
        cuts = [min(low, inner), *[inner + step * k for k in range(BARS - 1)], max(high, inner + step * BARS)]
    if base.kind == "integer":
        cuts = _with_whole_numbers(cuts)
    x, y = _spread(base, base.counts, cuts, low, high), _spread(base, new.counts, cuts, low, high)
    *names, end = _labels(base.kind, cuts, high - low)
    return [*names[:-1], f"{names[-1]} – {end}"], x, y


def _with_whole_numbers(cuts: Sequence[float]) -> list[float]:
    """Those cuts that leave a whole number in every bin: narrower ones would draw gaps between 1 and 2 where there are none."""
    wide = [cuts[0], cuts[1]]
    for cut in cuts[2:]:
        if math.floor(cut) > math.floor(wide[-1]):
            wide.append(cut)
    return [*wide[:-1], cuts[-1]]  # what is beyond the last whole number belongs to its bin


def _by_value(base: ColumnProfile, new: ColumnProfile) -> tuple[list[str], list[float], list[float]]:
    kind, span = base.kind, base.edges[-1] - base.edges[0]
    names = _labels(kind, base.edges, span)
    x, y = [float(c) for c in base.counts[: len(names)]], [float(c) for c in new.counts[: len(names)]]
    if new.below:
        names, x, y = [f"< {names[0]}", *names], [0.0, *x], [float(new.below), y[0] - new.below, *y[1:]]
    if new.counts[-1]:
        names, x, y = [*names, f"> {names[-1]}"], [*x, 0.0], [*y, float(new.counts[-1])]
    return names, x, y


def _labels(kind: str, values: Sequence[float], span: float) -> list[str]:
    if kind != "datetime":
        return apart(values)
    texts = [date(v) or "" for v in values]
    return [t[5:16] if span < 3 * _DAY else t[:10] for t in texts]


def _middle(base: ColumnProfile) -> tuple[float, float]:
    """Edges that leave about 1/64 of the reference's rows on either side."""
    total, running, low, high = sum(base.counts), 0, base.edges[0], base.edges[-1]
    for edge, count in zip(base.edges, base.counts, strict=False):
        before, running = running, running + count
        if before * 64 < total <= running * 64:
            low = edge
        if before * 64 < 63 * total <= running * 64:
            high = edge
    return low, high


def _spread(base: ColumnProfile, counts: Sequence[int], cuts: list[float], low: float, high: float) -> list[float]:
    """Counts between the profile's edges as counts between the cuts: evenly within a bin, or at the point."""
    bars = [0.0] * (len(cuts) - 1)
    ends = [low, *base.edges, high]
    for i, (start, end) in enumerate(pairwise(ends)):
        if i >= len(counts) or not counts[i]:
            continue
        if base.points or end <= start:
            at = next((k for k in range(len(bars)) if end <= cuts[k + 1]), len(bars) - 1)
            bars[at] += counts[i]
            continue
        for k, (left, right) in enumerate(pairwise(cuts)):
            overlap = min(end, right) - max(start, left)
            if overlap > 0:
                bars[k] += counts[i] * overlap / (end - start)
    return bars
