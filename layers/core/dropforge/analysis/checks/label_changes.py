"""Whether the labels tell less of the features than they did: one directed test over all features.

Labels swapped, filled in or shifted by a row change no column and weaken every feature's tie to the target alike. In the table
feature × label × file, with all two-way margins fitted (no three-way interaction, pairs.fit), the score test of the direction

    s(value, label) = ln(rows / rows expected of independent columns), both files together

asks whether the new file has fewer rows than expected where value and label belong together (a one degree of freedom test of
interaction, as linear by linear association; Agresti 2013, §2.5 and §7.2). s depends on both files together only, so that
under no change it does not know which row is whose.

The features' scores are added up. Their variances add up with the correlations of the features, of which Cramér's φ (the
root of the sum of all squared canonical correlations) is an upper bound: the test errs to the side of no change. Where the
features are much alike the sum is no more than their mean, which weak ones dilute. So the strongest are added up alone as well,
as many as promise the most power, which depends on both files together only: labels drawn at random take from each score in
proportion to its strength. The smaller of the two p-values counts, doubled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from dropforge.analysis import column_pairs
from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.silent_changes import Tested
from dropforge.analysis.column_pairs import Pair, Pairs
from dropforge.analysis.report_model import Finding, Severity

_SWEEPS = 20
_NOTHING = 1e-6  # of a score of the size of one
_MOST = 60  # features whose correlations are looked at, those with the largest variance
Bounds = Mapping[frozenset[str], float]  # by two features
_CLEARER = 1.1  # by how much more power a part of the features must promise than all
_SOME, _MANY = 0.02, 0.06  # fraction of labels from which the change asks for attention, and decides


@dataclass(frozen=True, slots=True)
class Weakening:
    """One feature: its score (negative: the tie is weaker now) and the score's variance.

    `lost`: by how much the mean of s fell from file to file, margins apart, `error` its standard error; `tie`: by how much the
    reference's mean exceeds that of labels drawn at random, so that lost / tie is the fraction of labels that were. `strength`:
    the same excess in both files together.
    """

    feature: str
    score: float
    variance: float
    lost: float = 0.0
    error: float = 0.0
    tie: float = 0.0
    strength: float = 0.0


@dataclass(frozen=True, slots=True)
class _Total:
    """Of several features together. `z`: standard normal when nothing changed, or nearer to 0."""

    z: float
    fraction: float
    error: float


def weakened(reference: Pairs, new: Pairs, target: str, features: set[str]) -> Iterator[Tested]:
    """The one hypothesis that the labels of `target` are tied to the `features` as they were, when there is any such tie."""
    known = {(p.first, p.second): p for p in new.pairs}
    measured = []
    for before in reference.pairs:
        after, axis = known.get((before.first, before.second)), reference.axis(before.second)
        if before.second != target or before.first not in features or after is None or axis is None:
            continue
        if len(after.counts) == len(before.counts):
            measured.append(_weakening(before, after, axis.size))
    measured = sorted((w for w in measured if w.variance > 0), key=lambda w: -w.variance)[:_MOST]
    if not measured:
        return
    bounds = _bounds([w.feature for w in measured], reference, new)
    first = min(measured, key=lambda w: w.score / math.sqrt(w.variance))
    if _lone(first, measured, bounds):
        p = 2 * len(measured) * _below(first.score / math.sqrt(first.variance))
        yield Tested(min(1.0, p), _of_feature(first, target, min(1.0, p)))
        return
    leading = _leading(measured, bounds)
    sums = [_together(measured, bounds), *([_together(leading, bounds)] if len(leading) < len(measured) else [])]
    clearest = min(sums, key=lambda s: s.z)
    p = min(1.0, len(sums) * _below(clearest.z))
    yield Tested(p, _of_labels(measured, target, min(1.0, max(0.0, clearest.fraction)), p))


def _leading(measured: Sequence[Weakening], bounds: Bounds) -> list[Weakening]:
    """The strongest features, as many as make their sum's strength largest in units of its standard deviation; all of them
    where that is hardly more than of all.
    """
    ordered = sorted(measured, key=lambda w: -w.strength / math.sqrt(w.variance))
    strength, variance, powers = 0.0, 0.0, list[float]()
    for i, one in enumerate(ordered):
        strength += one.strength
        variance += one.variance + _shared(one, ordered[:i], bounds)
        powers.append(strength / math.sqrt(variance))
    best = max(powers)
    return ordered[: powers.index(best) + 1] if best > _CLEARER * powers[-1] else ordered


def _below(z: float) -> float:
    """P(a standard normal is at most z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _lone(first: Weakening, measured: Sequence[Weakening], bounds: Bounds) -> bool:
    """Whether one feature lost its tie and the others, for all they can tell, did not: that is no matter of the labels."""
    others = [w for w in measured if w is not first]
    if not others or first.tie <= 0:
        return False
    rest, own = _together(others, bounds), first.lost / first.tie
    return rest.fraction + 2 * rest.error < own and rest.fraction < own / 2


def _together(measured: Sequence[Weakening], bounds: Bounds) -> _Total:
    deviation = math.sqrt(_variance(measured, bounds))
    tie = sum(w.tie for w in measured)
    if tie <= 0:
        return _Total(sum(w.score for w in measured) / deviation, 0.0, math.inf)
    scale = measured[0].error / math.sqrt(measured[0].variance)
    return _Total(
        sum(w.score for w in measured) / deviation, sum(w.lost for w in measured) / tie, deviation * scale / tie
    )


def _of_labels(measured: Sequence[Weakening], target: str, fraction: float, p: float) -> Finding:
    severity: Severity = "critical" if fraction >= _MANY else "warn" if fraction >= _SOME else "info"
    weaker = sum(w.score < 0 for w in measured)
    return Finding(
        kind="labels_weakened",
        severity=severity,
        columns=(target,),
        title=f"The labels in {target} are noisier than before",
        evidence=(
            f"{weaker} of {len(measured)} features are tied to {target} less than in the reference, as if "
            f"{fraction:.1%} of the labels were drawn at random; {st.p_value_text(p)}"
        ),
        suggestion=f"Have labels been swapped or filled in? Check {target} against its source before training.",
        weight=8 if severity == "critical" else 4,
        change=True,
    )


def _of_feature(lost: Weakening, target: str, p: float) -> Finding:
    return Finding(
        kind="target_association",
        severity="info",
        columns=(lost.feature, target),
        title=f"{lost.feature} is tied to {target} less than it was",
        evidence=f"as if {min(1.0, lost.lost / lost.tie):.1%} of its values were drawn at random; {st.p_value_text(p)}",
        suggestion=f"Was {lost.feature} joined, shifted or recoded on its own? Compare a few rows with the source.",
        weight=2,
        change=True,
    )


def _weakening(before: Pair, after: Pair, width: int) -> Weakening:
    """Rows without a label (the first column of the table) take no part."""
    cells = [k for k in range(len(before.counts)) if k % width]
    a, b = [before.counts[k] for k in cells], [after.counts[k] for k in cells]
    width -= 1
    n, m = sum(a), sum(b)
    if not n or not m:
        return Weakening(before.first, 0.0, 0.0)
    fitted_a, fitted_b = column_pairs.fit(a, b, width)
    weights = [x * y / (x + y) if x + y > 0 else 0.0 for x, y in zip(fitted_a, fitted_b, strict=True)]
    s = _without_margins(_direction([x + y for x, y in zip(a, b, strict=True)], width), weights, width)
    score = sum(x * (now - fit) for x, now, fit in zip(s, b, fitted_b, strict=True))
    variance = sum(w * x * x for w, x in zip(weights, s, strict=True))
    return Weakening(
        before.first,
        score,
        variance,
        lost=-score * (1 / n + 1 / m),
        error=math.sqrt(variance) * (1 / n + 1 / m),
        tie=_excess(s, a, width),
        strength=_excess(s, [x + y for x, y in zip(a, b, strict=True)], width),
    )


def _excess(s: Sequence[float], counts: Sequence[int], width: int) -> float:
    """By how much the mean of s exceeds that of independent columns with these margins."""
    total = sum(counts)
    across = [sum(counts[r : r + width]) for r in range(0, len(counts), width)]
    down = [sum(counts[c::width]) for c in range(width)]
    chance = sum(s[r * width + c] * v * k for r, v in enumerate(across) for c, k in enumerate(down)) / total / total
    return sum(x * c for x, c in zip(s, counts, strict=True)) / total - chance


def _direction(counts: Sequence[int], width: int) -> list[float]:
    """s of every cell; half a row is added so that an empty cell has one too."""
    total = sum(counts)
    across = [sum(counts[r : r + width]) for r in range(0, len(counts), width)]
    down = [sum(counts[c::width]) for c in range(width)]
    s = []
    for k, count in enumerate(counts):
        expected = across[k // width] * down[k % width] / total
        s.append(math.log((count + 0.5) / (expected + 0.5)) if expected else 0.0)
    return s


def _without_margins(s: Sequence[float], weights: Sequence[float], width: int) -> list[float]:
    """What of s no effect of a row or a column explains: weighted means taken off in turn until nothing is left of them."""
    left = list(s)
    lines = [range(r, r + width) for r in range(0, len(s), width)] + [range(c, len(s), width) for c in range(width)]
    for _ in range(_SWEEPS):
        furthest = 0.0
        for line in lines:
            whole = sum(weights[k] for k in line)
            if whole <= 0:
                continue
            mean = sum(weights[k] * left[k] for k in line) / whole
            furthest = max(furthest, abs(mean))
            for k in line:
                left[k] -= mean
        if furthest < _NOTHING:
            break
    return left


def _bounds(features: Sequence[str], reference: Pairs, new: Pairs) -> Bounds:
    """Of every two features that were counted as a pair: what no correlation of their scores exceeds."""
    sizes = {a.name: a.size for a in reference.axes}
    counted = {frozenset((p.first, p.second)): p for p in reference.pairs}
    now = {frozenset((p.first, p.second)): p for p in new.pairs}
    bounds = dict[frozenset[str], float]()
    for both in map(frozenset, combinations(features, 2)):
        before, after = counted.get(both), now.get(both)
        if before is not None and after is not None and len(before.counts) == len(after.counts):
            counts = [x + y for x, y in zip(before.counts, after.counts, strict=True)]
            bounds[both] = min(1.0, column_pairs.phi(counts, sizes[before.second]))
    return bounds


def _variance(measured: Sequence[Weakening], bounds: Bounds) -> float:
    """Of the sum of the scores, at most."""
    return sum(one.variance + _shared(one, measured[:i], bounds) for i, one in enumerate(measured))


def _shared(one: Weakening, others: Sequence[Weakening], bounds: Bounds) -> float:
    """What `one` adds to the variance of the others' sum beyond its own, at most: features not counted as a pair are taken as one."""
    return sum(
        2 * bounds.get(frozenset((one.feature, o.feature)), 1.0) * math.sqrt(one.variance * o.variance) for o in others
    )
