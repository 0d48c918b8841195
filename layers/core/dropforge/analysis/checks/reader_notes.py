"""Notes of the reader of a file, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.analysis.report_model import Finding, Intake

_SURPRISING = frozenset({"infinite", "beyond_int64", "beyond_float32", "number_format", "target_absent", "rule_unused"})
_NOTES = frozenset({
    "infinite", "beyond_int64", "codes_kept", "trimmed", "decimal_comma", "digit_groups", "number_unit", "number_format",
    "beyond_float32", "widened",
    "zones", "target_absent", "unnamed_column", "rule_unused", "line_ends", "decoded",
})  # fmt: skip


def findings(intake: Intake) -> Iterator[Finding]:
    """One finding for each note that a person should see."""
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
