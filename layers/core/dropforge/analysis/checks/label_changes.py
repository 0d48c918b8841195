"""Whether the labels tell less of the features than they did: one directed test over all features.

Labels swapped, filled in or shifted by a row change no column and weaken every feature's tie to the target alike. In the table
feature × label × file, with all two-way margins fitted (no three-way interaction, pairs.fit), the score test of the direction

    s(value, label) = ln(rows / rows expected of independent columns), both files together

asks whether the new file has fewer rows than expected where value and label belong together (a one degree of freedom test of
interaction, as linear by linear association; Agresti 2013, §2.5 and §7.2). s depends on both files together only, so that
under no change it does not know which row is whose.

The features' scores are added up. Their variances add up with the correlations of the features, of which Cramér's φ (the
root of the sum of all squared canonical correlations) is an upper bound: the test errs to the side of no change.
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
_SOME, _MANY = 0.02, 0.06  # fraction of labels from which the change asks for attention, and decides


@dataclass(frozen=True, slots=True)
class Weakening:
    """One feature: its score (negative: the tie is weaker now) and the score's variance.

    `lost`: by how much the mean of s fell from file to file, margins apart, `error` its standard error; `tie`: by how much the
    reference's mean exceeds that of labels drawn at random, so that lost / tie is the fraction of labels that were.
    """

    feature: str
    score: float
    variance: float
    lost: float = 0.0
    error: float = 0.0
    tie: float = 0.0


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
    together = _together(measured, bounds)
    first = min(measured, key=lambda w: w.score / math.sqrt(w.variance))
    if _lone(first, measured, bounds):
        p = 2 * len(measured) * _below(first.score / math.sqrt(first.variance))
        yield Tested(min(1.0, p), _of_feature(first, target, min(1.0, p)))
        return
    p = _below(together.z)
    yield Tested(p, _of_labels(measured, target, min(1.0, max(0.0, together.fraction)), p))


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
    across = [sum(a[r : r + width]) for r in range(0, len(a), width)]
    down = [sum(a[c::width]) for c in range(width)]
    score = sum(x * (now - fit) for x, now, fit in zip(s, b, fitted_b, strict=True))
    variance = sum(w * x * x for w, x in zip(weights, s, strict=True))
    chance = sum(s[r * width + c] * v * k for r, v in enumerate(across) for c, k in enumerate(down)) / n / n
    return Weakening(
        before.first,
        score,
        variance,
        lost=-score * (1 / n + 1 / m),
        error=math.sqrt(variance) * (1 / n + 1 / m),
        tie=sum(x * c for x, c in zip(s, a, strict=True)) / n - chance,
    )


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
    """Of the sum of the scores, at most. Features whose pair was not counted are taken as one."""
    total = sum(w.variance for w in measured)
    for i, one in enumerate(measured):
        for other in measured[:i]:
            bound = bounds.get(frozenset((one.feature, other.feature)), 1.0)
            total += 2 * bound * math.sqrt(one.variance * other.variance)
    return total
