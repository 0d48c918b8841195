"""What is new in a report beside the one before it: findings that came and went, columns that drift or no longer do, the verdict."""

from __future__ import annotations

from dropforge.analysis.report_model import FindingKey, Report, ReportSummary

_LISTED = 8
_POINT = 0.01  # change of the quarantined fraction that is worth a line


def summary(report: Report) -> ReportSummary:
    """What the next report compares itself with: no value of a row, only kinds of findings, columns and counts."""
    return ReportSummary(
        upload_id=report.provenance.upload_id,
        key=report.intake.key,
        created_at=report.provenance.created_at,
        verdict=report.verdict.word,
        rows=report.intake.rows_used,
        quarantined=_quarantined(report),
        drifted=tuple(c.name for c in report.drifted),
        findings=tuple(dict.fromkeys(FindingKey(kind=f.kind, columns=f.columns) for f in report.findings)),
    )


def since(previous: ReportSummary, report: Report) -> tuple[str, ...]:
    """One sentence for each change; one that says so when nothing changed."""
    now = summary(report)
    lines = []
    if now.verdict != previous.verdict:
        lines.append(f"Verdict: {now.verdict}, was {previous.verdict}.")
    began = [c for c in now.drifted if c not in previous.drifted]
    ended = [c for c in previous.drifted if c not in now.drifted]
    lines += [
        f"{words}: {_names(names)}." for words, names in (("Drift began", began), ("Drift ended", ended)) if names
    ]
    new_findings = [_words(f) for f in now.findings if f not in previous.findings]
    went = [_words(f) for f in previous.findings if f not in now.findings]
    lines += [
        f"{words}: {_names(names)}." for words, names in (("New findings", new_findings), ("Resolved", went)) if names
    ]
    if abs(now.quarantined - previous.quarantined) >= _POINT:
        lines.append(f"Quarantined rows: {now.quarantined:.1%}, was {previous.quarantined:.1%}.")
    if previous.rows and not 0.5 <= now.rows / previous.rows <= 2:
        lines.append(f"Rows: {now.rows:,}, was {previous.rows:,}.")
    return tuple(lines) or ("The same findings, drifted columns and verdict as the last report.",)


def _quarantined(report: Report) -> float:
    return report.intake.rows_quarantined / report.intake.rows_in if report.intake.rows_in else 0.0


def _words(finding: FindingKey) -> str:
    kind = finding.kind.replace("_", " ")
    return f"{kind} ({', '.join(finding.columns)})" if finding.columns else kind


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
