"""One category in several spellings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report_model import Finding


def category_variants(column: CheckedColumn) -> Iterator[Finding]:
    """Values that differ in case or blanks only."""
    profile = column.profile
    if not column.counted:
        return
    counts = dict(zip(profile.values, profile.counts, strict=True))
    groups: dict[str, list[str]] = {}
    for value, count in counts.items():
        if count:
            groups.setdefault(" ".join(value.casefold().split()), []).append(value)
    variants = [g for g in groups.values() if len(g) > 1]
    if not variants:
        return
    into = max(variants[0], key=lambda v: counts[v])
    others = [v for v in variants[0] if v != into]
    yield Finding(
        kind="category_variants",
        severity="warn",
        columns=(column.name,),
        title=f"{column.name} spells the same category differently",
        evidence="; ".join(" / ".join(repr(v) for v in g) for g in variants[:3]),
        suggestion=f"Merge them: {', '.join(map(repr, others))} into {into!r} ({counts[into]:,} rows).",
        weight=2,
        processing={"merge": {"column": column.name, "values": others, "into": into}},
    )


CHECK: Final[Check] = category_variants
