"""From facts to findings: what a person should know, with the evidence and one concrete thing to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dropforge.analysis.checks import column_checks, drift_checks, reader_notes, rule_outcomes, table_checks
from dropforge.analysis.checks.column_checks import CheckedColumn
from dropforge.analysis.checks.table_checks import CheckedTable
from dropforge.analysis.report_model import ColumnReport, Finding, Severity, Verdict
from dropforge.config.settings import AnalysisSettings

_ORDER: dict[Severity, int] = {"critical": 0, "warn": 1, "info": 2}
_SPARSE = "too few rows to compare: no column could show a moderate change"
_DRIFT_LIKE = {"drift", "target_drift", "target_drift_severe"}


def findings(table: CheckedTable) -> list[Finding]:
    """Every finding about the file and its single columns."""
    comparison = table.comparison
    increased = {c for f in comparison.changes for c in f.columns if f.kind == "outliers"}
    return [
        *rule_outcomes.findings(table.intake.rules),
        *(f for c in comparison.columns for f in _column(c, table, increased)),
        *comparison.changes,
        *table_checks.findings(table),
        *reader_notes.findings(table.intake),
    ]


def ranked(unordered: list[Finding]) -> tuple[Finding, ...]:
    """The weightiest first, within each severity."""
    return tuple(sorted(unordered, key=lambda f: (_ORDER[f.severity], -f.weight)))


def verdict(
    all_findings: tuple[Finding, ...],
    columns: Sequence[ColumnReport],
    settings: AnalysisSettings,
    *,
    has_reference: bool,
) -> Verdict:
    """block if any finding is of a kind in settings.analysis.block_on, else warn likewise, else pass.

    A rule of the settings says itself what its violations do, also in the first upload.
    """
    title = _headline(all_findings, columns, has_reference=has_reference)
    blocking = tuple(f.title for f in all_findings if f.kind == "rule_violated" and f.severity == "critical")
    if blocking:
        return Verdict(word="block", reasons=blocking, headline=title)
    if not has_reference:
        first = "first accepted upload: it is the reference from now on"
        return Verdict(word="reference", reasons=(first,), headline=title)
    for word, kinds in (("block", settings.block_on), ("warn", (*settings.warn_on, "rule_violated"))):
        reasons = tuple(f.title for f in all_findings if _counts(f, kinds))
        if reasons:
            return Verdict(word="block" if word == "block" else "warn", reasons=reasons, headline=title)
    reasons = tuple(f.title for f in all_findings if f.severity != "info" or f.change)
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


def _headline(all_findings: Sequence[Finding], columns: Sequence[ColumnReport], *, has_reference: bool) -> str:
    """`No issues found` only where there is none: every warning is counted, and every change of few rows."""
    counts = (
        ("problem", sum(f.severity == "critical" for f in all_findings)),
        ("warning", sum(f.severity == "warn" for f in all_findings)),
        ("minor change", sum(f.severity == "info" and f.change for f in all_findings)),
    )
    listed = [f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in counts if n]
    start = "" if has_reference else "Reference: "
    if has_reference and _is_sparse(columns):
        return ", ".join(["Insufficient data", *listed])
    return start + (", ".join(listed) if listed else "no issues found" if start else "No issues found")


def _column(c: ColumnReport, table: CheckedTable, increased: set[str]) -> Iterator[Finding]:
    """`increased`: columns whose outliers are reported already, as more than there were."""
    profile = table.new.column(c.name)
    before = table.reference.column(c.name) if table.reference else None
    if profile is None:
        return
    yield from drift_checks.findings(c, before, profile)
    if before is not None and before.binned != profile.binned:
        return
    yield from column_checks.findings(CheckedColumn(c, profile, before, table.settings, c.name in increased))
