"""From facts to findings: what a person should know, with the evidence and one concrete thing to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from dropforge.analysis import contents
from dropforge.analysis import statistics as st
from dropforge.analysis.facts import ColumnReport, Finding, Intake, Severity, Verdict
from dropforge.analysis.profile import ColumnProfile, Profile
from dropforge.settings import AnalysisSettings, DataSettings

_SEVERE_TARGET = 0.2  # corrected total variation of the target
_ORDER: dict[Severity, int] = {"critical": 0, "warn": 1, "info": 2}
_DRIFT_LIKE = {"drift", "target_drift", "target_drift_severe"}


def findings(
    reference: Profile | None,
    new: Profile,
    columns: list[ColumnReport],
    intake: Intake,
    data: DataSettings,
    settings: AnalysisSettings,
) -> list[Finding]:
    """Every finding about the file and its single columns."""
    return [
        *_columns_changed(reference, intake, data),
        *(f for c in columns for f in _column(c, new, reference, settings)),
        *contents.of_rows(reference, new, intake),
    ]


def ranked(found: list[Finding]) -> tuple[Finding, ...]:
    """The weightiest first, within each severity."""
    return tuple(sorted(found, key=lambda f: (_ORDER[f.severity], -f.weight)))


def verdict(found: tuple[Finding, ...], settings: AnalysisSettings, *, has_reference: bool) -> Verdict:
    """block if any finding is of a kind in settings.analysis.block_on, else warn likewise, else pass."""
    if not has_reference:
        return Verdict(word="reference", reasons=("first accepted upload: it is the reference from now on",))
    for word, kinds in (("block", settings.block_on), ("warn", settings.warn_on)):
        reasons = tuple(f.title for f in found if f.kind in kinds or (f.kind in _DRIFT_LIKE and "drift" in kinds))
        if reasons:
            return Verdict(word="block" if word == "block" else "warn", reasons=reasons)
    return Verdict(word="pass", reasons=("no finding asks for attention",))


def _columns_changed(reference: Profile | None, intake: Intake, data: DataSettings) -> Iterator[Finding]:
    for column in intake.absent_columns:
        match = difflib.get_close_matches(column, intake.extra_columns, n=1, cutoff=0.6)
        if match:
            yield Finding(
                kind="column_renamed",
                severity="critical",
                columns=(column, match[0]),
                title=f"Column {column} is missing; {match[0]} looks like it under another name",
                evidence="the reference has the first, the upload the second, and the names are close",
                suggestion=f"Rename {match[0]} back to {column} and upload again.",
                weight=9,
            )
        ignored = column in data.ignore
        yield Finding(
            kind="column_removed",
            severity="info" if ignored else "critical",
            columns=(column,),
            title=f"Column {column} is missing",
            evidence="the reference has it, the upload does not",
            suggestion="It is ignored by the models; nothing to do."
            if ignored
            else f"Add {column}, or make a new reference without it.",
            weight=10,
        )
    for column in intake.extra_columns:
        yield Finding(
            kind="column_added",
            severity="warn",
            columns=(column,),
            title=f"Column {column} is new",
            evidence="the reference does not have it; it was left out of the data set",
            suggestion=f"Remove {column} from the export, or start a new reference that has it.",
            weight=3,
        )
    names = [c.name for c in reference.columns] if reference else []
    common = [h for h in intake.header if h in names]
    if reference and common != [n for n in names if n in common]:
        yield Finding(
            kind="columns_reordered",
            severity="info",
            columns=tuple(common),
            title="Columns come in another order",
            evidence="columns are matched by name, so no value moved",
            suggestion="Nothing to do.",
        )


def _column(c: ColumnReport, new: Profile, reference: Profile | None, settings: AnalysisSettings) -> Iterator[Finding]:
    profile = new.column(c.name)
    before = reference.column(c.name) if reference else None
    if profile is None:
        return
    if c.outcome == "drift":
        yield _drift(c)
    if before is not None and not profile.binned:
        yield from _category_changes(c, before, profile)
    if before is not None and profile.binned:
        yield from _range_change(c, before, profile)
    if before is not None:
        yield from _missing_change(c, before, profile)
    yield from contents.findings(c, profile, before, settings)


def _drift(c: ColumnReport) -> Finding:
    strength = c.effect_corrected or 0.0
    unit = "standard deviations" if c.test.startswith("Kolmogorov") else "of the rows changed class"
    size = f"{strength:.2f} {unit}" if unit.startswith("standard") else f"{strength:.1%} {unit}"
    severe = c.role == "target" and strength >= _SEVERE_TARGET
    kind = "target_drift_severe" if severe else "target_drift" if c.role == "target" else "drift"
    moved = ""
    mean, earlier = c.summary.get("mean"), c.summary_reference.get("mean")
    if isinstance(mean, float) and isinstance(earlier, float):
        moved = f"mean {earlier:.4g} → {mean:.4g}; "
    return Finding(
        kind=kind,
        severity="critical" if c.role == "target" else "warn",
        columns=(c.name,),
        title=f"{'Target' if c.role == 'target' else 'Column'} {c.name} drifted",
        evidence=f"{moved}{size} beyond what {c.rows:,} rows vary by chance; {c.test} p = {c.p_value:.2g}",
        suggestion=(
            "Check how these rows were selected before training on them."
            if c.role == "target"
            else f"Check the source of {c.name}; if the change is real, retrain and compare on new rows."
        ),
        weight=5 + min(3.0, 5 * strength),
    )


def _category_changes(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> Iterator[Finding]:
    if before.other:
        return  # the reference has more categories than it keeps: absence from the list proves nothing
    known = {v for v, n in zip(before.values, before.counts, strict=True) if n}
    fresh = [(v, n) for v, n in zip(after.values, after.counts, strict=True) if n and v not in known]
    if fresh and c.kind == "category":
        rows = sum(n for _, n in fresh)
        listed = ", ".join(f"{v!r} ({n:,})" for v, n in fresh[:5]) + (
            f" and {len(fresh) - 5} more" if len(fresh) > 5 else ""
        )
        near = difflib.get_close_matches(fresh[0][0], list(known), n=1, cutoff=0.8)
        frequent = max(zip(before.values, before.counts, strict=True), key=lambda p: p[1], default=("", 0))[0]
        told = f"the most frequent is {frequent!r}" if known else "the reference has no value of this column at all"
        learn = f"Retrain to learn it; until then it counts as unknown ({told})."
        hint = f"a variant of {near[0]!r}? Correct the spelling." if near else learn
        yield Finding(
            kind="new_category",
            severity="warn",
            columns=(c.name,),
            title=f"{c.name} has {'a new category' if len(fresh) == 1 else f'{len(fresh)} new categories'}",
            evidence=f"{listed}: {rows:,} rows ({rows / after.rows:.1%})",
            suggestion=hint[0].upper() + hint[1:],
            weight=4 + min(2.0, 20 * rows / after.rows),
        )
    present = {v for v, n in zip(after.values, after.counts, strict=True) if n}
    gone = [(v, n) for v, n in zip(before.values, before.counts, strict=True) if n and v not in present]
    # Expected at the new size: a category with fewer than five expected rows may be absent by chance.
    gone = [(v, n) for v, n in gone if n / max(1, before.present) * after.present >= 5]
    if gone:
        listed = ", ".join(f"{v!r} ({n / before.present:.1%})" for v, n in gone[:5])
        yield Finding(
            kind="vanished_category",
            severity="info",
            columns=(c.name,),
            title=f"{c.name} lost {len(gone)} {'category' if len(gone) == 1 else 'categories'}",
            evidence=f"{listed} of the reference; none here",
            suggestion="Is a part of the population missing from this export?",
            weight=1,
        )


def _range_change(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> Iterator[Finding]:
    if None in (before.minimum, before.maximum, after.minimum, after.maximum):
        return
    low, high = float(before.minimum or 0), float(before.maximum or 0)
    parts = []
    if float(after.minimum or 0) < low:
        parts.append(f"down to {after.minimum:g} (reference {low:g})")
    if float(after.maximum or 0) > high:
        parts.append(f"up to {after.maximum:g} (reference {high:g})")
    if parts:
        span = (high - low) or 1.0
        far = max(low - float(after.minimum or 0), float(after.maximum or 0) - high) / span > 0.5
        yield Finding(
            kind="out_of_range",
            severity="warn" if far else "info",
            columns=(c.name,),
            title=f"{c.name} leaves the reference's range",
            evidence=" and ".join(parts),
            suggestion=f"Check the unit of {c.name}."
            if far
            else "Models extrapolate beyond what they saw; check a few of these rows.",
            weight=2,
        )


def _missing_change(c: ColumnReport, before: ColumnProfile, after: ColumnProfile) -> Iterator[Finding]:
    a, b = [before.missing, before.present], [after.missing, after.present]
    if after.missing == after.rows and before.present:
        return  # a removed column: said already
    _, _, p = st.chi2_contingency(a, b)
    change = c.missing_share - (c.missing_share_reference or 0.0)
    if change > 0.02 and p < 0.001:
        yield Finding(
            kind="missing_increase",
            severity="warn",
            columns=(c.name,),
            title=f"More of {c.name} is missing",
            evidence=f"{c.missing_share_reference or 0:.1%} in the reference, {c.missing_share:.1%} here; chi-square p = {p:.2g}",
            suggestion=f"Ask the source why {c.name} is empty; models read it as its own category or impute it.",
            weight=4 + min(2.0, 10 * change),
        )
