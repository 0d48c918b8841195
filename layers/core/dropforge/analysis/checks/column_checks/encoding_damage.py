"""Texts that were decoded with another encoding than they were written with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report_model import Finding
from dropforge.ingest import text_encoding


def encoding_damage(column: CheckedColumn) -> Iterator[Finding]:
    """Damaged values in the first upload; later ones are compared with the reference (checks.silent_changes)."""
    profile = column.profile
    if not column.counted or column.before is not None or not profile.damaged:
        return
    example = next(
        (v for v, n in zip(profile.values, profile.counts, strict=True) if n and text_encoding.is_damaged(v)), ""
    )
    shown = f", such as {example!r} for {text_encoding.repaired(example)!r}" if example else ""
    yield Finding(
        kind="encoding_damage",
        severity="warn",
        columns=(column.name,),
        title=f"{column.name} was decoded with a wrong encoding",
        evidence=f"{profile.damaged:,} values ({profile.damaged / profile.present:.1%}){shown}",
        suggestion="Export the file as UTF-8, or name its encoding: data.csv.encoding.",
        weight=5,
    )


CHECK: Final[Check] = encoding_damage
