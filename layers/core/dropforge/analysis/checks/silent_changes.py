"""Changes of a column, or of the rows, that its distribution alone does not show: each a hypothesis with its own test.

Nothing here decides: every hypothesis comes with its p-value and the finding to report should it be rejected
(dropforge.analysis.profile_comparison). Severity follows from the fraction of rows, never from the p-value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dropforge.analysis import column_drift, tail_tests
from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.data_profile import (
    ROW_SKETCH,
    VALUE_SKETCH,
    ColumnProfile,
    Profile,
    common_counts,
    value_sketch,
)
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import Finding, Severity
from dropforge.config.settings import AnalysisSettings
from dropforge.ingest import text_encoding

_SOME_ROWS = 0.01  # fraction of rows from which a change asks for attention
_MORE_MISSING = 0.02
_FEW = 5  # rows that an increase of one value must have
_LISTED = 5
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Tested:
    """One hypothesis of no change: the finding to report when it is rejected."""

    p_value: float
    finding: Finding


def of_column(before: ColumnProfile, after: ColumnProfile, settings: AnalysisSettings) -> Iterator[Tested]:
    """Hypotheses on one column that both files have."""
    if 0 < before.missing + after.missing < before.rows + after.rows:
        yield _missing(before, after)
    if not before.present or not after.present or before.binned != after.binned:
        return
    identifier = column_drift.is_identifier(before)
    if before.binned:
        if not identifier:
            yield from _range(before, after)
            yield from _outliers(before, after)
            yield from _frequent_number(before, after, settings)
        yield from _hours(before, after, settings)
        return
    yield from _frequent_text(before, after, settings)
    yield from _damaged(before, after)
    if not identifier:
        yield from _new_values(before, after)
        yield from _vanished_values(before, after)


def of_rows(reference: Profile, new: Profile, settings: AnalysisSettings) -> Iterator[Tested]:
    """Hypotheses on repeated rows, and on the time between two columns."""
    yield from _duplicates(reference, new)
    for after in new.gaps:
        before = reference.gap(after.name)
        if before is not None and before.present and after.present:
            yield _gap(before, after, settings)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or share == 0 else f"{share:.2%}" if share >= 0.0001 else "<0.01%"


# --- missing values --------------------------------------------------------------------------------------------------
def _missing(before: ColumnProfile, after: ColumnProfile) -> Tested:
    p = st.fraction_p_value(before.missing, before.rows, after.missing, after.rows)
    then, now = before.missing / max(1, before.rows), after.missing / max(1, after.rows)
    evidence = f"{_percent(now)} of {after.name} is missing, {_percent(then)} in the reference; {st.p_value_text(p)}"
    if now >= then:
        empty = after.missing == after.rows
        severity: Severity = "critical" if empty else "warn" if now - then > _MORE_MISSING else "info"
        return Tested(
            p,
            Finding(
                kind="missing_increase",
                severity=severity,
                columns=(after.name,),
                title=f"{after.name} is empty" if empty else f"More of {after.name} is missing",
                evidence=evidence,
                suggestion=f"Ask the source why {after.name} is empty; models read it as its own category or impute it.",
                weight=10 if empty else 4 + min(2.0, 10 * (now - then)),
                change=True,
            ),
        )
    never = before.missing == before.rows
    return Tested(
        p,
        Finding(
            kind="missing_decrease",
            severity="warn" if never else "info",
            columns=(after.name,),
            title=f"{after.name} has values now" if never else f"Less of {after.name} is missing",
            evidence=evidence,
            suggestion=f"The reference has no value of {after.name} at all: make this file the reference to learn from it."
            if never
            else "Was the column filled in afterwards, with values not known at the time of prediction?",
            weight=4 if never else 1,
            change=True,
        ),
    )


# --- numbers ---------------------------------------------------------------------------------------------------------
def _range(before: ColumnProfile, after: ColumnProfile) -> Iterator[Tested]:
    """Values outside everything the reference has, against how many are expected there (Rosenbaum 1954)."""
    if not before.edges or len(before.edges) + 1 != len(after.counts):
        return
    m = after.present
    low, high = after.below, after.counts[-1]
    if after.kind == "datetime":
        if column_drift.is_later(after):
            yield Tested(0.0, _later(before, after))
            return
        high = 0 if (after.maximum or 0) > (before.maximum or 0) else high  # time passes
    if not low + high:
        return
    p = tail_tests.p_value(before, after, low, high)
    parts = []
    if low:
        parts.append(
            f"{low:,} values ({_percent(low / m)}) below {axes.value_text(after.kind, before.minimum)}, "
            f"down to {axes.value_text(after.kind, after.minimum)}"
        )
    if high:
        parts.append(
            f"{high:,} values ({_percent(high / m)}) above {axes.value_text(after.kind, before.maximum)}, "
            f"up to {axes.value_text(after.kind, after.maximum)}"
        )
    some = (low + high) / m >= _SOME_ROWS
    yield Tested(
        p,
        Finding(
            kind="out_of_range",
            severity="warn" if some else "info",
            columns=(after.name,),
            title=f"{after.name} leaves the reference's range in {_percent((low + high) / m)} of the rows",
            evidence=f"{' and '.join(parts)}; {st.p_value_text(p)}",
            suggestion=f"Check the unit of {after.name}, and whether a number stands for a missing value there.",
            weight=3 + min(2.0, 10 * (low + high) / m) if some else 2,
            change=True,
        ),
    )


def _later(before: ColumnProfile, after: ColumnProfile) -> Finding:
    return Finding(
        kind="later_period",
        severity="info",
        columns=(after.name,),
        title=f"{after.name} covers a later period than the reference",
        evidence=f"{axes.date(after.minimum)} to {axes.date(after.maximum)}; "
        f"reference {axes.date(before.minimum)} to {axes.date(before.maximum)}",
        suggestion="Nothing to do where later rows are expected.",
        change=True,
    )


def _outliers(before: ColumnProfile, after: ColumnProfile) -> Iterator[Tested]:
    if after.kind == "datetime" or not before.fences or not after.fences:
        return
    a, b, n, m = before.outliers, after.outliers, before.present, after.present
    if b * n <= a * m:
        return
    p = st.fraction_p_value(a, n, b, m)
    low, high = before.fences
    some = b / m - a / n >= _SOME_ROWS / 2
    yield Tested(
        p,
        Finding(
            kind="outliers",
            severity="warn" if some else "info",
            columns=(after.name,),
            title=f"{after.name} has more values far from the rest",
            evidence=(
                f"{b:,} values ({b / m:.2%}, {a / n:.2%} in the reference) outside {axes.plain(low)} to {axes.plain(high)}; "
                f"extremes {axes.value_text(after.kind, after.minimum)} and {axes.value_text(after.kind, after.maximum)}"
            ),
            suggestion=f"Look at a few of them; clip {after.name} to that range if they are errors.",
            weight=3 if some else 1,
            processing={"clip": {"column": after.name, "low": float(f"{low:.4g}"), "high": float(f"{high:.4g}")}},
            change=True,
        ),
    )


def _exact_counts(column: ColumnProfile) -> tuple[dict[float, int], int]:
    """Counts of single numbers, and how often any other number occurs at most."""
    if not column.frequent:
        return {}, column.present  # a profile of an earlier version
    return dict(zip(column.frequent, column.frequent_counts, strict=True)), column.frequent_bound


def _frequent_number(before: ColumnProfile, after: ColumnProfile, settings: AnalysisSettings) -> Iterator[Tested]:
    counts, bound = _exact_counts(before)
    if before.points and before.edges and not before.below:
        counts = dict(zip(before.edges, before.counts, strict=False)) | counts
        bound = 0
    gains = [
        (axes.value_text(after.kind, v), counts.get(v, bound), c, v in counts)
        for v, c in zip(after.frequent, after.frequent_counts, strict=True)
    ]
    yield from _gains(before, after, gains, settings)


def _frequent_text(before: ColumnProfile, after: ColumnProfile, settings: AnalysisSettings) -> Iterator[Tested]:
    """Only where the distribution is compared over buckets, or not at all: chi-square sees every category otherwise."""
    if not before.other and not after.other:
        return
    known = dict(zip(before.values, before.counts, strict=True))
    bound = min(before.counts, default=0) if before.other else 0
    gains = [(repr(v), known.get(v, bound), c, v in known) for v, c in zip(after.values, after.counts, strict=True)]
    yield from _gains(before, after, gains, settings)


def _gains(
    before: ColumnProfile,
    after: ColumnProfile,
    values: Iterable[tuple[str, int, int, bool]],
    settings: AnalysisSettings,
) -> Iterator[Tested]:
    """One value that became more frequent: a default, a unit, a filled gap.

    `values`: text, count then (at most), count now, whether the count then is exact. The smallest of the values' p-values by
    weighted Bonferroni: half of the weight is shared evenly by all different values, half by how often they occur in both
    files together, which the allocation of their rows to the files, all that is tested, does not depend on (Genovese,
    Roeder & Wasserman 2006). Where the count then is not known, that now alone is a weight no larger: the test stays valid.
    A default that is half of a column need not pay for its thousand rare values.
    """
    n, m = before.present, after.present
    risen = [value for value in values if value[2] >= _FEW and value[2] * n > value[1] * m]
    if not risen:
        return
    even = 0.5 / max(before.distinct, after.distinct, 1)

    def weighted(a: int, b: int, *, exact: bool) -> float:
        return st.hypergeometric_sf(b, a + b, n, m) / (even + 0.5 * ((a if exact else 0) + b) / (n + m))

    p, value, a, b = min((weighted(a, b, exact=exact), v, a, b) for v, a, b, exact in risen)
    p = min(1.0, p)
    gain = b / m - a / n
    yield Tested(
        p,
        Finding(
            kind="frequent_value",
            severity="warn" if gain >= settings.effect_threshold else "info",
            columns=(after.name,),
            title=f"{value} became more frequent in {after.name}",
            evidence=f"{b:,} of {m:,} values ({_percent(b / m)}); {_percent(a / n)} at most in the reference; {st.p_value_text(p)}",
            suggestion=f"Is {value} a default or a stand-in for a missing value? Then list it among the missing markers.",
            weight=2 + min(2.0, 10 * gain),
            change=True,
        ),
    )


def _hours(before: ColumnProfile, after: ColumnProfile, settings: AnalysisSettings) -> Iterator[Tested]:
    """Hour of the day: a time zone lost or applied twice turns the day round and leaves the dates as they are."""
    a, b = before.hours, after.hours
    if len(a) != _HOURS or len(b) != _HOURS or sum(1 for x, y in zip(a, b, strict=True) if x + y) < 2:
        return
    _, _, p = st.chi2_contingency(a, b)
    moved = st.total_variation(a, b)
    extra = max(0.0, moved - st.total_variation_null(a, b))
    fits = [st.total_variation([a[(h - k) % _HOURS] for h in range(_HOURS)], b) for k in range(_HOURS)]
    shift = min(range(_HOURS), key=lambda k: fits[k])
    hours = shift - _HOURS if shift > _HOURS // 2 else shift
    fit = f"; it fits the reference best when moved by {hours:+d} h" if hours and fits[shift] < 0.7 * moved else ""
    yield Tested(
        p,
        Finding(
            kind="time_of_day",
            severity="warn" if extra >= settings.effect_threshold else "info",
            columns=(after.name,),
            title=f"{after.name} falls on other hours of the day",
            evidence=f"{extra:.1%} of the rows lie in other hours than in the reference, beyond chance{fit}; {st.p_value_text(p)}",
            suggestion=f"Was a time zone dropped or applied twice in {after.name}?",
            weight=4 if extra >= settings.effect_threshold else 2,
            change=True,
        ),
    )


def _gap(before: ColumnProfile, after: ColumnProfile, settings: AnalysisSettings) -> Tested:
    test = column_drift.numeric_test(before, after, before.present, after.present)
    extra = max(0.0, test.effect - test.expected)
    share = st.ks_statistic(before.counts, after.counts)
    return Tested(
        test.p_value,
        Finding(
            kind="time_gap",
            severity="warn" if extra >= settings.effect_threshold else "info",
            columns=tuple(after.name.split(" - ")),
            title=f"The time between two columns changed: {after.name}",
            evidence=(
                f"on average {axes.duration(after.mean or 0.0)}, {axes.duration(before.mean or 0.0)} in the reference; "
                f"at least {share:.1%} of the rows differ; {st.p_value_text(test.p_value)}"
            ),
            suggestion="Was one of the two moved to another time zone?",
            weight=4 if extra >= settings.effect_threshold else 2,
            change=True,
        ),
    )


# --- categories ------------------------------------------------------------------------------------------------------
def _both_counts(before: ColumnProfile, after: ColumnProfile) -> list[tuple[int, int]]:
    """How often values occur in either file: all values, or a sample of them drawn by their hash."""
    if not before.other and not after.other:
        a, b = column_drift.aligned(before, after)
        return [(x, y) for x, y in zip(a, b, strict=True) if x + y]
    return common_counts(*value_sketch(before), *value_sketch(after), VALUE_SKETCH)


def _replaced(before: ColumnProfile, after: ColumnProfile, new: tuple[int, str]) -> str:
    """The value of the reference that has no rows here and had, of its size, about as many as the new one (count, value) has;
    empty when there is none or not every value is counted.
    """
    if before.other or after.other:
        return ""
    share = new[0] / after.present
    here = {v for v, c in zip(after.values, after.counts, strict=True) if c}
    gone = [(c / before.present, v) for v, c in zip(before.values, before.counts, strict=True) if c and v not in here]
    alike = [(abs(s - share), v) for s, v in gone if s >= _SOME_ROWS and share / 1.5 <= s <= share * 1.5]
    return min(alike, default=(0.0, ""))[1]


def _new_values(before: ColumnProfile, after: ColumnProfile) -> Iterator[Tested]:
    """Rows whose value the reference lacks, against how many are expected from its own rare values."""
    counts = _both_counts(before, after)
    rows = sum(b for a, b in counts if not a)
    if not rows:
        return
    n, m = before.present, after.present
    p = st.exclusive_p_value([a + b for a, b in counts], rows, m / (n + m))
    share = rows / max(1, sum(b for _, b in counts))
    expected = sum(a for a, _ in counts if a == 1) / max(1, sum(a for a, _ in counts))  # Good 1953
    known = {v for v, c in zip(before.values, before.counts, strict=True) if c}
    fresh = sorted(
        ((c, v) for v, c in zip(after.values, after.counts, strict=True) if c and v not in known), reverse=True
    )
    sure = fresh if not before.other else []
    near = difflib.get_close_matches(fresh[0][1], list(known), n=1, cutoff=0.8) if fresh else []
    gone = _replaced(before, after, fresh[0]) if sure else ""
    listed = ", ".join(f"{v!r} ({c:,})" for c, v in sure[:_LISTED]) + (
        f" and {len(sure) - _LISTED} more" if len(sure) > _LISTED else ""
    )
    frequent = max(zip(before.counts, before.values, strict=True), default=(0, ""))[1]
    what = (
        "a new category"
        if len(sure) == 1
        else f"{len(sure)} new categories"
        if sure
        else "values that the reference lacks"
    )
    yield Tested(
        p,
        Finding(
            kind="new_category",
            severity="warn" if share >= _SOME_ROWS / 2 else "info",
            columns=(after.name,),
            title=f"{after.name} has {what}",
            evidence=f"{listed + ': ' if listed else ''}{rows:,} rows ({share:.1%}); {expected:.1%} expected"
            if not before.other and not after.other
            else f"{share:.1%} of the rows, estimated from a sample of the values; {expected:.1%} expected",
            suggestion=f"A variant of {near[0]!r}? Correct the spelling."
            if near and sure
            else f"Is {fresh[0][1]!r} a new name of {gone!r}, which had as many rows and has none now? Then correct it at its source. "
            f"Otherwise retrain to learn it; until then it counts as unknown (the most frequent is {frequent!r})."
            if gone
            else f"Retrain to learn it; until then it counts as unknown (the most frequent is {frequent!r}).",
            weight=4 + min(2.0, 20 * share),
            change=True,
        ),
    )


def _vanished_values(before: ColumnProfile, after: ColumnProfile) -> Iterator[Tested]:
    counts = _both_counts(before, after)
    rows = sum(a for a, b in counts if not b)
    if not rows:
        return
    n, m = before.present, after.present
    p = st.exclusive_p_value([a + b for a, b in counts], rows, n / (n + m))
    present = {v for v, c in zip(after.values, after.counts, strict=True) if c}
    disappeared = sorted(
        ((c, v) for v, c in zip(before.values, before.counts, strict=True) if c and v not in present), reverse=True
    )
    share = rows / max(1, sum(a for a, _ in counts))
    listed = ", ".join(f"{v!r} ({c / n:.1%})" for c, v in disappeared[:_LISTED])
    yield Tested(
        p,
        Finding(
            kind="vanished_category",
            severity="info",
            columns=(after.name,),
            title=f"{after.name} lost {len(disappeared)} {'category' if len(disappeared) == 1 else 'categories'}"
            if disappeared
            else f"{after.name} lost values that the reference has",
            evidence=f"{share:.1%} of the reference's rows have values that do not occur here{': ' + listed if listed else ''}",
            suggestion="Is a part of the population missing from this export?",
            weight=1,
            change=True,
        ),
    )


def _damaged(before: ColumnProfile, after: ColumnProfile) -> Iterator[Tested]:
    """Texts decoded with a wrong encoding, and texts whose letters beyond ASCII became question marks."""
    known = {v: c for v, c in zip(before.values, before.counts, strict=True) if c}
    requested = _question_marks(
        [v for v in after.values if "?" in v and v not in known], [v for v in known if not v.isascii()]
    )
    counts = dict(zip(after.values, after.counts, strict=True))
    rows = after.damaged + sum(counts[v] for v in requested)
    if rows * before.present <= before.damaged * after.present:
        return
    p = st.fraction_p_value(before.damaged, before.present, rows, after.present)
    examples = [f"{v!r} for {text_encoding.repaired(v)!r}" for v in counts if counts[v] and text_encoding.is_damaged(v)]
    examples += [f"{v!r} for {was!r}" for v, was in requested.items()]
    shown = f": {', '.join(examples[:3])}" if examples else ""
    yield Tested(
        p,
        Finding(
            kind="encoding_damage",
            severity="warn",
            columns=(after.name,),
            title=f"{after.name} was decoded with a wrong encoding in {_percent(rows / after.present)} of the rows",
            evidence=f"{rows:,} values{shown}; {_percent(before.damaged / before.present)} in the reference",
            suggestion="Export the file as UTF-8, or name its encoding: data.csv.encoding.",
            weight=5,
            change=True,
        ),
    )


def _question_marks(suspects: Sequence[str], originals: Sequence[str]) -> dict[str, str]:
    """Texts that are one of the originals with `?` in place of its letters beyond ASCII."""
    matches = {}
    for text in suspects:
        pattern = re.compile("".join(r"[^\x00-\x7f]" if c == "?" else re.escape(c) for c in re.sub(r"\?+", "?", text)))
        spread = re.compile(pattern.pattern.replace(r"[^\x00-\x7f]", r"[^\x00-\x7f]+"))
        was = next((o for o in originals if spread.fullmatch(o)), None)
        if was is not None:
            matches[text] = was
    return matches


# --- rows ------------------------------------------------------------------------------------------------------------
def _duplicates(reference: Profile, new: Profile) -> Iterator[Tested]:
    """Rows that repeat an earlier one, against how many are expected from how often rows occur in both files."""
    counts = common_counts(reference.sketch, reference.sketch_counts, new.sketch, new.sketch_counts, ROW_SKETCH)
    repeated = sum(max(0, b - 1) for _, b in counts)
    if not repeated or not reference.rows or not new.rows:
        return
    p = st.repeats_p_value([a + b for a, b in counts], repeated, new.rows / (reference.rows + new.rows))
    share, was = new.duplicates / new.rows, reference.duplicates / reference.rows
    yield Tested(
        p,
        Finding(
            kind="duplicates",
            severity="warn" if share - was >= _SOME_ROWS else "info",
            columns=(),
            title=f"{new.duplicates:,} rows ({_percent(share)}) occur more than once",
            evidence=f"{share:.2%} of the rows equal an earlier row in every column, {was:.2%} in the reference; {st.p_value_text(p)}",
            suggestion="Was a table joined on a key that is not unique, or the file appended to itself?",
            weight=4 if share - was >= _SOME_ROWS else 1,
            change=True,
        ),
    )
