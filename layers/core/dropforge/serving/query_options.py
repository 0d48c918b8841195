"""What a caller may ask of one prediction, by query parameters: which version, how sure, why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dropforge.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z][\w.-]{0,127}")
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
PARAMETERS: Final = ("model", "alias", "coverage", "quantiles", "explain")
_MOST_QUANTILES: Final = 20


@dataclass(frozen=True, slots=True)
class Options:
    """`model` and `alias` empty: the active model. `coverage` 0: no prediction sets."""

    model: str = ""
    alias: str = ""
    coverage: float = 0.0
    explain: bool = False
    quantiles: tuple[float, ...] = ()  # of a regression

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Options:
        """Raises InvalidRequest for a parameter that is unknown or not of its kind."""
        if not query:
            return DEFAULT
        unknown = sorted(set(query) - set(PARAMETERS))
        if unknown:
            raise InvalidRequest(
                f"unknown parameter {unknown[0][:60]!r}",
                code="parameter_unknown",
                fix=f"known are {', '.join(PARAMETERS)}",
            )
        return cls(
            _name(query, "model"), _name(query, "alias"), _coverage(query), _flag(query, "explain"), _quantiles(query)
        )


DEFAULT: Final = Options()


def name(value: str, what: str) -> str:
    """A model's name or an alias, never a path. Raises InvalidRequest."""
    if not _NAME.fullmatch(value):
        raise InvalidRequest(
            f"{value[:60]!r} is no name of {what}",
            code="name_invalid",
            fix="a letter, then letters, digits, dot, dash or underscore; GET /model_info names the active model",
        )
    return value


def _name(query: Mapping[str, str], key: str) -> str:
    return name(query[key], "a model" if key == "model" else "an alias") if key in query else ""


def _coverage(query: Mapping[str, str]) -> float:
    if "coverage" not in query:
        return 0.0
    try:
        share = float(query["coverage"])
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InvalidRequest(
            f"coverage {query['coverage'][:60]!r} is no share",
            code="coverage_invalid",
            fix="a number between 0 and 1: 0.9",
        )
    return share


def _quantiles(query: Mapping[str, str]) -> tuple[float, ...]:
    if "quantiles" not in query:
        return ()
    try:
        given = tuple(float(q) for q in query["quantiles"].split(",", _MOST_QUANTILES + 1))
    except ValueError:
        given = ()
    if not given or len(given) > _MOST_QUANTILES or not all(0 < q < 1 for q in given):
        raise InvalidRequest(
            f"quantiles {query['quantiles'][:60]!r} are not numbers between 0 and 1",
            code="quantiles_invalid",
            fix=f"at most {_MOST_QUANTILES} numbers with commas between them: 0.1,0.9",
        )
    return given


def _flag(query: Mapping[str, str], key: str) -> bool:
    value = query.get(key, "false").lower()
    if value not in _FLAGS:
        raise InvalidRequest(
            f"{key} {value[:60]!r} is neither true nor false", code="parameter_invalid", fix="send true"
        )
    return _FLAGS[value]
