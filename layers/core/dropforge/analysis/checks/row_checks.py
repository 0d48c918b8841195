"""What the rows of an upload are like: quarantined, repeated, contradicting, shared with the reference; and notes of its reader."""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.analysis.data_profile import Profile, shared_rows
from dropforge.analysis.report_model import Finding, Intake

_MANY_CONFLICTS = 0.01
_MANY_SHARED = 0.2
_SEEN_TWICE = 3  # shared rows in the sketch below which the estimate says nothing
_SURPRISING = frozenset({"infinite", "beyond_int64", "beyond_float32", "number_format", "target_absent", "rule_unused"})
_NOTES = frozenset({
    "infinite", "beyond_int64", "codes_kept", "trimmed", "decimal_comma", "digit_groups", "number_format", "beyond_float32", "widened",
    "zones", "target_absent", "unnamed_column", "rule_unused", "line_ends", "decoded",
})  # fmt: skip


def findings(reference: Profile | None, new: Profile, intake: Intake, *, repeats: bool = True) -> Iterator[Finding]:
    """Findings about the rows. Without `repeats`: that repeated rows increased is reported already."""
    yield from _quarantined(intake)
    if repeats:
        yield from _duplicates(new)
    yield from _conflicts(new)
    if reference is not None:
        yield from _shared(reference, new)
    yield from _notes(intake)


def _quarantined(intake: Intake) -> Iterator[Finding]:
    if intake.rows_quarantined:
        reasons = ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in intake.reasons.items())
        yield Finding(
            kind="quarantined",
            severity="warn",
            columns=(),
            title=f"{intake.rows_quarantined:,} of {intake.rows_in:,} rows were quarantined",
            evidence=reasons,
            suggestion="Read the quarantine: each row has its line and its reason; correct them and upload them again.",
            weight=3,
        )


def _duplicates(new: Profile) -> Iterator[Finding]:
    if new.duplicates:
        yield Finding(
            kind="duplicates",
            severity="info",
            columns=(),
            title=f"{new.duplicates:,} rows occur more than once",
            evidence=f"{new.duplicates / new.rows:.2%} of the rows equal an earlier row in every column",
            suggestion="Equal rows always fall on the same side of the held-out split; drop them if they are copies.",
        )


def _conflicts(new: Profile) -> Iterator[Finding]:
    if new.conflicts:
        share = new.conflicts / new.rows
        yield Finding(
            kind="conflicting_labels",
            severity="warn" if share > _MANY_CONFLICTS else "info",
            columns=(new.target,),
            title="1 row contradicts others" if new.conflicts == 1 else f"{new.conflicts:,} rows contradict others",
            evidence=f"{share:.2%} of the rows equal others in every feature and have a rarer {new.target}",
            suggestion="No model can get these right: a feature that tells them apart is missing, or their labels are noise.",
            weight=2,
        )


def _shared(reference: Profile, new: Profile) -> Iterator[Finding]:
    share, seen = shared_rows(reference, new)
    if share * seen >= _SEEN_TWICE:
        yield Finding(
            kind="shared_rows",
            severity="warn" if share > _MANY_SHARED else "info",
            columns=(),
            title=f"About {share:.0%} of the rows are in the reference too"
            if share >= 0.01
            else "Some rows are in the reference too",
            evidence=f"{share:.1%} of the distinct rows, estimated from {seen:,} of them",
            suggestion="Was old data sent again? Rows that occur twice stay on one side of the held-out split.",
            weight=3 if share > _MANY_SHARED else 0,
        )


def _notes(intake: Intake) -> Iterator[Finding]:
    for note in intake.notes:
        if note["code"] not in _NOTES:
            continue
        column = note.get("column", "")
        yield Finding(
            kind=note["code"],
            severity="warn" if note["code"] in _SURPRISING else "info",
            columns=(column,) if column else (),
            title=f"{column}: {note['message']}" if column else str(note["message"]).capitalize(),
            evidence=_cells(note["count"], intake.rows_in) if note.get("count") else "the whole file",
            suggestion="Nothing to do unless it surprises you.",
        )


def _cells(count: int, rows: int) -> str:
    return f"{count:,} cells ({count / rows:.1%} of the rows)" if rows else f"{count:,} cells"
