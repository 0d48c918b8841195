"""Request bodies to records. Everything a caller can get wrong is told with a code, a place and a fix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from dropforge.errors import InvalidRequest
from dropforge.ingest import csv_text
from dropforge.value_formats import LocalText

MAX_DEPTH = 16
MAX_DIGITS = 400  # of a number; Python's own limit for integers is 4300 and raises
_KEYS = ("records", "dataframe_records", "dataframe_split", "inputs", "instances")


def check_size(body: bytes, limit: int) -> None:
    """Raises InvalidRequest (413) for a body over `limit` bytes."""
    if len(body) > limit:
        raise InvalidRequest(
            f"the body has {len(body):,} bytes; the limit is {limit:,}",
            code="body_too_large",
            fix="send fewer rows",
            status=413,
        )


def parse(body: bytes, content_type: str, max_rows: int, *, nan_is_missing: bool = False) -> list[Mapping[str, Any]]:
    """Records of a JSON or CSV body. Raises InvalidRequest (415, 413, 422).

    `nan_is_missing`: take the word NaN, which is no JSON, for null, as MLflow's client writes it for missing cells.
    """
    if _kind(content_type) == "text/csv":
        records = _from_csv(body)
    else:
        check_json(content_type, "text/csv")
        records = _from_json(loads(body, nan_is_missing=nan_is_missing))
    if not records:
        raise InvalidRequest("no records", code="no_records", fix='send {"records": [{…}]} with at least one record')
    if len(records) > max_rows:
        raise InvalidRequest(
            f"{len(records):,} records; the limit of one request is {max_rows:,}",
            code="too_many_records",
            fix="send several requests, or put a file under batch/",
            status=413,
        )
    return records


def check_json(content_type: str, *others: str) -> None:
    """Raises InvalidRequest (415) for another type than JSON; `others` are told as accepted too. None at all is JSON."""
    kind = _kind(content_type)
    if kind not in {"application/json", ""}:
        raise InvalidRequest(
            f"content type {kind[:80]!r} is not accepted",
            code="content_type",
            fix=f"send {' or '.join(('application/json', *others))}",
            status=415,
        )


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def loads(body: bytes, *, nan_is_missing: bool = False) -> Any:
    """JSON with the gaps of the standard parser closed: no NaN, no overflow, no duplicate key, no deep nesting."""
    if not body.strip():
        raise InvalidRequest("the body is empty", code="empty_body", fix='send {"records": [{…}]}')
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not UTF-8 at byte {error.start}", code="encoding", fix="send UTF-8"
        ) from None
    if _depth(text) > MAX_DEPTH:
        raise InvalidRequest(f"the body nests deeper than {MAX_DEPTH} levels", code="too_deep", fix="send flat records")
    try:
        return json.loads(
            text,
            parse_constant=_nan_as_null if nan_is_missing else _not_finite,
            parse_float=_float,
            parse_int=_int,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            code="malformed_json",
            fix="check quotes, commas and brackets there",
        ) from None


def _depth(text: str) -> int:
    """Deepest nesting; brackets inside strings count too, which only ever overestimates when they are unbalanced."""
    deepest = depth = 0
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    inside = escaped = False
    for c in text:
        if inside:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                inside = False
        elif c == '"':
            inside = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                return deepest
        elif c in "]}":
            depth -= 1
    return deepest


def _not_finite(text: str) -> NoReturn:
    raise InvalidRequest(f"{text} is not a JSON number", code="not_finite", fix="send null for an unknown value")


def _nan_as_null(text: str) -> None:
    if text != "NaN":
        _not_finite(text)


def _float(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise InvalidRequest(
            f"{text[:40]} is beyond the range of a number", code="not_finite", fix="send a finite number, or null"
        )
    return number


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InvalidRequest(
            f"a number has {len(text):,} digits", code="number_too_long", fix="send a number of ordinary size"
        )
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    created = dict(pairs)
    if len(created) != len(pairs):
        keys = [k for k, _ in pairs]
        twice = next(k for k in keys if keys.count(k) > 1)
        raise InvalidRequest(f"the key {twice!r} is given twice", code="duplicate_key", fix="send each key once")
    return created


def _from_json(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, dict):
        _shape("the body must be an object")
    given = [k for k in _KEYS if k in value]
    if len(given) != 1:
        _shape(f"the body has {'none' if not given else 'several'} of {', '.join(_KEYS)}")
    content = value[given[0]]
    if given[0] == "dataframe_split":
        return _split(content)
    if given[0] == "inputs" and isinstance(content, dict):
        return _columns(content)
    if not isinstance(content, list):
        _shape(f"{given[0]} must be a list of objects")
    for i, record in enumerate(content):
        if not isinstance(record, dict):
            _shape(f"{given[0]}[{i}] must be an object of column: value")
    return content


def _split(content: Any) -> list[Mapping[str, Any]]:
    columns, data = (content.get("columns"), content.get("data")) if isinstance(content, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(c, str) for c in columns):
        _shape("dataframe_split needs columns (list of names) and data (list of rows)")
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            _shape(f"dataframe_split.data[{i}] must be a list of {len(columns)} values")
    return [dict(zip(columns, row, strict=True)) for row in data]


def _columns(content: dict[str, Any]) -> list[Mapping[str, Any]]:
    if not content or not all(isinstance(v, list) for v in content.values()):
        _shape("inputs as an object needs a list of values for each column")
    if len({len(v) for v in content.values()}) != 1:
        _shape("the columns of inputs differ in length")
    return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]


def _from_csv(body: bytes) -> list[Mapping[str, Any]]:
    try:
        text = body.decode("utf-8-sig")
        delimiter = _delimiter(text)
        rows = csv_text.rows(text, delimiter)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not UTF-8 at byte {error.start}", code="encoding", fix="send UTF-8"
        ) from None
    except ValueError as error:
        raise InvalidRequest(f"not CSV: {error}", code="malformed_csv", fix="check quotes and delimiters") from None
    if not rows:
        raise InvalidRequest("the body is empty", code="empty_body", fix="send a header line and rows")
    header = [c.strip() for c in rows[0]]
    if len(set(header)) != len(header):
        raise InvalidRequest("the header names a column twice", code="duplicate_key", fix="name each column once")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise InvalidRequest(
                f"line {number} has {len(row)} fields where the header has {len(header)}",
                code="malformed_csv",
                fix="give every row all fields",
            )
    cell = str if delimiter == "," else LocalText
    return [dict(zip(header, map(cell, row), strict=True)) for row in rows[1:]]


def _delimiter(text: str) -> str:
    """A comma, unless the header has none but another delimiter that uploads may have."""
    header = text.lstrip().partition("\n")[0]
    return "," if "," in header else next((d for d in ";\t|" if d in header), ",")


def _shape(message: str) -> NoReturn:
    raise InvalidRequest(message, code="malformed_request", fix='send {"records": [{"column": value, …}, …]}')
