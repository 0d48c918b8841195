"""The kind and the use of each column of a table that nobody has described."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dropforge import value_formats
from dropforge.datasets.table_schema import Kind
from dropforge.ingest import cell_parsing, text_table
from dropforge.ingest import personal_data as personal
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import quote
from dropforge.value_formats import COMMA, DECORATED, GROUPED, PLAIN, NumberFormat
from dropforge_cli import odd_looks
from dropforge_cli.infer_target import shortened
from dropforge_cli.open_table import OpenTable, listed

_SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0, 999999.0)
_MONTH_FIRST = r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}.*"
_SENSITIVE = ("sex", "gender", "race", "ethnic", "religion", "nationality", "disab")
_YEAR = r"(?:^|[^0-9])([0-9]{4})(?:[^0-9]|$)"  # the first of a date
_WORD = re.compile(r"\b[^\W\d_]\w+\b")
_FEWEST_WORDS = 4.0  # different ones in the mean of a free text: a name or an address has fewer
_FEWEST_TEXTS = 100  # different ones: with fewer each is a category
_SHARED_WORD = 0.05  # of the texts have the most frequent word, at least
_MOST_WORDS = 30  # distinct texts of a column in which words for yes and no, and spellings, are looked for
_IDENTIFIERS = ("id", "uuid", "guid")
_COUNTERS = ("key", "index", "rownum", "row", "number", "no", "nr", "seq", "seqno", "caseno", "obs", text_table.UNNAMED)


@dataclass(frozen=True, slots=True)
class ColumnGuess:
    """One column. `use` is target, feature or ignored; `reason` gives the reason for what was decided."""

    name: str
    kind: Kind
    use: str
    reason: str
    distinct: int
    missing: int
    markers: tuple[str, ...] = ()  # texts that mean missing in this column only
    sensitive: bool = False
    personal: str = ""  # the kind of personal data that the values look like
    number_format: NumberFormat = PLAIN
    free_text: bool = False  # sentences, of which a model gets words (training.phrases)
    rows: int = 0  # of the file, missing cells with them


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """Of one column: see facts_of. `rest_low` and `rest_high` leave the sentinels out."""

    distinct: int
    low: float | None
    high: float | None
    rest_low: float | None
    rest_high: float | None
    month_first: int
    decorated: int
    example: str  # a text with digits that is no number
    sentinels: dict[float, int]
    common: tuple[str, ...]  # the most frequent texts
    years: tuple[tuple[int, int], ...] = ()  # of dates: each with its rows, rising


def facts_of(table: OpenTable, scans: Sequence[ColumnScan]) -> list[ColumnFacts]:
    """Distinct values, range, sentinels and odd dates of every column: those that were judged together in one statement."""
    sentinels = ", ".join(f"{s!r}::DOUBLE" for s in _SENTINELS)
    rest = f"d0 NOT IN ({sentinels})"
    select = [
        "count(DISTINCT v0)",
        "min(d0)",
        "max(d0)",
        f"min(d0) FILTER ({rest})",
        f"max(d0) FILTER ({rest})",
        f"sum(c) FILTER (regexp_full_match(v0, {quote(_MONTH_FIRST)}))",
        f"sum(c) FILTER (d0 IS NULL AND regexp_full_match(v0, {quote(DECORATED)}))",
        "min(v0) FILTER (d0 IS NULL AND regexp_matches(v0, '[0-9]'))",
        *(f"sum(c) FILTER (d0 = {s!r}::DOUBLE)" for s in _SENTINELS),
    ]
    ranked = (
        "SELECT g, list(v0 ORDER BY r) FROM (SELECT g, v0, row_number() OVER (PARTITION BY g ORDER BY sum(c) DESC, v0) AS r "
        "FROM {rows} WHERE v0 IS NOT NULL GROUP BY g, v0) WHERE r <= {most} GROUP BY g"
    )
    of_group: dict[tuple[str, int], ColumnFacts] = {}
    for rows in sorted({scan.rows for scan in scans if scan.rows}):
        common = dict(table.all(ranked.format(rows=rows, most=personal.SAMPLE)))
        for g, distinct, low, high, rest_low, rest_high, month, decorated, example, *often in table.all(
            f"SELECT g, {', '.join(select)} FROM {rows} GROUP BY g"
        ):
            counted = {s: int(n) for s, n in zip(_SENTINELS, often, strict=True) if n}
            of_group[rows, int(g)] = ColumnFacts(
                int(distinct),
                low,
                high,
                rest_low,
                rest_high,
                int(month or 0),
                int(decorated or 0),
                example or "",
                counted,
                tuple(str(v) for v in common.get(g, ())),
            )
    years = _years(table, scans)
    nothing = ColumnFacts(0, None, None, None, None, 0, 0, "", {}, ())
    places = [(scan.rows, scan.group) for scan in scans]
    return [replace(of_group.get(place, nothing), years=years.get(place, ())) for place in places]


def _years(table: OpenTable, scans: Sequence[ColumnScan]) -> dict[tuple[str, int], tuple[tuple[int, int], ...]]:
    """Of columns of dates, by relation and group."""
    dated: dict[str, list[int]] = {}
    for scan in scans:
        if scan.rows and cell_parsing.infer(scan.probes) == "datetime":
            dated.setdefault(scan.rows, []).append(scan.group)
    result: dict[tuple[str, int], list[tuple[int, int]]] = {}
    year = f"TRY_CAST(regexp_extract(v0, {quote(_YEAR)}, 1) AS INTEGER)"
    for rows, groups in dated.items():
        counted = table.all(
            f"SELECT g, {year} AS y, sum(c) FROM {rows} WHERE v0 IS NOT NULL AND g IN ({', '.join(map(str, groups))}) "
            "GROUP BY 1, 2 HAVING y IS NOT NULL ORDER BY 1, 2"
        )
        for g, y, n in counted:
            result.setdefault((rows, int(g)), []).append((int(y), int(n)))
    return {place: tuple(years) for place, years in result.items()}


def guess_column(
    table: OpenTable, i: int, scan: ColumnScan, facts: ColumnFacts, own: tuple[str, ...], rows: int
) -> ColumnGuess:
    """What the column at place `i` is. `own`: texts that mean missing in it; `rows`: of the file. Doubts are added to `checks`."""
    column, kind, n = table.source.header[i], cell_parsing.infer(scan.probes), scan.probes["n"]
    numeric = kind in {"integer", "number"}
    nested = table.source.nested.get(column, "")
    reason = (
        f"cells of several values ({nested})"
        if nested
        else _ignore_reason(column, kind, n, facts.distinct, (facts.low, facts.high) if numeric else None)
    )
    looks_like = _personal(table, column, kind, facts, ignored=bool(reason))
    free_text = bool(reason) and not nested and not looks_like and kind in {"category", "text"} and _is_free_text(facts)
    if free_text:
        reason = ""
    if numeric and scan.fails["number"]:
        table.checks.append(f"{column}: {scan.fails['number']} values are no numbers; their rows will be quarantined")
    filled = numeric and not reason and _check_sentinels(table, column, facts, n)
    if numeric and not filled and (looks := odd_looks.of_numbers(column, kind, facts.low, facts.high, facts.common)):
        table.checks.append(f"{column}: {looks}")
    if kind == "datetime" and (looks := odd_looks.of_years(facts.years)):
        table.checks.append(f"{column}: {looks}")
    if kind in {"category", "text"} and n and not nested and not looks_like:
        _check_text(table, column, scan, facts, reason)
    sensitive = (
        kind in {"category", "boolean"} and any(s in column.lower() for s in _SENSITIVE) and facts.distinct <= 20
    )
    use = "ignored" if reason else "feature"
    reason = "free text: models get its words" if free_text else reason or _kind_reason(kind, scan, facts.distinct)
    return ColumnGuess(
        column,
        kind,
        use,
        reason,
        facts.distinct,
        rows - n,
        own,
        sensitive,
        looks_like,
        scan.number_format if numeric else PLAIN,
        free_text,
        rows,
    )


def _personal(table: OpenTable, column: str, kind: Kind, facts: ColumnFacts, *, ignored: bool) -> str:
    """As the report has it (data.personal); a person decides what becomes of the column."""
    detected = personal.detect(column, facts.common, kind=kind)
    if detected:
        advice = "leave it out of the file or replace it by a pseudonym"
        also = "" if ignored else ", or add it to data.ignore"
        table.checks.append(f"{column} looks like personal data ({detected}): {advice}{also}")
    return detected


def _check_sentinels(table: OpenTable, column: str, facts: ColumnFacts, n: int) -> bool:
    """-999 and its kin, far from all other values, and often. Whether there are some."""
    low, high, before = facts.rest_low, facts.rest_high, len(table.checks)
    if n < 20 or low is None or high is None:
        return False
    for value, count in facts.sentinels.items():
        far = value < low - (high - low) or value > high + (high - low)
        if count > 1 and far:
            table.checks.append(
                f"{column}: {value:g} occurs {count:,} times, all others lie in {low:g} … {high:g}: "
                f"does it mean unknown? Then: columns: {{{column}: {{missing_markers: ['{value:g}']}}}}"
            )
    return len(table.checks) > before


def _check_text(table: OpenTable, column: str, scan: ColumnScan, facts: ColumnFacts, reason: str) -> None:
    """What looks like something better than text, and cannot be read as it without guessing."""
    n, probes = scan.probes["n"], scan.probes
    if looks := odd_looks.of_texts(facts.common):
        table.checks.append(f"{column}: {looks}")
    elif facts.month_first > 0.9 * n:
        table.checks.append(
            f"{column}: dates with the year last and slashes are read as text (which number is the month?); "
            "write them as 2024-12-31"
        )
    elif probes["dates"] + facts.month_first > 0.2 * n:
        table.checks.append(
            f"{column}: dates in several forms, or days that are none, are read as text; write 2024-12-31"
        )
    elif probes["numbers"] + facts.decorated > 0.9 * n and facts.decorated and not odd_looks.are_dotted(facts.common):
        use = "is left out" if reason else "is read as text"
        table.checks.append(
            f"{column}: numbers with a sign, a unit or spaces, such as {shortened(facts.example)!r}: the column {use}; "
            f"write plain numbers (1234.5) in one unit{_format_advice(column, facts)}"
        )
    elif probes["comma"] and probes["groups"]:
        table.checks.append(f"{column}: numbers written both 1.234,5 and 1,234.5 are read as text; write one form")
    elif probes["overflows"]:
        table.checks.append(f"{column}: integers beyond 64 bits are read as text, as identifiers are")
    elif probes["beyond"]:
        table.checks.append(
            f"{column}: {probes['beyond']:,} of {n:,} numbers are beyond ±3.4e38, the range that models compute with; "
            "the column is read as text: correct them"
        )
    elif probes["numbers"] > 0.2 * n and not probes["codes"] and not odd_looks.are_dotted(facts.common):
        example = facts.example or next((t for t in facts.common if value_formats.number(t) is None), "")
        table.checks.append(
            f"{column}: {probes['numbers']:,} of {n:,} values are numbers, the others are not "
            f"({shortened(example)!r}): read as text"
        )


def check_formats(table: OpenTable, scans: Sequence[ColumnScan]) -> None:
    """Which columns have decimal commas or groups of digits, and which of their texts could be read in two ways."""
    for number_format, words in ((COMMA, "a decimal comma"), (GROUPED, "commas between thousands")):
        names = [
            c
            for c, scan in zip(table.source.header, scans, strict=True)
            if scan.number_format == number_format and cell_parsing.infer(scan.probes) in {"integer", "number"}
        ]
        if names:
            table.checks.append(f"numbers with {words} ({number_format}): {listed(names)}")
    for column, scan in zip(table.source.header, scans, strict=True):
        writing = value_formats.written(scan.number_format)
        if writing is not None and cell_parsing.infer(scan.probes) in {"integer", "number"}:
            table.checks.append(f"{column}: {_reading(writing)} ({scan.number_format})")
    unsure = [
        c
        for i, (c, scan) in enumerate(zip(table.source.header, scans, strict=True))
        if scan.number_format == PLAIN and i not in table.source.native and _may_be_thousands(table, i, scans)
    ]
    if unsure:
        table.checks.append(
            f"{listed(unsure)}: every value has three digits behind its point (1.234): read as fractions; if they are "
            "thousands, declare number_format: '1.234,5'"
        )


def _reading(writing: value_formats.Writing) -> str:
    if not writing.unit:
        return "numbers with brackets or spaces; those in brackets are negative"
    if writing.unit in "%‰":
        return f"numbers with {writing.unit}, read as they stand there: 12{writing.unit} is 12"
    return f"amounts in {writing.unit}, read as numbers; one unit for the whole column"


def _format_advice(column: str, facts: ColumnFacts) -> str:
    """The line of settings.yaml with which the column's texts are numbers; empty where no form does it, as with several units."""
    units = {value_formats.unit_of(text) for text in facts.common if value_formats.number(text) is None}
    for base in (PLAIN, value_formats.GROUPED, value_formats.COMMA):
        form = value_formats.with_unit(next(iter(units)), base) if len(units) == 1 else base
        if all(value_formats.number(text, form) is not None for text in facts.common):
            return f", or declare their form: columns: {{{column}: {{type: number, number_format: '{form}'}}}}"
    return ""


def words_for_values(columns: Sequence[ColumnGuess], facts: Sequence[ColumnFacts], target: str) -> list[str]:
    """Sentences about categories whose texts say yes or no, or one thing in several spellings; and about marks beside empty cells."""
    plain, mixed, sentences = list[str](), list[str](), list[str]()
    for c, f in zip(columns, facts, strict=True):
        if c.name == target or c.kind != "category":
            continue
        filled = c.rows - c.missing
        if f.distinct == 1 and c.use == "ignored" and 0.02 * c.rows <= filled <= 0.98 * c.rows:
            sentences.append(
                f"{c.name}: {shortened(f.common[0])!r} in {filled:,} of {c.rows:,} rows, others empty: left out for its one value; "
                "if empty means no, write no"
            )
        if c.use == "ignored" or f.distinct > _MOST_WORDS:
            continue
        words, others = odd_looks.answers(f.common)
        if words and not others and f.distinct == 2:
            plain.append(c.name)
        elif words:
            mixed.append(f"{c.name} ({', '.join(repr(shortened(t)) for t in f.common[:5])})")
        elif twice := odd_looks.spelled_twice(f.common):
            texts = " and ".join(repr(shortened(t)) for t in twice[:3])
            sentences.append(f"{c.name}: {texts} are read as different categories; write each in one way")
    if plain:
        sentences.append(
            f"words for yes and no are read as two categories, which serve models as well: {listed(plain)}"
        )
    if mixed:
        sentences.append(
            f"words for yes and no in several spellings, or beside other texts, are read as so many categories: {listed(mixed)}; "
            "write each in one way, and leave unknown ones empty"
        )
    return sentences


def _may_be_thousands(table: OpenTable, i: int, scans: Sequence[ColumnScan]) -> bool:
    probes = scans[i].probes
    if (
        table.source.delimiter in {"", ","}
        or probes["numbers"] < max(1, 0.9 * probes["n"])
        or probes["integers"] == probes["n"]
    ):
        return False
    tests = cell_parsing.point_probes("v0")
    either, points = table.all(
        f"SELECT count(*) FILTER ({tests['either_point']}), count(*) FILTER ({tests['points']}) FROM {table.rows([i], scans)}"
    )[0]
    return bool(either and not points)


def is_identifier(column: str) -> bool:
    """Whether a column is called one."""
    return _words(column)[-1] in _IDENTIFIERS or column.endswith(("Id", "ID"))


def _words(column: str) -> list[str]:
    return column.lower().replace("-", "_").replace(" ", "_").replace(".", "_").split("_")


def _ignore_reason(
    column: str, kind: Kind, n: int, distinct: int, span: tuple[float | None, float | None] | None
) -> str:
    """Why a column is of no use to a model; empty when it may be."""
    if distinct < 2:
        return "one value only" if distinct else "no value at all"
    words = _words(column)
    called = column.lower() == text_table.UNNAMED or words[-1] in _COUNTERS or is_identifier(column)
    low, high = span or (None, None)
    counts = low is not None and high is not None and high - low == n - 1
    unnamed = kind == "number" and column == text_table.UNNAMED  # R numbers its rows 1, 1.1, 1.2
    if distinct == n and n >= 20 and ((kind == "integer" and (called or counts)) or unnamed):
        return "another value in every row: an identifier"
    unique, own = distinct >= 0.99 * n and n >= 20, distinct > 0.5 * n and n >= 50
    if kind in {"category", "text"} and (unique or own or (called and distinct > 0.2 * n)):
        return f"{distinct:,} values in {n:,} rows: an identifier or free text"
    return ""


def _is_free_text(facts: ColumnFacts) -> bool:
    """Whether the texts are sentences that share words: those that training makes columns of (training.phrases)."""
    words = [set(_WORD.findall(t.lower())) for t in facts.common]
    if facts.distinct <= _FEWEST_TEXTS or sum(len(w) for w in words) < _FEWEST_WORDS * len(words):
        return False
    counted = Counter(word for w in words for word in w)
    return bool(counted) and max(counted.values()) >= max(5, _SHARED_WORD * len(words))


def _kind_reason(kind: Kind, scan: ColumnScan, distinct: int) -> str:
    if scan.probes["codes"]:
        return "codes with leading zeros"
    match kind:
        case "integer" | "number":
            return f"{distinct:,} different numbers"
        case "boolean":
            return "true and false only"
        case "datetime":
            return "dates"
        case _:
            return f"{distinct:,} different texts"
