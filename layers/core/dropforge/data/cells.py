"""SQL for cells: are they missing, do they parse as their kind, what is their canonical value.

Cells arrive as text. A cell that is not missing and does not parse is a failure of its row, never a silent change of
the column's type. Each row is read in layers, so that no expression is computed twice (i is the column's number):

    r{i} raw text · t{i} trimmed · v{i} trimmed, NULL when missing · d{i} v as DOUBLE · b{i} v as BIGINT
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set

from dropforge.data.engine import name, quote
from dropforge.data.schema import Kind

# How much of a column must parse as a kind for the kind to be inferred; the rest of the rows is set aside.
PARSE_SHARE = 0.99
_TEXT_DISTINCT = 1000  # more distinct values than this, and more than half of the rows: free text


EMPTY, NAN = "(empty)", "NaN"  # what empty cells and `nan` in any case are counted as
NOTHING_SEEN: Mapping[str, Collection[str]] = {}


def layered(
    relation: str,
    columns: Sequence[str],
    markers: Mapping[str, Sequence[str]],
    numeric: Mapping[str, bool],
    *,
    decimal_comma: bool,
    keep: Sequence[str] = (),
    trimmed: Set[str] = frozenset(),
    seen: Mapping[str, Collection[str]] = NOTHING_SEEN,
) -> str:
    """The relation's rows with every layer of every column. `numeric`: columns whose d and b are wanted; `keep`: as is.

    What is known to change nothing is left out: `trimmed` columns have no spaces around values; `seen`: everything that means
    missing in a column's cells, by its label in survey.Look.missing.
    """
    raw = "".join(f"{c}, " for c in keep) + ", ".join(
        f"{name(c)} AS r{i}, {name(c) if c in trimmed else _trim(c)} AS t{i}" for i, c in enumerate(columns)
    )
    values = ", ".join(
        f"{_value(i, seen[c]) if c in seen and EMPTY not in markers[c] else _unseen(i, markers[c])} AS v{i}"
        for i, c in enumerate(columns)
    )
    numbers = "".join(
        f", TRY_CAST({_number(i, decimal_comma)} AS DOUBLE) AS d{i}, TRY_CAST({_number(i, decimal_comma)} AS BIGINT) AS b{i}"
        for i, c in enumerate(columns)
        if numeric[c]
    )
    return f"(SELECT *{numbers} FROM (SELECT *, {values} FROM (SELECT {raw} FROM {relation})))"


def _trim(column: str) -> str:
    # Looking for a space costs a third of trimming, and most cells have none.
    cell = name(column)
    return f"CASE WHEN contains({cell}, ' ') OR contains({cell}, '\t') THEN trim({cell}, ' \t') ELSE {cell} END"


def _number(i: int, decimal_comma: bool) -> str:
    return f"replace(v{i}, ',', '.')" if decimal_comma else f"v{i}"


def _value(i: int, seen: Collection[str]) -> str:
    """t{i}, NULL when it is one of the texts seen that mean missing."""
    marks = [quote("" if s == EMPTY else s) for s in sorted(seen) if s != NAN]
    if NAN in seen:
        return _unseen(i, [s for s in sorted(seen) if s not in {EMPTY, NAN}])
    match marks:
        case []:
            return f"t{i}"
        case [one]:
            return f"nullif(t{i}, {one})"
        case _:
            return f"CASE WHEN t{i} IN ({', '.join(marks)}) THEN NULL ELSE t{i} END"


def _unseen(i: int, markers: Sequence[str]) -> str:
    return f"CASE WHEN {_missing(i, markers)} THEN NULL ELSE t{i} END"


def _missing(i: int, markers: Sequence[str]) -> str:
    """Empty, `nan` in any case, or one of the markers."""
    listed = "".join(f" OR t{i} = {quote(m)}" for m in markers if m)
    return f"r{i} IS NULL OR t{i} = '' OR (length(t{i}) = 3 AND lower(t{i}) = 'nan'){listed}"


# Dates: the year first with - or /, or day.month.year. 12/31/2024 is not read: which number is the month is a guess.
def _is_iso(i: int) -> str:
    return f"(v{i} LIKE '____-__-__%' OR v{i} LIKE '____/__/__%')"


def _is_dotted(i: int) -> str:
    return f"v{i} LIKE '__.__.____%'"


def _undotted(i: int) -> str:
    return f"TRY_CAST(concat(substr(v{i}, 7, 4), '-', substr(v{i}, 4, 2), '-', substr(v{i}, 1, 2), substr(v{i}, 11)) AS TIMESTAMP)"


def is_infinite(i: int) -> str:
    return f"isinf(d{i})"


def parsed(i: int, kind: Kind, *, clean: bool = False) -> str:
    """Typed value of column i; NULL when missing, infinite, or not of the kind. `clean`: every cell is known to parse."""
    if clean and kind in {"integer", "number"}:
        return f"b{i}" if kind == "integer" else f"d{i}"
    match kind:
        case "integer":
            return f"CASE WHEN isfinite(d{i}) AND d{i} = floor(d{i}) THEN b{i} END"
        case "number":
            return f"CASE WHEN isfinite(d{i}) THEN d{i} END"
        case "boolean":
            return (
                f"CASE WHEN lower(v{i}) IN ('true', 't', 'yes', 'y', '1') THEN true "
                f"WHEN lower(v{i}) IN ('false', 'f', 'no', 'n', '0') THEN false END"
            )
        case "datetime":
            return (
                f"CASE WHEN {_is_iso(i)} THEN TRY_CAST(v{i} AS TIMESTAMP) WHEN {_is_dotted(i)} THEN {_undotted(i)} END"
            )
        case _:
            return f"v{i}"


def fails(i: int, kind: Kind) -> str:
    """True when a value is there and does not parse. An infinity in a numeric column is missing, not a failure."""
    if kind in {"category", "text"}:
        return "false"
    tolerated = f" AND NOT coalesce({is_infinite(i)}, false)" if kind in {"integer", "number"} else ""
    return f"(v{i} IS NOT NULL AND ({parsed(i, kind)}) IS NULL{tolerated})"


def probes(i: int) -> dict[str, str]:
    """Conditions on a cell of column i; from how many cells fulfil them its kind is inferred."""
    # CASE keeps the costly half of a test to the few cells that reach it.
    return {
        "n": f"v{i} IS NOT NULL",
        "numbers": f"d{i} IS NOT NULL",
        "integers": f"b{i} IS NOT NULL AND d{i} = floor(d{i})",
        # 007, but not 0, 0.5 or -0.5: a code, whose zeros a number would lose
        "codes": f"CASE WHEN v{i} LIKE '0_%' THEN d{i} IS NOT NULL AND substr(v{i}, 2, 1) NOT IN ('.', ',') ELSE false END",
        "overflows": f"CASE WHEN b{i} IS NULL AND abs(d{i}) >= 9223372036854775807 THEN "
        f"isfinite(d{i}) AND position('.' IN v{i}) = 0 AND position('e' IN lower(v{i})) = 0 ELSE false END",
        "booleans": f"CASE WHEN length(v{i}) BETWEEN 4 AND 5 THEN lower(v{i}) IN ('true', 'false') ELSE false END",
        "dates": f"CASE WHEN {_is_iso(i)} THEN TRY_CAST(v{i} AS TIMESTAMP) IS NOT NULL "
        f"WHEN {_is_dotted(i)} THEN {_undotted(i)} IS NOT NULL ELSE false END",
    }


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
