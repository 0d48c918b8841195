"""Two-sample statistics from counts. Standard library only; checked against scipy in the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MEAN_ABS_NORMAL = math.sqrt(2 / math.pi)  # E|Z| of a standard normal


def p_value_text(p: float | None) -> str:
    """`p = 0.0031`, as findings say it. A number that fell below what a float holds is no zero: `p < 1e-300`."""
    if p is None:
        return "not tested"
    return f"p = {p:.2g}" if p >= 1e-300 else "p < 1e-300"


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Two-sided two-sample Kolmogorov-Smirnov p-value, asymptotic with Stephens' small-sample correction.

    Q(λ) = 2 Σ (-1)^(k-1) exp(-2 k² λ²), λ = (√e + 0.12 + 0.11/√e) D, e = nm/(n+m) (Numerical Recipes §14.3.3).
    """
    if statistic <= 0 or not n or not m:
        return 1.0
    root = math.sqrt(n * m / (n + m))
    lam = (root + 0.12 + 0.11 / root) * statistic
    if lam < 0.2:
        return 1.0
    total: float = sum((-1.0) ** (k - 1) * math.exp(-2 * k * k * lam * lam) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def chi2_sf(x: float, df: int) -> float:
    """Survival function of chi-square: the regularised upper incomplete gamma Q(df/2, x/2).

    Series below a+1, Lentz's continued fraction above (Numerical Recipes §6.2).
    """
    if x <= 0 or df <= 0:
        return 1.0
    a, z = df / 2, x / 2
    scale = math.exp(-z + a * math.log(z) - math.lgamma(a))
    if z < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-15:
            n += 1
            term *= z / n
            total += term
        return max(0.0, 1 - total * scale)
    tiny = 1e-300
    b = z + 1 - a
    c, d = 1 / tiny, 1 / b
    h = d
    for i in range(1, 10_000):
        an = -i * (i - a)
        b += 2
        d = an * d + b
        d = 1 / (d if abs(d) > tiny else tiny)
        c = b + an / c
        c = c if abs(c) > tiny else tiny
        delta = d * c
        h *= delta
        if abs(delta - 1) < 1e-15:
            break
    return min(1.0, max(0.0, scale * h))


def chi2_contingency(reference: Sequence[float], new: Sequence[float]) -> tuple[float, int, float]:
    """Chi-square test of homogeneity of two count vectors over the same categories: (statistic, df, p).

    Both samples are random (the reference is not treated as exact). Categories whose expected count in the smaller
    sample is under five are pooled, smallest first (Cochran's rule); without two categories left p is 1.
    """
    n, m = sum(reference), sum(new)
    if not n or not m:
        return 0.0, 0, 1.0
    share = min(n, m) / (n + m)
    pairs = sorted(zip(reference, new, strict=True), key=sum)
    pooled: list[tuple[float, float]] = []
    r0 = c0 = 0.0
    for r, c in pairs:
        if (r + c) * share < 5:
            r0, c0 = r0 + r, c0 + c
        else:
            pooled.append((r, c))
    if r0 + c0:
        if (r0 + c0) * share >= 5 or not pooled:
            pooled.append((r0, c0))
        else:
            r, c = pooled[0]
            pooled[0] = (r + r0, c + c0)
    if len(pooled) < 2:
        return 0.0, 0, 1.0
    statistic = 0.0
    for r, c in pooled:
        total = r + c
        er, ec = total * n / (n + m), total * m / (n + m)
        statistic += (r - er) ** 2 / er + (c - ec) ** 2 / ec
    df = len(pooled) - 1
    return statistic, df, chi2_sf(statistic, df)


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which hypotheses are rejected with the false discovery rate held at `rate` (Benjamini & Hochberg 1995)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    last = 0
    for rank, i in enumerate(order, 1):
        if p_values[i] <= rate * rank / len(p_values):
            last = rank
    rejected = {order[k] for k in range(last)}
    return [i in rejected for i in range(len(p_values))]


def weighted_benjamini_hochberg(p_values: Sequence[float], weights: Sequence[float], rate: float) -> list[bool]:
    """Which hypotheses are rejected with the false discovery rate held at `rate`, some counting for more than others.

    Every p-value is divided by its weight, the weights scaled to a mean of one; weights must not depend on the p-values
    (Genovese, Roeder & Wasserman 2006).
    """
    mean = sum(weights) / len(weights) if weights else 1.0
    return benjamini_hochberg([p * mean / w for p, w in zip(p_values, weights, strict=True)], rate)


def fraction_p_value(a: int, n: int, b: int, m: int) -> float:
    """Two-sided p-value that `a` of n and `b` of m are the same fraction.

    Chi-square of the 2 × 2 table; where a cell expects fewer than five rows, Fisher's exact test, the smaller tail doubled.
    """
    if not n or not m or not a + b or a + b == n + m:
        return 1.0
    smallest = min(n, m) * min(a + b, n + m - a - b) / (n + m)
    if smallest >= 5:
        statistic = (n + m) * (a * (m - b) - b * (n - a)) ** 2 / (n * m * (a + b) * (n + m - a - b))
        return chi2_sf(statistic, 1)
    upper, lower = hypergeometric_sf(b, a + b, n, m), hypergeometric_sf(a, a + b, m, n)
    return min(1.0, 2 * min(upper, lower))


def hypergeometric_sf(b: int, total: int, n: int, m: int) -> float:
    """P(at least `b` of `total` marked rows are among the m of n + m rows), every allocation being as likely.

    Exact while few rows are marked, or few are not; else one-sided chi-square of the 2 × 2 table.
    """
    if b <= max(0, total - n):
        return 1.0
    if b > min(total, m):
        return 0.0
    if min(total, n + m - total) * min(n, m) / (n + m) >= 25:
        share, z = m / (n + m), b - 0.5
        spread = math.sqrt(total * share * (1 - share) * (n + m - total) / max(1, n + m - 1))
        return 0.5 * math.erfc((z - total * share) / spread / math.sqrt(2))
    whole = _log_choose(n + m, total)
    p = 0.0
    for k in range(b, min(total, m) + 1):
        term = math.exp(_log_choose(m, k) + _log_choose(n, total - k) - whole)
        p += term
        if term < p * 1e-12:
            break
    return min(1.0, p)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def exceedance_p_value(k: int, n: int, m: int) -> float:
    """P(at least `k` of m new values lie above all n reference values) without any change, whatever the distribution.

    Π (m-i)/(n+m-i), i < k: Rosenbaum's test (1954); ties make it smaller, so the test stays valid.
    """
    p = 1.0
    for i in range(min(k, m)):
        p *= (m - i) / (n + m - i)
        if p < 1e-300:
            return 0.0
    return p


def gap_p_value(far: Sequence[float], near: Sequence[float]) -> float:
    """P(values beyond a limit lie as far beyond it as these), their number given, for a Pareto tail.

    far: all values above the limit. near: the largest ones up to it, the limit first, all positive. Distances ln(x / limit) beyond
    any limit of a Pareto tail are exponential with one mean (Hill 1975), so that the sum of k of them, divided by that of the m
    values above the last one of `near`, has an F distribution with 2k and 2m degrees of freedom; as sums of exponentials, by
    counts of a negative binomial. A lighter tail makes the distances beyond a higher limit smaller, so that the test errs to the
    side of chance. 1 where there is nothing to compare.
    """
    k, m = len(far), len(near) - 1
    if not k or m < 1 or near[-1] <= 0 or near[0] <= near[-1] or min(far) <= near[0]:
        return 1.0
    known = sum(math.log(x / near[-1]) for x in near[:-1])
    beyond = sum(math.log(x / near[0]) for x in far)
    log_share, log_rest = math.log(beyond / (beyond + known)), m * math.log(known / (beyond + known))
    return min(1.0, sum(math.exp(_log_choose(m + j - 1, j) + j * log_share + log_rest) for j in range(k)))


def both(first: float, second: float) -> float:
    """p-value of two independent ones together: their product's distribution (Fisher 1925)."""
    product = first * second
    return product * (1 - math.log(product)) if product > 0 else 0.0


_NEWTON, _NEAR = 60, 1e-7  # most steps, and a relative step that ends them: the bound's error is the square of it


def allocation_p_value(outcomes: Sequence[tuple[int, Sequence[tuple[float, float]]]], observed: float) -> float:
    """Upper bound of P(sum ≥ observed), the sum of independent parts given as (how many alike, [(value, log probability)]).

    Chernoff's bound, min over s of exp(-s·observed) Π E exp(s·value): never too small, so that a test by it is valid for
    the rarest values as well.
    """
    mean = sum(count * sum(v * math.exp(p) for v, p in part) for count, part in outcomes)
    if observed <= mean:
        return 1.0
    largest = max((v for _, part in outcomes for v, _ in part), default=1.0) or 1.0

    def tilted(s: float) -> tuple[float, float, float]:
        """The exponent of the bound at s, its first derivative and its second, which is never negative."""
        total, slope, curve = -s * observed, -observed, 0.0
        for count, part in outcomes:
            powers = [s * v + p for v, p in part]
            top = max(powers)
            weights = [math.exp(x - top) for x in powers]
            whole = sum(weights)
            first = sum(w * v for w, (v, _) in zip(weights, part, strict=True)) / whole
            second = sum(w * (v - first) ** 2 for w, (v, _) in zip(weights, part, strict=True)) / whole
            total += count * (top + math.log(whole))
            slope += count * first
            curve += count * second
        return total, slope, curve

    low, high = 0.0, 40.0 / largest
    while tilted(high)[1] < 0 and high < 700.0:
        high *= 2
    s = low
    for _ in range(_NEWTON):
        _, slope, curve = tilted(s)
        low, high = (s, high) if slope < 0 else (low, s)
        # Newton's step, where it stays between the two; else half of the way.
        after = s - slope / curve if curve > 0 else high
        after = after if low < after < high else (low + high) / 2
        near, s = abs(after - s) <= _NEAR * after, after
        if near:
            break
    return min(1.0, math.exp(min(0.0, tilted(s)[0])))


def exclusive_p_value(totals: Sequence[int], observed: int, fraction: float) -> float:
    """P(at least `observed` rows have values that occur in the new sample alone), given how often each value occurs in both.

    A value of t rows falls wholly into a sample that has `fraction` of all rows with probability fraction^t: the exact
    counterpart of Good and Turing's estimate of the mass of unseen values (Good 1953), valid for any number of rows.
    """
    parts: dict[int, int] = {}
    for t in totals:
        parts[t] = parts.get(t, 0) + 1
    outcomes = [
        (count, ((float(t), t * math.log(fraction)), (0.0, math.log1p(-(fraction**t))))) for t, count in parts.items()
    ]
    return allocation_p_value(outcomes, observed)


_EXACT_REPEATS = 60  # rows alike up to which their allocation is enumerated


def repeats_p_value(totals: Sequence[int], observed: int, fraction: float) -> float:
    """P(at least `observed` rows repeat an earlier row of their sample), given how often each distinct row occurs in both."""
    parts: dict[int, int] = {}
    for t in totals:
        parts[t] = parts.get(t, 0) + 1
    outcomes = []
    for t, count in parts.items():
        points = range(t + 1) if t <= _EXACT_REPEATS else _around(t, fraction)
        chances = [_log_choose(t, k) + k * math.log(fraction) + (t - k) * math.log1p(-fraction) for k in points]
        outcomes.append((count, [(max(0.0, k - 1.0), p) for k, p in zip(points, chances, strict=True)]))
    return allocation_p_value(outcomes, observed)


def _around(t: int, fraction: float) -> range:
    """The numbers of t rows that a sample gets with any chance worth counting: eight deviations about the mean."""
    mean, spread = t * fraction, math.sqrt(t * fraction * (1 - fraction))
    return range(max(0, int(mean - 8 * spread)), min(t, int(mean + 8 * spread) + 1) + 1)


def shares(counts: Sequence[float]) -> list[float]:
    """Counts as fractions of their sum; zeros when the sum is 0."""
    total = sum(counts)
    return [c / total for c in counts] if total else [0.0] * len(counts)


def total_variation(reference: Sequence[float], new: Sequence[float]) -> float:
    """Half the sum of absolute differences of the shares, 0 to 1."""
    return sum(abs(a - b) for a, b in zip(shares(reference), shares(new), strict=True)) / 2


def total_variation_null(reference: Sequence[float], new: Sequence[float]) -> float:
    """Mean total variation between two samples of these sizes from the pooled distribution (normal approximation)."""
    n, m = sum(reference), sum(new)
    if not n or not m:
        return 0.0
    pooled = shares([a + b for a, b in zip(reference, new, strict=True)])
    spread = math.sqrt(1 / n + 1 / m)
    return sum(_MEAN_ABS_NORMAL * math.sqrt(p * (1 - p)) * spread for p in pooled) / 2


def _cumulative(counts: Sequence[float]) -> list[float]:
    total, out = 0.0, []
    for s in shares(counts):
        total += s
        out.append(total)
    return out


def ks_statistic(reference: Sequence[float], new: Sequence[float]) -> float:
    """Largest difference of the two distribution functions at the bins' upper edges: at most the exact statistic."""
    return max((abs(a - b) for a, b in zip(_cumulative(reference), _cumulative(new), strict=True)), default=0.0)


def wasserstein(reference: Sequence[float], new: Sequence[float], widths: Sequence[float], scale: float) -> float:
    """∫|F - G| dx / scale from counts in bins of these widths (distance between neighbouring points, one fewer than bins)."""
    f, g = _cumulative(reference), _cumulative(new)
    return sum(abs(a - b) * w for a, b, w in zip(f, g, widths, strict=False)) / scale if scale > 0 else 0.0


def wasserstein_null(reference: Sequence[float], new: Sequence[float], widths: Sequence[float], scale: float) -> float:
    """Its mean for two samples of these sizes from the pooled distribution: ∫ √(2/π) √(F(1-F)(1/n+1/m)) dx / scale."""
    n, m = sum(reference), sum(new)
    if not n or not m or scale <= 0:
        return 0.0
    pooled = _cumulative([a + b for a, b in zip(reference, new, strict=True)])
    spread = math.sqrt(1 / n + 1 / m)
    return (
        sum(
            _MEAN_ABS_NORMAL * math.sqrt(max(0.0, p * (1 - p))) * spread * w
            for p, w in zip(pooled, widths, strict=False)
        )
        / scale
    )


def psi(reference: Sequence[float], new: Sequence[float]) -> float:
    """Population stability index, Σ (q-p) ln(q/p), with half a row added to every bin so that none is empty."""
    k = len(reference)
    n, m = sum(reference) + k / 2, sum(new) + k / 2
    pairs = [((a + 0.5) / n, (b + 0.5) / m) for a, b in zip(reference, new, strict=True)]
    return sum((q - p) * math.log(q / p) for p, q in pairs)


def smallest_detectable_shift(n: int, m: int) -> float:
    """Shift of a normal column, in standard deviations, that a KS test at 5 % finds with 80 % power.

    The largest difference of two normal distribution functions d apart is near d·φ(0); the test needs about
    1.9·√(1/n+1/m) of it (critical value 1.358 plus 0.84 of the statistic's spread of about 0.6).
    """
    return 4.8 * math.sqrt(1 / n + 1 / m) if n and m else math.inf


def smallest_detectable_variation(n: int, m: int, categories: int) -> float:
    """Total variation that a chi-square test at 5 % finds with 80 % power, the change spread evenly.

    Cohen's w = √(λ/N), N = nm/(n+m), λ ≈ 7.85 + 2.2·√(df-1) for 80 % power (Cohen 1988, tables 7.3); an even change
    has total variation w/2.
    """
    if not n or not m or categories < 2:
        return math.inf
    df = categories - 1
    return math.sqrt((7.85 + 2.2 * math.sqrt(df - 1)) * (n + m) / (n * m)) / 2
