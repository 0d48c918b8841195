"""What a column's cells look like to a person and are not read as: dates, times and numbers in forms that have no one meaning here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from dropforge import value_formats
from dropforge.datasets.table_schema import Kind

_MOST: Final = 0.9  # of the most frequent texts
_MONTHS: Final = "jan|feb|mar|apr|mai|may|jun|jul|aug|sep|oct|okt|nov|dec|dez"
_NUMBER: Final = "[+-]?(?:[1-9][0-9.,]*|0(?:[.,][0-9]+)?)"
_TIME_UNITS: Final = (
    "d|h|m|s|ms|min|sec|std|tage?|stunden?|minuten|sekunden|"
    "hrs?|days?|hours?|minutes?|seconds?|years?|yrs?|months?|weeks?"
)
_NAMED: Final = "dates with the month's name are read as text; write 2024-12-31"
_FORMS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE).fullmatch, message)
    for pattern, message in (
        (
            r"[+-]?0x[0-9a-f]+(\.[0-9a-f]*)?(p[+-]?[0-9]+)?",
            "hexadecimal numbers are read as text; write them as decimal ones if their size matters",
        ),
        (r"[0-9][0-9.,]*[-\u2212]", "numbers with the minus behind them are read as text; write -12"),
        (
            r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?( ?[ap]m)?",
            "times of day are read as text; write a number, such as minutes since midnight",
        ),
        (
            r"-?[0-9]{3,}:[0-9]{2}(:[0-9]{2})?|P(?=.)[0-9.YMWDTHS]+",
            "durations are read as text; write a number in one unit",
        ),
        (
            r"[0-9]{4}-?W[0-9]{2}(-?[1-7])?|[0-9]{4}-?Q[1-4]|Q[1-4][-/ ]?[0-9]{4}|[0-9]{4}[-/][0-9]{2}|"
            r"(0?[1-9]|1[0-2])[-/](19|20)[0-9]{2}",
            "weeks, quarters or months are read as text; write their first day, 2024-12-31",
        ),
        (
            r"[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2}",
            "dates with two digits for the year are read as text; write 2024-12-31",
        ),
        (rf"[0-9]{{1,2}}[ .-]+({_MONTHS})[a-z.]*[ ,.-]+[0-9]{{2,4}}.*", _NAMED),
        (
            rf"({_MONTHS})[a-z.]*[ .-]+([0-9]{{4}}|'?[0-9]{{2}})",
            "months are read as text; write their first day, 2024-12-31",
        ),
        (rf"([a-z]{{2,9}}\.?,? )?[0-9]{{1,2}}[ .-]+({_MONTHS})[a-z.]*[ ,.-]+[0-9]{{2,4}}.*", _NAMED),
        (rf"({_MONTHS})[a-z.]*[ .-]+[0-9]{{1,2}},?[ .-]+[0-9]{{2,4}}.*", _NAMED),
        (
            rf"{_NUMBER} ?({_TIME_UNITS})\.? ?({_NUMBER} ?({_TIME_UNITS})\.? ?){{1,3}}|[0-9]{{1,2}} ?h ?[0-9]{{2}}",
            "durations are read as text; write a number in one unit",
        ),
        (
            rf"([<>\u2264\u2265~\u2248\u00b1#]=?|ca\.?|circa|approx\.?|about|etwa|n[or](\.|(?= ))|\u2116) ?{_NUMBER}"
            rf"|{_NUMBER} ?[*+\u2020]",
            "numbers with a bound or a mark are read as text; write the plain number, and the mark in a column of its own",
        ),
        (
            rf"{_NUMBER} ?(-|\u2013|to|bis|\.\.) ?{_NUMBER}",
            "ranges of numbers are read as text; write their ends in two columns if their size matters",
        ),
        (
            rf"({_NUMBER} )?{_NUMBER} ?(/|of|:) ?{_NUMBER}",
            "ratios are read as text; write one number, or two columns, if their size matters",
        ),
        (r"[0-9]{1,3}(_[0-9]{3})+", "numbers with _ between digits are read as text; write 1234"),
        (
            r"[0-9]{1,3}\u00b0 ?([0-9]{1,2}['\u2032\u2019] ?)?([0-9.]+[\"\u2033] ?)?[NSEWO]?",
            "degrees and minutes are read as text; write decimal degrees",
        ),
        (
            r"[0-9]{4}\.[0-9]{1,2}\.[0-9]{1,2}.*|[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}.*",
            "dates in this order are read as text; write 2024-12-31",
        ),
    )
)
_DOTTED: Final = re.compile(r"v?[0-9]+(\.[0-9]+){2,}|[0-9]+[.)] .*[A-Za-z]{2}.*").fullmatch
_GROUPED: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{3})+").fullmatch
_DAMAGE: Final = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\ufffd")
_YEAR, _MONTH, _DAY_OF_MONTH = "(19|20)[0-9]{2}", "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"
_CLOCK: Final = "([01][0-9]|2[0-3])[0-5][0-9]([0-5][0-9])?"
_DATES: Final = (
    r"(?<!candi)(?<!vali)date(?!d)|datum|fecha|\bdob\b|birth|expir|created|updated|timestamp|"
    r"\b(dt|day|when|due|month|period)\b"
)
# Whole numbers that are moments to a person: what the column's name must have, all texts, what they look like.
_MOMENTS: Final = tuple(
    (re.compile(name, re.IGNORECASE).search, re.compile(pattern).fullmatch, message)
    for name, pattern, message in (
        ("", _YEAR + _MONTH + _DAY_OF_MONTH, "dates: read as numbers; write them as 2024-12-31"),
        ("", _YEAR + _MONTH + _DAY_OF_MONTH + _CLOCK, "moments: read as numbers; write them as 2024-12-31 23:59:00"),
        (
            "",
            _YEAR + _MONTH,
            "months: read as numbers, December and January 89 apart; write their first day, 2024-12-01",
        ),
        (
            r"\b(week|wk|kw)",
            _YEAR + "(0[1-9]|[1-4][0-9]|5[0-3])",
            "weeks: read as numbers; write their first day, 2024-12-30",
        ),
        (r"\b(quarter|qtr|q)\b", _YEAR + "0?[1-4]", "quarters: read as numbers; write their first day, 2024-10-01"),
        (_DATES, "(0?[1-9]|[12][0-9]|3[01])" + _MONTH + _YEAR, "dates: read as numbers; write them as 2024-12-31"),
        (_DATES, rf"(0?[1-9]|1[0-2])\.{_YEAR}", "months: read as fractions; write their first day, 2024-12-01"),
    )
)
_SINCE_1970: Final = ((1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds"))
_SECONDS: Final = (946_684_800, 2_208_988_800)  # 2000 to 2040, since 1970
_EXCEL_DAYS: Final = (18_264, 73_050)  # 1950 to 2099, since 1899-12-30
_NAMED_DATE: Final = re.compile(_DATES, re.IGNORECASE).search
_CALLED_DATE: Final = re.compile(r"\b(date|datum|fecha|dob|timestamp)$", re.IGNORECASE).search
_NAMED_TIME: Final = re.compile(r"time|hour|\b(dep|arr|hhmm)\b", re.IGNORECASE).search
_NAMED_YEAR: Final = re.compile(r"year|jahr|\b(yr|annee|année|año|anno|ano|rok|god|år)\b", re.IGNORECASE).search
_USUAL_YEARS: Final = (1700, 2150)
_BUDDHIST_YEARS: Final = (2400, 2650)  # 1857 to 2107
_FILLERS: Final = frozenset({1753, 1800, 1899, 1900, 1901, 1970})  # years of dates that programs write for unknown ones
_LATEST: Final = 2037  # a later year that no other is near means without end
_GAP: Final = 20  # years between a filler and the next date
_FEWEST_TIMES: Final = 20  # different numbers by which times of day are known
# Yes and no, as people write them in the languages of Europe and beyond; folded (see folded).
_YES_WORDS: Final = (
    "true t yes y 1 on x ok ja j oui o si s sì sí sim verdadero verdadeiro vero vrai wahr да д tak ano "
    "igen igaz evet sant kyllä ✓ ✔ ☑ ✅ ● + はい 是 有 对 真 예 네 نعم כן ναι हाँ active enabled"
)
_NO_WORDS: Final = (
    "false f no n 0 off nein non não nao nej ei falso faux falsch нет н nie ne nem hamis hayır hayir "
    "falskt ✗ ✘ ☐ ❌ ❎ ○ - – × いいえ 否 无 無 不 假 아니요 아니오 لا לא όχι नहीं inactive disabled"
)
_YES, _NO = (frozenset(words.split()) for words in (_YES_WORDS, _NO_WORDS))


def folded(text: str) -> str:
    """What is left of a text without case, Unicode form, doubled blanks and a point behind it."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("\ufe0f", "").split()).rstrip(" .!") or text


def answers(common: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """How many of the texts say yes or no (0: not both are there), and those that say neither."""
    words = [t for t in common if folded(t) in _YES or folded(t) in _NO]
    others = tuple(t for t in common if t not in words)
    # Beside other texts single letters are codes: colours D to J, protocols.
    sure = [folded(t) for t in words if not others or len(folded(t)) > 1]
    return (len(words), others) if _YES.intersection(sure) and _NO.intersection(sure) else (0, ())


def spelled_twice(common: Sequence[str]) -> tuple[str, ...]:
    """Texts that differ only in what `folded` takes away, of the first word that has several; empty when none has."""
    of_word: dict[str, list[str]] = {}
    for text in common:
        of_word.setdefault(folded(text), []).append(text)
    return next((tuple(sorted(texts)) for texts in of_word.values() if len(texts) > 1), ())


def of_texts(common: Sequence[str]) -> str:
    """What the texts of a column look like; empty when nothing is to be message."""
    if not common:
        return ""
    for matches, message in _FORMS:
        if sum(matches(t) is not None for t in common) >= _MOST * len(common):
            return message
    if sum(value_formats.number(t) is None and _is_foreign(t) for t in common) >= _MOST * len(common):
        return "numbers in the digits of another script are read as text; write 0 to 9"
    damaged = next((t for t in common if _DAMAGE.search(t)), "")
    return (
        f"{damaged[:40]!r} looks like text that was decoded in the wrong encoding: export the table again"
        if damaged
        else ""
    )


def are_dotted(common: Sequence[str]) -> bool:
    """Whether the texts are versions, addresses (1.2.3) or numbered words (1. Male), which are no numbers."""
    dotted = sum(_DOTTED(t) is not None and _GROUPED(t) is None for t in common)
    return bool(common) and dotted >= 0.3 * len(common)


def of_numbers(name: str, kind: Kind, low: float | None, high: float | None, common: Sequence[str]) -> str:
    """What numbers are to a person who reads the column's name: moments; empty when nothing is to be said."""
    if low is None or high is None or len(common) < 2:
        return ""
    words = re.sub(r"[^0-9A-Za-z\u00c0-\u024f]+|_", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    looks = next((looks for named, matches, looks in _MOMENTS if named(words) and all(map(matches, common))), "")
    if not looks:
        units = (u for size, u in _SINCE_1970 if _SECONDS[0] * size <= low <= high <= _SECONDS[1] * size)
        looks = "".join(f"{u} since 1970: read as numbers; write dates" for u in units)
    if looks:
        return f"numbers such as {common[0]} look like {looks} if they are"
    return _of_name(words, kind, (low, high), common)


def _of_name(words: str, kind: Kind, span: tuple[float, float], common: Sequence[str]) -> str:
    """What the name makes of numbers from the first to the second of `span`."""
    low, high = span
    dated, timed, years = (bool(named(words)) for named in (_NAMED_DATE, _NAMED_TIME, _NAMED_YEAR))
    whole, such = kind == "integer", f"numbers such as {common[0]}"
    if dated and _EXCEL_DAYS[0] <= low <= high <= _EXCEL_DAYS[1]:
        day = date(1899, 12, 30) + timedelta(days=int(low))
        such = f"numbers such as {low:g}"
        return (
            f"{such} look like days as Excel counts them ({low:g} is {day}): read as numbers; write dates if they are"
        )
    if whole and years and low >= 1000 and high > _USUAL_YEARS[1]:
        return of_years([(int(low), 0), (int(high), 0)])
    if whole and timed and 0 <= low < 2400 and 100 <= high <= 2400 and _are_times(common):
        return f"{such} look like hours and minutes: read as numbers; write minutes since midnight if they are"
    if not whole and (dated or timed or years) and _USUAL_YEARS[0] <= low <= high <= _USUAL_YEARS[1]:
        return f"{such} look like years with their fraction: read as numbers; write dates if they are"
    called = _CALLED_DATE(words)
    return f"{such} in a column called a date are read as numbers; write dates if they are" if called else ""


def _are_times(common: Sequence[str]) -> bool:
    return len(common) >= _FEWEST_TIMES and all(t.isdigit() and int(t) % 100 < 60 for t in common)


def of_years(years: Sequence[tuple[int, int]]) -> str:
    """What dates of these years (rising, each with its rows) look like that a person would not take as they are written."""
    if not years:
        return ""
    first, last = years[0], years[-1]
    if _BUDDHIST_YEARS[0] <= first[0] and last[0] <= _BUDDHIST_YEARS[1]:
        calendar = f"years {first[0]} to {last[0]} look like those of the Buddhist calendar"
        return f"{calendar}; read as they are written: write {first[0] - 543} for {first[0]} if they are"
    odd = [y for y in years if not _USUAL_YEARS[0] <= y[0] <= _USUAL_YEARS[1]]
    if len(years) > 1:
        odd += [first] if first[0] in _FILLERS and years[1][0] - first[0] >= _GAP else []
        odd += [last] if last not in odd and last[0] > _LATEST and last[0] - years[-2][0] >= _GAP else []
    if not odd:
        return ""
    shown = ", ".join(f"{year:04d}{f' ({rows:,} rows)' if rows else ''}" for year, rows in odd[:3])
    return f"the years {shown} are read as they are written; leave the cells empty if they mean unknown or without end"


def _is_foreign(text: str) -> bool:
    """A number after Unicode's compatible forms: ١٢, １２, ½."""
    plain = "".join(str(unicodedata.digit(c, c)) for c in unicodedata.normalize("NFKC", text)).replace("\u2044", "/")
    return re.fullmatch(r"[+-]?[0-9]+([./,][0-9]+)?", plain) is not None
