"""Regular expressions that Python and DuckDB (RE2) read alike, and that no text can make slow.

Python's engine backtracks: (a+)+$ needs 2^n steps for n letters. So a pattern is accepted only if the number of ways in which
it can divide a text of LONGEST characters is bounded; longer texts match no pattern, for either reader. By hand because
RE2 for Python is a compiled package of 3 MB that /predict would have to load. This module loads the standard library only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]  # the tree of a pattern has no public name
from re import _parser as parser  # type: ignore[attr-defined]  # as above
from typing import Any, Final

LONGEST: Final = 1000  # characters of a text that can match
_MOST_PATHS: Final = 5_000_000  # at most about 0.1 s of Python's engine
_REPEATS: Final = frozenset({codes.MAX_REPEAT, codes.MIN_REPEAT})
_REPEATED_MOST: Final = 1000  # RE2's own limit
_CATEGORIES: Final = frozenset(
    {codes.CATEGORY_DIGIT, codes.CATEGORY_NOT_DIGIT, codes.CATEGORY_WORD, codes.CATEGORY_NOT_WORD}
)


def check(pattern: str) -> None:
    """Raises ValueError, which says what to write instead, for a pattern that cannot be used."""
    if len(pattern) > LONGEST:
        raise ValueError(f"the pattern has more than {LONGEST} characters")
    if "[:" in pattern or "{," in pattern:
        raise ValueError("[: and {, mean different things to different readers; write [A-Za-z] and {0,3}")
    try:
        tree = parser.parse(pattern, re.ASCII)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} cannot be read: {error}") from None
    if tree.state.flags & ~re.ASCII:
        raise ValueError("flags such as (?i) are not accepted; write [Aa]")
    if _paths(tree) > _MOST_PATHS:
        raise ValueError(
            "some text could make the pattern slow: at most two repetitions without a limit (*, +), none inside another, "
            "no alternatives (a|b) inside a repetition without a limit"
        )


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Of a pattern that `check` accepts; \\d and \\w know ASCII only, as RE2's."""
    return re.compile(pattern, re.ASCII)


def is_full_match(pattern: str, text: str) -> bool:
    """Whether the whole text matches; one of more than LONGEST characters does not."""
    return len(text) <= LONGEST and compiled(pattern).fullmatch(text) is not None


def _paths(tree: Any) -> int:
    """In how many ways the tree can divide a text, at most; capped just above _MOST_PATHS."""
    total = 1
    for code, value in tree:
        total = min(total * _ways(code, value), _MOST_PATHS + 1)
    return total


def _ways(code: Any, value: Any) -> int:
    if code in _REPEATS:
        low, high, inner = int(value[0]), value[1], _paths(value[2])
        unlimited = high is codes.MAXREPEAT
        if not unlimited and int(high) > _REPEATED_MOST:
            raise ValueError(f"a repetition of more than {_REPEATED_MOST} is not accepted; write * or +")
        most = LONGEST if unlimited else int(high)
        counts = most - min(low, most) + 1
        return counts if inner == 1 else counts * min(inner, _MOST_PATHS) ** min(most, 32)
    if code is codes.SUBPATTERN:
        if value[1] or value[2]:
            raise ValueError("flags such as (?i) are not accepted; write [Aa]")
        return _paths(value[3])
    if code is codes.BRANCH:
        return sum(_paths(branch) for branch in value[1])
    if code is codes.IN:
        for inner_code, inner in value:
            _check_class(inner_code, inner)
        return 1
    if code is codes.CATEGORY:
        _check_class(code, value)
        return 1
    if code in {codes.LITERAL, codes.NOT_LITERAL, codes.ANY}:
        return 1
    if code is codes.AT and value in {codes.AT_BEGINNING, codes.AT_END}:
        raise ValueError("^ and $ are not needed: the whole value has to match")
    raise ValueError(f"{str(code).lower()} is not accepted: look-arounds, back-references and \\b have no equal in RE2")


def _check_class(code: Any, value: Any) -> None:
    if code is codes.CATEGORY and value not in _CATEGORIES:
        raise ValueError("\\s means different things to different readers; write [ \\t]")
