"""From facts to findings: what a person should know, with the evidence and one concrete thing to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks import column_checks, columns_changed, personal_data, row_checks, rule_outcomes
from dropforge.analysis.checks.column_checks import CheckedColumn
from dropforge.analysis.data_profile import ColumnProfile, Profile
from dropforge.analysis.profile_comparison import Comparison
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import ColumnReport, Finding, Intake, Severity, Verdict
from dropforge.config.settings import AnalysisSettings, DataSettings

_SEVERE_TARGET = 0.2  # corrected total variation of the target
_ORDER: dict[Severity, int] = {"critical": 0, "warn": 1, "info": 2}
_SPARSE = "too few rows to compare: no column could show a moderate change"
_DRIFT_LIKE = {"drift", "target_drift", "target_drift_severe"}


def findings(
    reference: Profile | None,
    new: Profile,
    comparison: Comparison,
    intake: Intake,
    data: DataSettings,
    settings: AnalysisSettings,
) -> list[Finding]:
    """Every finding about the file and its single columns."""
    document = {c for f in comparison.changes for c in f.columns if f.kind == "outliers"}
    return [
        *columns_changed.findings(reference, intake, data),
        *rule_outcomes.findings(intake.rules),
        *(f for c in comparison.columns for f in _column(c, new, reference, settings, document)),
        *comparison.changes,
        *row_checks.findings(
            reference, new, intake, repeats=not any(f.kind == "duplicates" for f in comparison.changes)
        ),
        *personal_data.findings(reference, new, data),
    ]


def ranked(found: list[Finding]) -> tuple[Finding, ...]:
    """The weightiest first, within each severity."""
    return tuple(sorted(found, key=lambda f: (_ORDER[f.severity], -f.weight)))


def verdict(
    found: tuple[Finding, ...], columns: Sequence[ColumnReport], settings: AnalysisSettings, *, has_reference: bool
) -> Verdict:
    """block if any finding is of a kind in settings.analysis.block_on, else warn likewise, else pass.

    A rule of the settings says itself what its violations do, also in the first upload.
    """
    title = _headline(found, columns, has_reference=has_reference)
    blocking = tuple(f.title for f in found if f.kind == "rule_violated" and f.severity == "critical")
    if blocking:
        return Verdict(word="block", reasons=blocking, headline=title)
    if not has_reference:
        first = "first accepted upload: it is the reference from now on"
        return Verdict(word="reference", reasons=(first,), headline=title)
    for word, kinds in (("block", settings.block_on), ("warn", (*settings.warn_on, "rule_violated"))):
        reasons = tuple(f.title for f in found if _counts(f, kinds))
        if reasons:
            return Verdict(word="block" if word == "block" else "warn", reasons=reasons, headline=title)
    reasons = tuple(f.title for f in found if f.severity != "info" or f.change)
    if not reasons:
        reasons = (_SPARSE if _is_sparse(columns) else f"no difference from the reference in {len(columns)} columns",)
    return Verdict(word="pass", reasons=reasons, headline=title)


def _counts(finding: Finding, kinds: Sequence[str]) -> bool:
    """A change of few rows (information) of a kind that warns does not warn."""
    if finding.change and finding.severity == "info":
        return False
    return finding.kind in kinds or (finding.kind in _DRIFT_LIKE and "drift" in kinds)


def _is_sparse(columns: Sequence[ColumnReport]) -> bool:
    """No column could show a moderate change with so few rows."""
    outcomes = {c.outcome for c in columns} - {"not_compared"}
    return outcomes == {"insufficient_data"}


def _headline(found: Sequence[Finding], columns: Sequence[ColumnReport], *, has_reference: bool) -> str:
    """`No issues found` only where there is none: every warning is counted, and every change of few rows."""
    counts = (
        ("problem", sum(f.severity == "critical" for f in found)),
        ("warning", sum(f.severity == "warn" for f in found)),
        ("minor change", sum(f.severity == "info" and f.change for f in found)),
    )
    listed = [f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in counts if n]
    start = "" if has_reference else "Reference: "
    if has_reference and _is_sparse(columns):
        return ", ".join(["Insufficient data", *listed])
    return start + (", ".join(listed) if listed else "no issues found" if start else "No issues found")


def _column(
    c: ColumnReport, new: Profile, reference: Profile | None, settings: AnalysisSettings, grown: set[str]
) -> Iterator[Finding]:
    """`grown`: columns whose outliers are reported already, as more than there were."""
    profile = new.column(c.name)
    before = reference.column(c.name) if reference else None
    if profile is None:
        return
    if before is not None and before.present and profile.present and c.significant:
        yield _drift(c, before, profile) if c.outcome == "drift" else _shift(c, before, profile)
    if before is not None and before.binned != profile.binned:
        return
    yield from column_checks.findings(CheckedColumn(c, profile, before, settings, c.name in grown))


def _largest_change(before: ColumnProfile, after: ColumnProfile) -> str:
    """Where the two distributions differ most: the mean of numbers, one category."""
    if after.kind == "datetime":
        before_text, now = (f"{axes.date(p.minimum)} to {axes.date(p.maximum)}" for p in (before, after))
        return f"{now}, was {before_text}; "
    if after.binned:
        return f"mean {axes.value_text('number', before.mean)} → {axes.value_text('number', after.mean)}; "
    named = dict(zip(after.values, after.counts, strict=True))
    changes = [
        (named.get(v, 0) / after.present - n / before.present, v, n)
        for v, n in zip(before.values, before.counts, strict=True)
    ]
    change, value, n = max(changes, key=lambda x: abs(x[0]), default=(0.0, "", 0))
    then = n / before.present
    return f"{value!r} {then:.1%} → {then + change:.1%}; " if change else ""


def _rows_moved(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> str:
    """Least fraction of rows whose value must have changed."""
    if after.binned:
        return f"at least {st.ks_statistic(before.counts, after.counts):.1%} of the rows lie elsewhere"
    return f"at least {c.effect_corrected or 0.0:.1%} of the rows changed category, beyond chance"


def _shift(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> Finding:
    """Significant, with an effect below the threshold."""
    return Finding(
        kind="shift",
        severity="info",
        columns=(c.name,),
        title=f"{'Target' if c.role == 'target' else 'Column'} {c.name} shifted a little",
        evidence=f"{_largest_change(before, after)}{_rows_moved(c, before, after)}; {c.test} {st.p_value_text(c.p_value)}",
        suggestion=f"Below the threshold of drift (effect {c.effect_corrected or 0.0:.3f}): check its source if it is unexpected.",
        weight=(3 if c.role == "target" else 1) + min(1.0, c.effect_corrected or 0.0),
        change=True,
    )


def _drift(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> Finding:
    strength = c.effect_corrected or 0.0
    numeric = after.binned
    size = f"{strength:.2f} standard deviations" if numeric else f"{strength:.1%} of the rows changed category"
    # Rows of one class are a piece of a sorted or a quiet day's file: they start no training, and blocking would lose them.
    severe = c.role == "target" and strength >= _SEVERE_TARGET and (numeric or after.distinct > 1)
    kind = "target_drift_severe" if severe else "target_drift" if c.role == "target" else "drift"
    moved = f"; {_rows_moved(c, before, after)}" if numeric else ""
    return Finding(
        kind=kind,
        severity="critical" if c.role == "target" else "warn",
        columns=(c.name,),
        title=f"{'Target' if c.role == 'target' else 'Column'} {c.name} drifted",
        evidence=(
            f"{_largest_change(before, after)}{size} beyond what {c.rows:,} rows vary by chance{moved}; "
            f"{c.test} {st.p_value_text(c.p_value)}"
        ),
        suggestion=(
            "Check how these rows were selected before training on them."
            if c.role == "target"
            else f"Check the source of {c.name}; if the change is real, retrain and compare on new rows."
        ),
        weight=5 + min(3.0, 5 * strength),
        change=True,
    )
