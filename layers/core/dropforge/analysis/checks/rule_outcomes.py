"""What the rules of settings say about an upload: pass rates beside those of earlier uploads, and which rule moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from dropforge.analysis.report_model import Finding, RuleOutcome

_SPREAD_FROM = 3  # earlier uploads from which it is known how much their pass rates vary


def compared(
    outcomes: Sequence[RuleOutcome], earlier: Sequence[Mapping[str, tuple[int, int]]]
) -> tuple[RuleOutcome, ...]:
    """The outcomes beside those of earlier uploads (by rule rows and violations, oldest first)."""
    result = []
    for outcome in outcomes:
        runs = [r[outcome.name] for r in earlier if r.get(outcome.name, (0, 0))[0]]
        rates = tuple(1 - bad / rows for rows, bad in runs)
        result.append(outcome.model_copy(update={"before": rates, "z": _change(outcome, runs)}))
    return tuple(result)


def _change(outcome: RuleOutcome, runs: Sequence[tuple[int, int]]) -> float | None:
    """Difference of the shares of violations in standard errors: the two-proportion z statistic with the pooled share, its
    variance enlarged by that of earlier uploads among each other where there are enough of them.
    """
    rows = sum(n for n, _ in runs)
    if not rows or not outcome.rows:
        return None
    bad = sum(b for _, b in runs)
    pooled = (bad + outcome.violations) / (rows + outcome.rows)
    variance = pooled * (1 - pooled) * (1 / rows + 1 / outcome.rows)
    if len(runs) >= _SPREAD_FROM:
        shares = [b / n for n, b in runs]
        mean = sum(shares) / len(shares)
        variance += sum((s - mean) ** 2 for s in shares) / (len(shares) - 1)
    difference = outcome.violations / outcome.rows - bad / rows
    return difference / math.sqrt(variance) if variance else 0.0


def findings(outcomes: Sequence[RuleOutcome]) -> Iterator[Finding]:
    """Rules with more violations than they tolerate, and those whose share of violations moved."""
    for o in outcomes:
        if o.exceeded:
            yield _exceeded(o)
        if o.moved and o.z is not None:
            yield _moved(o, o.z)


def _exceeded(o: RuleOutcome) -> Finding:
    limit = f"; {o.tolerance:.2%} are tolerated" if o.tolerance else ""
    blocks = o.action == "block"
    return Finding(
        kind="rule_violated",
        severity="critical" if blocks else "warn",
        columns=o.columns,
        title=f"{o.violations:,} row{'s' if o.violations != 1 else ''} violate{'' if o.violations != 1 else 's'} the rule {o.name}",
        evidence=f"expected: {o.expect}; {o.violations / o.rows:.2%} of {o.rows:,} rows are otherwise{limit}",
        suggestion="Correct the rows at their source and upload again"
        + (", or change the rule's action: it blocks." if blocks else "; or quarantine them: action: quarantine."),
        weight=9 if blocks else 6,
    )


def _moved(o: RuleOutcome, z: float) -> Finding:
    before = o.before[-1]
    return Finding(
        kind="rule_moved",
        severity="warn" if z > 0 else "info",
        columns=o.columns,
        title=f"{'Fewer' if z > 0 else 'More'} rows pass the rule {o.name} than in earlier uploads",
        evidence=f"{o.pass_rate:.2%} of {o.rows:,} rows, {before:.2%} in the upload before; expected: {o.expect}; z = {z:+.1f}",
        suggestion="Look at what changed at the source of these columns."
        if z > 0
        else "Nothing to do unless it surprises you.",
        weight=5 if z > 0 else 1,
        change=True,
    )
