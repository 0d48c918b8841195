"""The grammar of values: which texts are numbers, moments and booleans, and what each of them means.

Every reader follows it: uploads and batch files by SQL (ingest/cell_parsing.py builds it from the patterns below), /predict by the
functions of this module, `init` and monitoring by the SQL again. A property test holds both sides to one value for each text.
docs/reference/values.md states it for people. This module loads the standard library only: /predict imports it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

# How a column writes its numbers, shown by example: one of the three below, or one of them with a unit, brackets or spaces
# (written). Groups of three digits are optional.
NumberFormat = str
PLAIN: Final[NumberFormat] = "1234.5"
GROUPED: Final[NumberFormat] = "1,234.5"
COMMA: Final[NumberFormat] = "1.234,5"

FLOAT32_MAX: Final = 3.4028234663852886e38  # models compute in float32: anything beyond is no number to them
BLANKS: Final = " \t"  # removed around every value; nothing else is
TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
FALSE: Final = frozenset({"false", "f", "no", "n", "0"})

# Patterns for Python's re and for RE2 (DuckDB) alike; they match a whole text. [0-9], since \d knows other scripts' digits.
NUMBER: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_MARKER_NUMBER: Final = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
INFINITY: Final = r"[+-]?([iI][nN][fF]|[iI][nN][fF][iI][nN][iI][tT][yY])"
COMMA_DECIMAL: Final = r"[+-]?([0-9]+,[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?"
COMMA_GROUPS: Final = r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?"
POINT_GROUPS: Final = r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]*)?"
# What decides how a column writes its numbers: texts that can be read in one way only, and those that can be read in two.
SURE_COMMA: Final = r"[+-]?[1-9][0-9]{0,2}((\.[0-9]{3})+,[0-9]+|(\.[0-9]{3}){2,})"
SURE_GROUPS: Final = r"[+-]?[1-9][0-9]{0,2}((,[0-9]{3})+\.[0-9]+|(,[0-9]{3}){2,})"
EITHER_COMMA: Final = r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"
EITHER_POINT: Final = r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}"
POINT_DECIMAL: Final = r"[+-]?[0-9]*\.[0-9]+"
# A number with a unit, brackets, a sign behind it, or a minus or space that is not ASCII. Where a column is not known to write
# its numbers so, currencies and percents alone are recognised: ABC123 is a code, 5kg may be one.
MINUS: Final = "-−–"
GROUP_MARKS: Final = " '’\u00a0\u202f"  # between thousands, beside commas and points
_SIGN, _SPACE = r"[+\-−–]", "[ \u00a0\u202f]?"
_BODY = rf"(?:[0-9]{{1,3}}(?:[{GROUP_MARKS}][0-9]{{3}})+(?:[.,][0-9]*)?|[0-9.,]+)"
LONGEST_DECORATED: Final = 64  # characters; longer texts are no numbers with a unit
UNITS: Final = (
    "$ € £ ¥ ₹ ₽ ₩ ₺ ₫ ₪ ₴ ₦ ฿ R$ US$ A$ C$ HK$ NZ$ S$ % ‰ "
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR JPY KES KRW MXN MYR NGN NOK NZD PHP PLN RON "
    "RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR"
)
_BEFORE, _AFTER = "(?:[$€£¥₹%]|[A-Z]{3})?", r"(?:[$€£¥₹%‰]|[A-Za-zµ°]{1,4}[²³/]?[a-z]{0,3})?"
DECORATED: Final = rf"[(]?{_SIGN}?{_SPACE}{_BEFORE}{_SPACE}{_SIGN}?{_BODY}{_SPACE}{_AFTER}{_SIGN}?[)]?"
DECORATION_GROUPS: Final = ("opened", "sign", "before", "inner", "digits", "after", "behind", "closed")
FORMULA: Final = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"  # RE2's; is_formula for Python

_DAY = r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})"
_DOTTED_DAY = r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})"
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
_HALF = r"(?: ?([AaPp][Mm]))?"
_ZONE = r"(?: ?([Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt]|[+-][0-9]{2}(?::?[0-9]{2})?))?"
MOMENT: Final = rf"(?:{_DAY}|{_DOTTED_DAY})(?:[ Tt]{_CLOCK}{_HALF}{_ZONE})?"
# English names of months, which leave no doubt where 05/01/2024 does: 5-Jan-2024, January 5, 2024, Jan 2024, 2024 Jan.
MONTHS: Final = "janfebmaraprmayjunjulaugsepoctnovdec"
_MONTH = (
    "((?:[Jj][Aa][Nn](?:[Uu][Aa][Rr][Yy])?|[Ff][Ee][Bb](?:[Rr][Uu][Aa][Rr][Yy])?|[Mm][Aa][Rr](?:[Cc][Hh])?|[Aa][Pp][Rr](?:[Ii][Ll])?"
    "|[Mm][Aa][Yy]|[Jj][Uu][Nn][Ee]?|[Jj][Uu][Ll][Yy]?|[Aa][Uu][Gg](?:[Uu][Ss][Tt])?|[Ss][Ee][Pp](?:[Tt](?:[Ee][Mm][Bb][Ee][Rr])?)?"
    r"|[Oo][Cc][Tt](?:[Oo][Bb][Ee][Rr])?|[Nn][Oo][Vv](?:[Ee][Mm][Bb][Ee][Rr])?|[Dd][Ee][Cc](?:[Ee][Mm][Bb][Ee][Rr])?))\.?"
)
NAMED_MOMENT: Final = (
    rf"(?:([0-9]{{1,2}})[- /]{_MONTH},?[- /]([0-9]{{4}})|{_MONTH}[- ]([0-9]{{1,2}})(?:, ?| )([0-9]{{4}})"
    rf"|{_MONTH},?[- /]([0-9]{{4}})|([0-9]{{4}})[- /]{_MONTH}(?:[- /]([0-9]{{1,2}}))?)([ Tt].*)?"
)
# Without half of the day and zone: DuckDB's own reader gives the same value, and faster.
SIMPLE_MOMENT: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?"


_OWN_UNIT = r"[^\s0-9.,'’\"\\()+\-−–]{1,8}"
_FORMAT = re.compile(
    rf"(\()?(?:({_OWN_UNIT}) ?)?(1234\.5|1,234\.5|1\.234,5|1[ ']234[.,]5)(?: ?({_OWN_UNIT}))?(\))?"
).fullmatch


def decoration(unit: str | None) -> str:
    """The pattern of a number with this unit (RE2's and re's; groups: DECORATION_GROUPS), which a text may leave out.

    None: any of UNITS.
    """
    units = [unit] if unit is not None else sorted(UNITS.split(), key=len, reverse=True)
    unit = "|".join(map(re.escape, units))
    return rf"(\(?)({_SIGN}?){_SPACE}({unit})?{_SPACE}({_SIGN}?)({_BODY}){_SPACE}({unit})?({_SIGN}?)(\)?)"


@dataclass(frozen=True, slots=True)
class Writing:
    """A number format taken apart. `unit`: before or behind its numbers, perhaps none; `base`: a plain format."""

    unit: str
    base: NumberFormat
    pattern: Any

    def plain(self, text: str) -> str:
        """The text without unit, brackets, spaces; as it is where it is no such number."""
        match = self.pattern(text) if len(text) <= LONGEST_DECORATED else None
        if match is None:
            return text
        opened, sign, before, inner, digits, after, behind, closed = (part or "" for part in match.groups())
        signs = sign + inner + behind
        if len(opened) != len(closed) or len(signs) + len(opened) > 1 or (before and after):
            return text
        minus = opened or (signs in MINUS and signs)
        return ("-" if minus else "") + digits.translate(_UNGROUPED)


_UNGROUPED = dict.fromkeys(map(ord, GROUP_MARKS))


@lru_cache(maxsize=256)
def written(number_format: NumberFormat) -> Writing | None:
    """What a format that is none of the three plain ones says, such as `$1,234.5`, `1.234,5 €`, `1234.5%`, `(1234.5)`, `1 234,5`.

    None for a plain one. Raises ValueError for a text that shows no way to write 1234.5.
    """
    if number_format in _PLAIN_FORMATS:
        return None
    match = _FORMAT(number_format)
    if match is None or bool(match[1]) != bool(match[5]) or (match[2] and match[4]):
        raise ValueError(
            f"{number_format!r} is no number format: write 1234.5 as the column would: 1234.5, 1,234.5, 1.234,5, or with a unit, "
            "brackets or spaces: $1,234.5, 1.234,5 €, 1234.5%, 1234.5 kg, (1,234.5), 1 234,5"
        )
    unit, example = match[2] or match[4] or "", match[3]
    base = COMMA if example.endswith(",5") else GROUPED if "," in example else PLAIN
    return Writing(unit, base, re.compile(decoration(unit)).fullmatch)


def unit_of(text: str) -> str:
    """What stands before or behind the number of a text; empty where there is nothing, or no number."""
    match = re.fullmatch(rf"\(?{_SIGN}?({_OWN_UNIT})?{_SPACE}{_SIGN}?{_BODY}{_SPACE}({_OWN_UNIT})?{_SIGN}?\)?", text)
    return "" if match is None else match[1] or match[2] or ""


def base_of(number_format: NumberFormat) -> NumberFormat:
    """The plain format of a number without its unit."""
    writing = written(number_format)
    return number_format if writing is None else writing.base


def with_base(number_format: NumberFormat, base: NumberFormat) -> NumberFormat:
    """The format with another of the plain ones in it: (1234.5 kg, 1.234,5) is 1.234,5 kg."""
    writing = written(number_format)
    if writing is None or writing.base == base:
        return base if writing is None else number_format
    return with_unit(writing.unit, base, before=number_format.startswith(writing.unit), spaces=" " in number_format)


def with_unit(unit: str, base: NumberFormat, *, before: bool = False, spaces: bool = False) -> NumberFormat:
    """The format of numbers with a unit before or behind them; without a unit in brackets, or with spaces between groups of digits."""
    if unit:
        return f"{unit}{base}" if before else f"{base}{unit}" if unit in "%‰" else f"{base} {unit}"
    if spaces and base != GROUPED:
        return "1 234,5" if base == COMMA else "1 234.5"
    return f"({base})"


class LocalText(str):
    """A cell of a table whose fields no comma separates: 1,234 is a decimal comma there."""

    __slots__ = ()


_PLAIN_FORMATS = frozenset({PLAIN, GROUPED, COMMA})
_number = re.compile(NUMBER).fullmatch
_infinity = re.compile(INFINITY).fullmatch
_comma_decimal = re.compile(COMMA_DECIMAL).fullmatch
_comma_groups = re.compile(COMMA_GROUPS).fullmatch
_point_groups = re.compile(POINT_GROUPS).fullmatch
_sure_groups = re.compile(SURE_GROUPS).fullmatch
_either_comma = re.compile(EITHER_COMMA).fullmatch
_moment = re.compile(MOMENT).fullmatch
_named_moment = re.compile(NAMED_MOMENT).fullmatch
_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # the wide forms are formulas to some spreadsheets
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_SECONDS = 86_400


def number(text: str, number_format: str = PLAIN) -> float | None:
    """The number a trimmed text stands for in a column that writes its numbers so; None when it is none.

    An infinity for `inf` and its kin, which means missing, and for a number beyond double precision, which does not
    (is_beyond tells). With a unit the number is what stands there: 12 % is 12.
    """
    writing = written(number_format)
    if writing is not None:
        text, number_format = writing.plain(text), writing.base
    if number_format == COMMA:
        if _point_groups(text):
            text = text.replace(".", "").replace(",", ".")
        elif _comma_decimal(text):
            text = text.replace(",", ".")
    elif number_format == GROUPED and _comma_groups(text):
        text = text.replace(",", "")
    if _number(text):
        return float(text)
    return float(text) if _infinity(text) else None


def is_beyond(number: float, text: str = "") -> bool:
    """Whether a number is beyond what models compute with. `inf` as a text means missing instead."""
    return abs(number) > FLOAT32_MAX and not (math.isinf(number) and _infinity(text))


def choose_format(
    counts: Mapping[str, int], known: NumberFormat, *, separated_by_comma: bool, comma_elsewhere: bool = False
) -> NumberFormat:
    """How a column writes its numbers, from how many of its cells match which pattern.

    `counts`: comma, groups (SURE_COMMA or another decimal comma, SURE_GROUPS), either_comma, either_point, points. `known`:
    what the reference says. `comma_elsewhere`: another column of the file has decimal commas.
    A column with both kinds of certain texts has no format: its numbers stay text.
    """
    if counts["comma"] or counts["groups"]:
        both = counts["comma"] and counts["groups"]
        return PLAIN if both else COMMA if counts["comma"] else GROUPED
    if counts["either_comma"]:
        fallback: NumberFormat = GROUPED if separated_by_comma else COMMA
        return known if known != PLAIN else fallback
    if counts["points"]:
        return PLAIN
    return COMMA if known == PLAIN and comma_elsewhere and counts["either_point"] else known


def format_of(text: str, known: str, *, comma: bool) -> str:
    """How a single text writes its number where no other cell of its column is at hand.

    `comma`: it comes from a table whose fields no comma separates. 1,234 without any such hint has no format: it is no number.
    """
    if known != PLAIN or "," not in text:
        return known
    if _sure_groups(text):
        return GROUPED
    return COMMA if comma or not _either_comma(text) else PLAIN


def boolean(text: str) -> bool | None:
    """True or false by a trimmed text; None when it says neither."""
    lowered = text.lower()
    if lowered in TRUE:
        return True
    return False if lowered in FALSE else None


def moment(text: str) -> int | None:
    """Microseconds since 1970-01-01 UTC of a trimmed text; None when it is no moment. Without a zone it is UTC."""
    match = _moment(text) or _moment(_numbered(text))
    if match is None:
        return None
    y, m, d, dotted_d, dotted_m, dotted_y, hour, minute, second, fraction, half, zone = match.groups()
    try:
        day = date(int(y or dotted_y), int(m or dotted_m), int(d or dotted_d)).toordinal() - _EPOCH
    except ValueError:
        return None
    micro = 0
    if hour is not None:
        clock = _clock(int(hour), int(minute), int(second or 0), half or "")
        shift = _shift(zone or "")
        if clock is None or shift is None:
            return None
        fractional = int((fraction or "0")[:6].ljust(6, "0"))
        if clock == _DAY_SECONDS and fractional:
            return None
        micro = (clock - shift) * 1_000_000 + fractional
    return day * _DAY_SECONDS * 1_000_000 + micro


def _numbered(text: str) -> str:
    """A moment that names its month, with the month's number; without a day it is the first. Other texts are empty."""
    match = _named_moment(text)
    if match is None:
        return ""
    d1, m1, y1, m2, d2, y2, m3, y3, y4, m4, d4, rest = match.groups()
    name = (m1 or m2 or m3 or m4)[:3].lower()
    return f"{y1 or y2 or y3 or y4}-{MONTHS.index(name) // 3 + 1:02d}-{(d1 or d2 or d4 or '1').zfill(2)}{rest or ''}"


def _clock(hour: int, minute: int, second: int, half: str) -> int | None:
    """Seconds since midnight; 24:00:00 is the next one."""
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half.lower() == "pm")
    if minute > 59 or second > 59 or hour > 24 or (hour == 24 and (minute or second)):
        return None
    return hour * 3600 + minute * 60 + second


def _shift(zone: str) -> int | None:
    """Seconds east of UTC."""
    if not zone or zone[0] not in "+-":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
    if hours > 23 or minutes > 59:
        return None
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)


def days(microseconds: int) -> float:
    """A moment as models get it. Two divisions, as training makes them, so that not even the last bit differs."""
    return microseconds / 1e6 / _DAY_SECONDS


def spellings(markers: Iterable[str]) -> tuple[str, ...]:
    """Texts that mean missing, and of a number also the ways in which files write it: for -999 also -999.0, -999.00 and -999,0."""
    written: list[str] = []
    for marker in markers:
        written.append(marker)
        if number_of_marker(marker) is not None:
            value = float(marker)
            whole = value.is_integer() and abs(value) < 2**53
            texts = [f"{value:.0f}", f"{value:.1f}", f"{value:.2f}"] if whole else [repr(value)]
            written += [*texts, *(t.replace(".", ",") for t in texts)]
    return tuple(dict.fromkeys(written))


def number_of_marker(marker: str) -> float | None:
    """The number that the text is; None for a text that is none, and for codes with leading zeros."""
    return float(marker) if re.fullmatch(_MARKER_NUMBER, marker) and math.isfinite(float(marker)) else None


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run the text (CWE-1236). A number such as -5 or +1.5e3 is a number and nothing else."""
    return text[:1] in _FORMULA_STARTS and not _number(text)
