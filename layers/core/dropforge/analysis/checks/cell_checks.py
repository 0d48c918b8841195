"""What the cells and rows of the upload are like, whatever the reference: each finding with its evidence and its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from dropforge.analysis.data_profile import ColumnProfile, Profile, shared_rows
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import ColumnReport, Finding, Intake
from dropforge.config.settings import AnalysisSettings
from dropforge.ingest import text_encoding

_MANY_CONFLICTS = 0.01
_MANY_SHARED = 0.2
_SURPRISING = {"infinite", "beyond_int64", "beyond_float32", "number_format", "target_absent", "rule_unused"}
_SEEN_TWICE = 3  # shared rows in the sketch below which the estimate says nothing
_FEW_ROWS = 20  # a category with fewer teaches a model nothing
_MIXED = (0.05, 0.99)  # share of numbers among a category's cells between which the column is of two minds
_STILL_FAR = 0.02


def findings(
    c: ColumnReport,
    profile: ColumnProfile,
    before: ColumnProfile | None,
    settings: AnalysisSettings,
    *,
    outliers: bool = True,
) -> Iterator[Finding]:
    """Findings about the contents of one column. Without `outliers`: that they increased is reported already."""
    if not profile.present:
        return
    if not profile.binned and profile.counts:
        yield from _variants(c, profile)
        yield from _mixed(c, profile)
        if c.role == "feature" and c.kind == "category":
            yield from _rare(c, profile)
        if before is None and profile.damaged:
            yield _damaged(c, profile)
    if outliers and profile.binned and c.role == "feature" and c.kind != "datetime":
        yield from _outliers(c, profile, before)
    yield from _constant(c, profile, settings)
    yield from _identifier(c, profile)


def _constant(c: ColumnReport, profile: ColumnProfile, settings: AnalysisSettings) -> Iterator[Finding]:
    top = max(profile.counts, default=0)
    one_value = profile.points or not profile.binned
    if c.role == "feature" and one_value and top / profile.rows > settings.near_constant_share:
        at = profile.counts.index(top)
        value = (
            profile.values[at]
            if profile.values
            else axes.value_text(c.kind, profile.edges[min(at, len(profile.edges) - 1)])
        )
        yield Finding(
            kind="near_constant",
            severity="info",
            columns=(c.name,),
            title=f"{c.name} is almost constant",
            evidence=f"{top / profile.rows:.1%} of the rows are {value}",
            suggestion=f"Consider dropping {c.name}, or a yes/no feature of it.",
            processing={"drop": [c.name]} if top == profile.rows else None,
        )


def _identifier(c: ColumnReport, profile: ColumnProfile) -> Iterator[Finding]:
    if (
        c.role == "feature"
        and c.kind in {"text", "category", "integer"}
        and profile.present > 50
        and profile.distinct > 0.95 * profile.present
    ):
        yield Finding(
            kind="identifier",
            severity="warn",
            columns=(c.name,),
            title=f"{c.name} looks like an identifier",
            evidence=f"{profile.distinct:,} different values in {profile.present:,} rows",
            suggestion=f"Drop it, or add it to data.ignore: [{c.name}]; a model can only memorise it.",
            weight=2,
            processing={"drop": [c.name]},
        )


def _damaged(c: ColumnReport, profile: ColumnProfile) -> Finding:
    example = next(
        (v for v, n in zip(profile.values, profile.counts, strict=True) if n and text_encoding.is_damaged(v)), ""
    )
    shown = f", such as {example!r} for {text_encoding.repaired(example)!r}" if example else ""
    return Finding(
        kind="encoding_damage",
        severity="warn",
        columns=(c.name,),
        title=f"{c.name} was decoded with a wrong encoding",
        evidence=f"{profile.damaged:,} values ({profile.damaged / profile.present:.1%}){shown}",
        suggestion="Export the file as UTF-8, or name its encoding: data.csv.encoding.",
        weight=5,
    )


def _outliers(c: ColumnReport, profile: ColumnProfile, before: ColumnProfile | None) -> Iterator[Finding]:
    """Values beyond Tukey's outer fences of the reference, where they are few."""
    if not profile.fences or not profile.outliers:
        return
    low, high = profile.fences
    share = profile.outliers / profile.present
    if not 0.0001 <= share <= _STILL_FAR:
        return  # one value in ten thousand is chance; one in fifty is how this column is
    was = f", {before.outliers / before.present:.2%} in the reference" if before is not None and before.present else ""
    yield Finding(
        kind="outliers",
        severity="info",
        columns=(c.name,),
        title=f"{c.name} has values far from the rest",
        evidence=(
            f"{profile.outliers:,} values ({share:.2%}{was}) outside {axes.plain(low)} to {axes.plain(high)}; "
            f"extremes {axes.value_text(c.kind, profile.minimum)} and {axes.value_text(c.kind, profile.maximum)}"
        ),
        suggestion=f"Look at a few of them; clip {c.name} to that range if they are errors.",
        processing={"clip": {"column": c.name, "low": float(f"{low:.4g}"), "high": float(f"{high:.4g}")}},
    )


def _mixed(c: ColumnReport, profile: ColumnProfile) -> Iterator[Finding]:
    numbers = sum(n for v, n in zip(profile.values, profile.counts, strict=True) if _is_number(v))
    share = numbers / max(1, sum(profile.counts))
    if not _MIXED[0] < share < _MIXED[1]:
        return
    words = [v for v, n in zip(profile.values, profile.counts, strict=True) if n and not _is_number(v)]
    yield Finding(
        kind="mixed_types",
        severity="warn",
        columns=(c.name,),
        title=f"{c.name} mixes numbers and text",
        evidence=f"{share:.0%} of the values are numbers; others are {', '.join(map(repr, words[:3]))}",
        suggestion=f"Say which texts mean missing, or give {c.name} one type: data.columns: {{{c.name}: {{type: …}}}}.",
        weight=2,
        processing={"missing": {"column": c.name, "markers": words[:5]}} if len(words) <= 5 else None,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not (len(text) > 1 and text[0] == "0" and text[1].isdigit())


def _rare(c: ColumnReport, profile: ColumnProfile) -> Iterator[Finding]:
    counts = {v: n for v, n in zip(profile.values, profile.counts, strict=True) if n}
    rare = sorted((n, v) for v, n in counts.items() if n < _FEW_ROWS)
    if not rare or profile.rows < 50 * _FEW_ROWS or len(rare) == len(counts):
        return
    listed = ", ".join(f"{v!r} ({n})" for n, v in rare[:4]) + (f" and {len(rare) - 4} more" if len(rare) > 4 else "")
    near = difflib.get_close_matches(rare[0][1], [v for v in counts if counts[v] >= _FEW_ROWS], n=1, cutoff=0.6)
    words = "treat them as one" if len(rare) > 1 else "count it as (other)"
    step: dict[str, Any] = {"rare": {"column": c.name, "under": _FEW_ROWS}}
    if len(rare) == 1 and near:
        words = f"merge {rare[0][1]!r} ({rare[0][0]} rows) into {near[0]!r}"
        step = {"merge": {"column": c.name, "values": [rare[0][1]], "into": near[0]}}
    yield Finding(
        kind="rare_categories",
        severity="info",
        columns=(c.name,),
        title=f"{c.name} has {len(rare)} {'category' if len(rare) == 1 else 'categories'} of very few rows",
        evidence=f"fewer than {_FEW_ROWS} rows: {listed}",
        suggestion=f"Too few rows to learn from: {words}.",
        processing=step,
    )


def _merge(column: str, twins: list[str], counts: dict[str, int]) -> dict[str, Any]:
    into = max(twins, key=lambda v: counts[v])
    return {"merge": {"column": column, "values": [v for v in twins if v != into], "into": into}}


def _merge_words(column: str, twins: list[str], counts: dict[str, int]) -> str:
    step = _merge(column, twins, counts)["merge"]
    return f"{', '.join(map(repr, step['values']))} into {step['into']!r} ({counts[step['into']]:,} rows)"


def _variants(c: ColumnReport, profile: ColumnProfile) -> Iterator[Finding]:
    groups: dict[str, list[str]] = {}
    for value, count in zip(profile.values, profile.counts, strict=True):
        if count:
            groups.setdefault(" ".join(value.casefold().split()), []).append(value)
    counts = dict(zip(profile.values, profile.counts, strict=True))
    twins = [g for g in groups.values() if len(g) > 1]
    if twins:
        yield Finding(
            kind="category_variants",
            severity="warn",
            columns=(c.name,),
            title=f"{c.name} spells the same category differently",
            evidence="; ".join(" / ".join(repr(v) for v in g) for g in twins[:3]),
            suggestion=f"Merge them: {_merge_words(c.name, twins[0], counts)}.",
            weight=2,
            processing=_merge(c.name, twins[0], counts),
        )


def _cells(count: int, rows: int) -> str:
    return f"{count:,} cells ({count / rows:.1%} of the rows)" if rows else f"{count:,} cells"


def of_rows(reference: Profile | None, new: Profile, intake: Intake, *, repeats: bool = True) -> Iterator[Finding]:
    """Findings about the rows. Without `repeats`: that repeated rows increased is reported already."""
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
    if new.duplicates and repeats:
        yield Finding(
            kind="duplicates",
            severity="info",
            columns=(),
            title=f"{new.duplicates:,} rows occur more than once",
            evidence=f"{new.duplicates / new.rows:.2%} of the rows equal an earlier row in every column",
            suggestion="Equal rows always fall on the same side of the held-out split; drop them if they are copies.",
        )
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
    if reference is not None:
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
    for note in intake.notes:
        if note["code"] in {
            "infinite",
            "beyond_int64",
            "codes_kept",
            "trimmed",
            "decimal_comma",
            "digit_groups",
            "number_format",
            "beyond_float32",
            "widened",
            "zones",
            "target_absent",
            "unnamed_column",
            "rule_unused",
            "line_ends",
            "decoded",
        }:
            column = note.get("column", "")
            yield Finding(
                kind=note["code"],
                severity="warn" if note["code"] in _SURPRISING else "info",
                columns=(column,) if column else (),
                title=f"{column}: {note['message']}" if column else str(note["message"]).capitalize(),
                evidence=_cells(note["count"], intake.rows_in) if note.get("count") else "the whole file",
                suggestion="Nothing to do unless it surprises you.",
            )
