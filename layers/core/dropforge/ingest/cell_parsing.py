"""SQL for cells: are they missing, do they parse as their kind, what is their canonical value. The grammar is value_formats.py.

Cells arrive as text. A cell that is not missing and does not parse is a failure of its row, never a silent change of
the column's type. Each row is read in layers, so that no expression is computed twice (i is the column's number):

    r{i} raw text · t{i} trimmed · v{i} trimmed, NULL when missing · d{i} v as DOUBLE · b{i} v as BIGINT · m{i} v as TIMESTAMP

No name of a user's column stands in this SQL: relations give their columns numbers (sources.field).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dropforge import safe_patterns, value_formats
from dropforge.datasets.table_schema import Kind
from dropforge.ingest.duckdb_connection import is_any_of, is_text_of, quote
from dropforge.value_formats import COMMA, GROUPED, PLAIN, NumberFormat

# How much of a column must parse as a kind for the kind to be inferred; the rest of the rows is quarantined.
PARSE_SHARE = 0.99
_TEXT_DISTINCT = 1000  # more distinct values than this, and more than half of the rows: free text
_EXACT = 2**53  # up to here every integer is a double

EMPTY, NAN = "(empty)", "NaN"  # what empty cells and `nan` in any case are counted as


@dataclass(frozen=True, slots=True)
class Cells:
    """How to read one column of a relation.

    `field`: its name there, as SQL. `numeric`: whether d and b are wanted; `dated`: whether m is, which takes longer to plan
    than all others. What is known to change nothing is left out:
    `trimmed`: no spaces around values; `seen`: everything that means missing in the column's cells, by its label in
    column_scan.ColumnScan.missing; None: not known. `clean`: all values are known to be numbers (ColumnScan.is_clean), so that
    none has to be tried: of a million cells that takes a third of the time of typing them.
    """

    field: str
    markers: Sequence[str] = ()
    numeric: bool = True
    number_format: NumberFormat = PLAIN
    trimmed: bool = False
    seen: Collection[str] | None = None
    clean: bool = False
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What data.columns says of a column's values; rows outside are quarantined."""

    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str | float | bool, ...] | None = None  # of the column's kind; moments in microseconds
    pattern: str | None = None
    required: bool = False
    repeated: str = (
        ""  # the table of values that several rows have (k; {…}_texts enumerates them), where each may stand once
    )
    forbidden: tuple[str, ...] = ()  # classes of one row

    def __bool__(self) -> bool:
        limited = self.minimum is not None or self.maximum is not None or self.pattern is not None
        return limited or self.required or bool(self.allowed or self.repeated or self.forbidden)


NO_RULE = Rule()


def layered(relation: str, columns: Sequence[Cells] | Mapping[int, Cells], keep: Sequence[str] = ()) -> str:
    """The relation's rows with every layer of every column, numbered in order or as given.

    `keep`: SQL of what else is passed on as it is.
    """
    numbered = columns if isinstance(columns, Mapping) else dict(enumerate(columns))
    raw = "".join(f"{c}, " for c in keep) + ", ".join(
        f"{c.field} AS r{i}, {c.field if c.trimmed else _trim(c.field)} AS t{i}" for i, c in numbered.items()
    )
    present = ", ".join(f"{_present(i, c)} AS v{i}" for i, c in numbered.items())
    numbers = "".join(
        f", {_double(i, c)} AS d{i}, {'' if c.clean else 'TRY_'}CAST({_number_text(i, c.number_format)} AS BIGINT) AS b{i}"
        for i, c in numbered.items()
        if c.numeric
    )
    moments = "".join(f", {_moment(i)} AS m{i}" for i, c in numbered.items() if c.dated)
    return f"(SELECT *{numbers}{moments} FROM (SELECT *, {present} FROM (SELECT {raw} FROM {relation})))"


def _trim(cell: str) -> str:
    # Looking for a space costs a third of trimming, and most cells have none.
    return f"CASE WHEN contains({cell}, ' ') OR contains({cell}, '\t') THEN trim({cell}, ' \t') ELSE {cell} END"


def _double(i: int, c: Cells) -> str:
    text = _number_text(i, c.number_format)
    if c.clean:
        return f"CAST({text} AS DOUBLE)"
    # DuckDB also takes 1_000 and +-5.
    return f"CASE WHEN contains(v{i}, '_') OR starts_with(v{i}, '+-') THEN NULL ELSE TRY_CAST({text} AS DOUBLE) END"


def _number_text(i: int, number_format: NumberFormat) -> str:
    """values.number up to the point where the text is a plain number."""
    writing = value_formats.written(number_format)
    if writing is None:
        return _in_points(f"v{i}", number_format)
    return f"list_transform([{undecorated(f'v{i}', writing.unit)}], lambda n: {_in_points('n', writing.base)})[1]"


def _in_points(text: str, number_format: NumberFormat) -> str:
    """A number in one of the plain formats, with a decimal point and without groups."""
    if number_format == COMMA:
        return (
            f"CASE WHEN {_is(text, value_formats.POINT_GROUPS)} THEN replace(replace({text}, '.', ''), ',', '.') "
            f"WHEN contains({text}, ',') AND {_is(text, value_formats.COMMA_DECIMAL)} THEN replace({text}, ',', '.') ELSE {text} END"
        )
    if number_format == GROUPED:
        grouped = f"contains({text}, ',') AND {_is(text, value_formats.COMMA_GROUPS)}"
        return f"CASE WHEN {grouped} THEN replace({text}, ',', '') ELSE {text} END"
    return text


def undecorated(text: str, unit: str | None) -> str:
    """SQL of a text without its unit, as value_formats.Writing.plain has it. `unit`: None for any that is recognised."""
    parts = _decoration_parts(text, unit)
    minus = f"q.opened <> '' OR contains({quote(value_formats.MINUS)}, nullif({_SIGNS}, ''))"
    digits = f"translate(q.digits, {quote(value_formats.GROUP_MARKS)}, '')"
    plain = f"CASE WHEN {_IS_DECORATED} THEN concat(CASE WHEN {minus} THEN '-' ELSE '' END, {digits}) ELSE {text} END"
    return f"list_transform([{parts}], lambda q: {plain})[1]"


def decoration(text: str) -> str:
    """SQL of a struct of a text that is a number with a unit that is recognised, brackets or spaces, else NULL.

    `unit`, perhaps empty; `before`: it stands there; `spaced`: spaces are between the digits; `odd`: the text is no plain number.
    """
    spaced = f"regexp_matches(q.digits, {quote(f'[{value_formats.GROUP_MARKS}]')})"
    odd = f"concat(q.before, q.after, q.opened, q.behind) <> '' OR {spaced} OR regexp_matches({_SIGNS}, '[−–]')"
    found = f"{{'unit': concat(q.before, q.after), 'before': q.before <> '', 'spaced': {spaced}, 'odd': {odd}}}"
    return f"list_transform([{_decoration_parts(text, None)}], lambda q: CASE WHEN {_IS_DECORATED} THEN {found} END)[1]"


_SIGNS = "concat(q.sign, q.inner, q.behind)"
_IS_DECORATED = (
    "q.digits <> '' AND length(q.opened) = length(q.closed) AND length(q.opened) + "
    f"length({_SIGNS}) <= 1 AND (q.before = '' OR q.after = '')"
)


def _decoration_parts(text: str, unit: str | None) -> str:
    """SQL of the struct of DECORATION_GROUPS; all are empty in a text that is no such number."""
    groups = f"[{', '.join(quote(g) for g in value_formats.DECORATION_GROUPS)}]"
    short = f"CASE WHEN length({text}) <= {value_formats.LONGEST_DECORATED} THEN {text} ELSE '' END"
    return f"regexp_extract({short}, {quote(f'^(?:{value_formats.decoration(unit)})$')}, {groups})"


def _is(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {quote(pattern)})"


def _present(i: int, c: Cells) -> str:
    if c.seen is None or EMPTY in c.markers:
        return _unseen(i, c.markers)
    return _value(i, c.seen)


def _value(i: int, seen: Collection[str]) -> str:
    """t{i}, NULL when it is one of the texts seen that mean missing."""
    marks = ["" if s == EMPTY else s for s in sorted(seen) if s != NAN]
    if NAN in seen:
        return _unseen(i, [s for s in sorted(seen) if s not in {EMPTY, NAN}])
    match marks:
        case []:
            return f"t{i}"
        case [one]:
            return f"nullif(t{i}, {quote(one)})"
        case _:
            return f"CASE t{i} {' '.join(f'WHEN {quote(m)} THEN NULL' for m in marks)} ELSE t{i} END"


def _unseen(i: int, markers: Sequence[str]) -> str:
    return f"CASE WHEN {_missing(i, markers)} THEN NULL ELSE t{i} END"


def _missing(i: int, markers: Sequence[str]) -> str:
    """Empty, `nan` in any case, or one of the markers."""
    listed = "".join(f" OR t{i} = {quote(m)}" for m in markers if m)
    return f"r{i} IS NULL OR t{i} = '' OR (length(t{i}) = 3 AND lower(t{i}) = 'nan'){listed}"


# --- moments -----------------------------------------------------------------------------------------------------------
def _looks_dated(v: str) -> str:
    return f"({v} LIKE '____-__-__%' OR {v} LIKE '____/__/__%' OR {v} LIKE '__.__.____%')"


def _names_month(v: str) -> str:
    """Whether a moment may name its month; the pattern is tried on texts of its length alone."""
    return f"(length({v}) BETWEEN 8 AND 48 AND {_is(v, value_formats.NAMED_MOMENT)})"


def _moment(i: int) -> str:
    """TIMESTAMP in UTC of v{i}: the common form by DuckDB's reader, all others as values.moment reads them."""
    v = f"v{i}"
    other = f"CASE WHEN {_is('n', value_formats.MOMENT)} THEN {_other_moment('n')} END"
    numbered = f"list_transform([{_numbered(v)}], lambda n: {other})[1]"
    return (
        f"CASE WHEN {_looks_dated(v)} THEN CASE WHEN {_is_simple(v)} THEN TRY_CAST({v} AS TIMESTAMP) "
        f"WHEN {_is(v, value_formats.MOMENT)} THEN {_other_moment(v)} END WHEN {_names_month(v)} THEN {numbered} END"
    )


def _numbered(v: str) -> str:
    """A moment that names its month, with the month's number, as value_formats has it."""
    groups = "['d1', 'm1', 'y1', 'm2', 'd2', 'y2', 'm3', 'y3', 'y4', 'm4', 'd4', 'rest']"
    month = f"(position(lower(left(concat(q.m1, q.m2, q.m3, q.m4), 3)) IN {quote(value_formats.MONTHS)}) + 2) // 3"
    day = "coalesce(nullif(concat(q.d1, q.d2, q.d4), ''), '1')"
    text = (
        f"concat(q.y1, q.y2, q.y3, q.y4, '-', lpad(CAST({month} AS VARCHAR), 2, '0'), '-', lpad({day}, 2, '0'), q.rest)"
    )
    return f"list_transform([regexp_extract({v}, {quote(f'^{value_formats.NAMED_MOMENT}$')}, {groups})], lambda q: {text})[1]"


def _is_simple(v: str) -> str:
    """Whether DuckDB's reader gives the value of a moment in this form."""
    return f"{_is(v, value_formats.SIMPLE_MOMENT)} AND NOT starts_with({v}, '0000')"


def _other_moment(v: str) -> str:
    groups = "['y', 'm', 'd', 'dd', 'dm', 'dy', 'h', 'mi', 's', 'f', 'half', 'zone']"
    day = "TRY_CAST(concat(p.y, p.dy, '-', p.m, p.dm, '-', p.d, p.dd) AS DATE)"
    hour, minute, second = (f"coalesce(TRY_CAST(p.{k} AS BIGINT), 0)" for k in ("h", "mi", "s"))
    fraction = "CAST(left(rpad(p.f, 6, '0'), 6) AS BIGINT)"
    of_day = (
        f"CASE WHEN p.half = '' THEN {hour} ELSE {hour} % 12 + CASE WHEN lower(p.half) = 'pm' THEN 12 ELSE 0 END END"
    )
    midnight = f"{hour} = 24 AND {minute} = 0 AND {second} = 0 AND {fraction} = 0"
    valid_hour = f"CASE WHEN p.half = '' THEN {hour} < 24 OR ({midnight}) ELSE {hour} BETWEEN 1 AND 12 END"
    signed = "left(p.zone, 1) IN ('+', '-')"
    east_hours = "CAST(substr(p.zone, 2, 2) AS BIGINT)"
    east_minutes = "CASE WHEN length(p.zone) > 3 THEN CAST(right(p.zone, 2) AS BIGINT) ELSE 0 END"
    sign = "CASE WHEN left(p.zone, 1) = '-' THEN -1 ELSE 1 END"
    shift = f"CASE WHEN {signed} THEN {sign} * ({east_hours} * 3600 + ({east_minutes}) * 60) ELSE 0 END"
    valid_zone = f"CASE WHEN {signed} THEN {east_hours} < 24 AND ({east_minutes}) < 60 ELSE true END"
    seconds = f"({of_day}) * 3600 + {minute} * 60 + {second} - ({shift})"
    valid = (
        f"p.y <> '0000' AND p.dy <> '0000' AND ({valid_hour}) AND {minute} < 60 AND {second} < 60 AND ({valid_zone})"
    )
    moment = f"CAST({day} AS TIMESTAMP) + to_microseconds(({seconds}) * 1000000 + {fraction})"
    return (
        f"list_transform([regexp_extract({v}, {quote(f'^{value_formats.MOMENT}$')}, {groups})], "
        f"lambda p: CASE WHEN {valid} THEN {moment} END)[1]"
    )


def is_zoned(i: int) -> str:
    """Whether a moment states its distance from UTC."""
    return f"regexp_matches(v{i}, ':[0-9]{{2}}.*([+-][0-9:]+|[Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt])$')"


# --- values ------------------------------------------------------------------------------------------------------------
def is_infinite(i: int) -> str:
    """`inf` and its kin, which mean missing; not a number too large for a double."""
    return f"CASE WHEN isinf(d{i}) THEN contains(lower(v{i}), 'f') ELSE false END"


def is_beyond(i: int) -> str:
    """A number that float32 has no room for."""
    return f"coalesce(NOT isnan(d{i}) AND abs(d{i}) > {value_formats.FLOAT32_MAX!r}::DOUBLE AND NOT {is_infinite(i)}, false)"


def parsed(i: int, kind: Kind, *, clean: bool = False) -> str:
    """Typed value of column i; NULL when missing, infinite, or not of the kind.

    `clean`: every cell is known to parse (ColumnScan.is_clean); most of the time of a table of many columns goes into planning.
    """
    short: dict[Kind, str] = {"integer": f"b{i}", "number": f"d{i}", "datetime": f"CAST(v{i} AS TIMESTAMP)"}
    if clean and kind in short:
        return short[kind]
    match kind:
        case "integer":
            return f"CASE WHEN isfinite(d{i}) AND d{i} = floor(d{i}) THEN {_whole(i)} END"
        case "number":
            return f"CASE WHEN abs(d{i}) <= {value_formats.FLOAT32_MAX!r}::DOUBLE THEN d{i} END"
        case "boolean":
            values = {
                **dict.fromkeys(sorted(value_formats.TRUE), "true"),
                **dict.fromkeys(sorted(value_formats.FALSE), "false"),
            }
            # Not IN: of it DuckDB makes a join, which keeps no order of rows, and 600 columns took 78 s to plan.
            return f"CASE lower(v{i}) {' '.join(f'WHEN {quote(t)} THEN {value}' for t, value in values.items())} END"
        case "datetime":
            return _moment(i)
        case _:
            return f"v{i}"


def _whole(i: int) -> str:
    """BIGINT of a number that is whole."""
    return f"CASE WHEN abs(d{i}) < {_EXACT} THEN CAST(d{i} AS BIGINT) ELSE b{i} END"


def fails(i: int, kind: Kind, *, dated: bool = False) -> str:
    """True when a value is there and does not parse. An infinity in a numeric column is missing, not a failure.

    `dated`: the column's moments are a layer of their own (Cells.dated).
    """
    if kind in {"category", "text"}:
        return "false"
    if dated and kind == "datetime":
        return f"(v{i} IS NOT NULL AND m{i} IS NULL)"
    tolerated = f" AND NOT {is_infinite(i)}" if kind in {"integer", "number"} else ""
    return f"(v{i} IS NOT NULL AND ({parsed(i, kind)}) IS NULL{tolerated})"


def faults(i: int, kind: Kind, rule: Rule = NO_RULE) -> dict[str, str]:
    """Conditions under which a cell quarantines its row, by code; the first that holds is the reason."""
    matches: dict[str, str] = {}
    if kind == "number":
        matches["beyond_float32"] = is_beyond(i)
    if (failing := fails(i, kind)) != "false":
        matches[f"not_{kind}"] = failing
    if kind in {"integer", "number"}:
        if rule.minimum is not None:
            matches["below_minimum"] = f"coalesce(d{i} < {rule.minimum!r}::DOUBLE AND NOT {is_infinite(i)}, false)"
        if rule.maximum is not None:
            matches["above_maximum"] = f"coalesce(d{i} > {rule.maximum!r}::DOUBLE AND NOT {is_infinite(i)}, false)"
    elif kind in {"category", "text"}:
        if rule.pattern is not None:
            matches["pattern_mismatch"] = f"coalesce(NOT ({_matches(f'v{i}', rule.pattern)}), false)"
        if rule.forbidden:
            matches["class_of_one_row"] = f"coalesce({is_any_of(f'v{i}', [quote(c) for c in rule.forbidden])}, false)"
    if rule.allowed:
        matches |= _not_allowed(i, kind, rule.allowed)
    if rule.required:
        infinite = f" OR coalesce({is_infinite(i)}, false)" if kind in {"integer", "number"} else ""
        matches["value_missing"] = f"(v{i} IS NULL{infinite})"
    if rule.repeated:
        matches["value_repeated"] = (
            f"(TRY_CAST(CAST({parsed(i, kind)} AS VARCHAR) AS {rule.repeated}_texts) IS NOT NULL)"
        )
    return matches


def _not_allowed(i: int, kind: Kind, values: Sequence[str | float | bool]) -> dict[str, str]:
    if kind in {"category", "text"}:
        return {"not_a_category": f"(v{i} IS NOT NULL AND NOT {is_text_of(f'v{i}', map(str, values))})"}
    among = is_any_of(f"({parsed(i, kind)})", [_literal(v, kind) for v in values])
    return {"value_not_allowed": f"coalesce(NOT ({among}), false)"}


def _matches(text: str, pattern: str) -> str:
    """Whether the whole text matches, as safe_patterns.is_full_match has it."""
    return f"length({text}) <= {safe_patterns.LONGEST} AND {_is(text, pattern)}"


def _literal(value: str | float | bool, kind: Kind) -> str:
    if kind == "datetime":
        return f"make_timestamp({int(value)})"
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else f"{float(value)!r}::DOUBLE"


_CODE = f"0[{value_formats.GROUP_MARKS}]?[0-9](.*[0-9.,])?"  # in groups of digits too, as telephone numbers are


def probes(i: int) -> dict[str, str]:
    """Conditions on a cell of column i, `dated`; from how many cells fulfil them its kind and its number format are inferred."""
    # CASE keeps the costly half of a test to the few cells that reach it.
    v = f"v{i}"
    return {
        "n": f"{v} IS NOT NULL",
        "numbers": f"d{i} IS NOT NULL AND NOT isnan(d{i}) AND NOT {is_beyond(i)}",
        "integers": f"b{i} IS NOT NULL AND d{i} = floor(d{i})",
        # b{i} alone is the value that `parsed` gives
        "simple_integers": f"CASE WHEN isfinite(d{i}) AND d{i} = floor(d{i}) THEN {_whole(i)} = b{i} ELSE false END",
        "beyond": is_beyond(i),
        # 007, but not 0, 0.5, 0e5 or -0.5: a code, whose zeros a number would lose; 0 % and 05 % are amounts
        "codes": f"CASE WHEN {v} LIKE '0_%' THEN d{i} IS NOT NULL AND {_is(v, _CODE)} ELSE false END",
        "overflows": f"CASE WHEN b{i} IS NULL AND abs(d{i}) >= 9223372036854775807 THEN "
        f"isfinite(d{i}) AND position('.' IN {v}) = 0 AND position('e' IN lower({v})) = 0 ELSE false END",
        "booleans": f"CASE WHEN length({v}) BETWEEN 4 AND 5 THEN lower({v}) IN ('true', 'false') ELSE false END",
        "dates": f"m{i} IS NOT NULL",
        "simple_dates": f"CASE WHEN {_looks_dated(v)} THEN {_is_simple(v)} AND TRY_CAST({v} AS TIMESTAMP) IS NOT NULL ELSE false END",
        "zoned": f"CASE WHEN {_looks_dated(v)} OR {_names_month(v)} THEN {is_zoned(i)} ELSE false END",
        "decorated": f"CASE WHEN d{i} IS NULL THEN {is_decorated(v)} ELSE false END",
        **format_probes(v),
    }


MOMENT_PROBES = frozenset({"dates", "simple_dates", "zoned"})


def may_be_moment(v: str) -> str:
    """What every text fulfils that counts for one of MOMENT_PROBES."""
    return f"({_looks_dated(v)} OR {_names_month(v)})"


def may_tell_format(v: str) -> str:
    """What every text fulfils that counts for one of format_probes."""
    return f"(contains({v}, ',') OR {_has_points(v)})"


def _has_points(v: str) -> str:
    """Several of them."""
    return f"length({v}) - length(replace({v}, '.', '')) > 1"


def is_decorated(text: str) -> str:
    """Whether a text may be a number with a unit that is recognised, brackets or spaces. The pattern is tried on few texts."""
    likely = (
        f"length({text}) <= {value_formats.LONGEST_DECORATED} AND regexp_matches({text}, '[0-9]') "
        f"AND regexp_matches({text}, '[^0-9.,eE+-]|[0-9][+-]$')"
    )
    return f"CASE WHEN {likely} THEN {_is(text, value_formats.decoration(None))} ELSE false END"


def format_probes(v: str) -> dict[str, str]:
    """From how many texts `v` fulfil these it is decided how a column writes its numbers (values.choose_format)."""
    with_comma = f"contains({v}, ',')"
    points = _has_points(v)
    return {
        "comma": f"CASE WHEN {with_comma} THEN ({_is(v, value_formats.COMMA_DECIMAL)} AND NOT {_is(v, value_formats.EITHER_COMMA)}) "
        f"OR {_is(v, value_formats.SURE_COMMA)} WHEN {points} THEN {_is(v, value_formats.SURE_COMMA)} ELSE false END",
        "groups": f"CASE WHEN {with_comma} THEN {_is(v, value_formats.SURE_GROUPS)} ELSE false END",
        "either_comma": f"CASE WHEN {with_comma} THEN {_is(v, value_formats.EITHER_COMMA)} ELSE false END",
    }


def point_probes(v: str) -> dict[str, str]:
    """Looked at only where the file has decimal commas or units somewhere: what its points may be."""
    either = _is(v, value_formats.EITHER_POINT)
    return {"either_point": either, "points": f"{_is(v, value_formats.POINT_DECIMAL)} AND NOT {either}"}


def infer(p: Mapping[str, int]) -> Kind:
    """Kind from the probes' counts and `distinct_values`. Leading-zero codes and integers beyond 64 bits stay text-like."""
    n = p["n"]
    enough = PARSE_SHARE * n
    if n and not p["codes"] and not p["overflows"] and p["numbers"] >= enough:
        # one fraction makes it a column of numbers, however many are whole
        return "integer" if p["integers"] == p["numbers"] else "number"
    if n and p["booleans"] == n:
        return "boolean"
    if n and p["dates"] >= enough:
        return "datetime"
    return "text" if p["distinct_values"] > max(_TEXT_DISTINCT, n / 2) else "category"
