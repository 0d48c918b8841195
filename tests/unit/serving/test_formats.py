"""Request bodies: every accepted form gives the same records, everything else a clear refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge.errors import InvalidRequest
from dropforge.serving import request_formats
from dropforge.value_formats import LocalText

RECORDS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
FORMS = [
    {"records": RECORDS},
    {"dataframe_records": RECORDS},
    {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}},
    {"inputs": RECORDS},
    {"inputs": {"a": [1, 2], "b": ["x", "y"]}},
    {"instances": RECORDS},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: next(iter(f)))
def test_every_form_gives_the_same_records(form: dict[str, Any]) -> None:
    """What clients of other servers already send is understood."""
    assert request_formats.parse(json.dumps(form).encode(), "application/json; charset=utf-8", 10) == RECORDS


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_with_the_delimiters_of_uploads(delimiter: str) -> None:
    """Told by the header; cells stay texts that the column's kind reads, and say that a comma is a decimal one there."""
    body = 'a;b\n1,5;x, y\n-2;"z"\n'.replace(";", delimiter).encode()
    rows = request_formats.parse(body, "text/csv", 10)
    assert rows == [{"a": "1,5", "b": "x, y"}, {"a": "-2", "b": "z"}]
    assert all(isinstance(v, LocalText) for row in rows for v in row.values())


def test_csv_is_read_as_text_cells() -> None:
    """The predictor turns them into numbers."""
    assert request_formats.parse(b"a,b\r\n1,x\r\n2,y\r\n", "text/csv", 10) == [
        {"a": "1", "b": "x"},
        {"a": "2", "b": "y"},
    ]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/json", 422, "empty_body"),
        (b"  ", "application/json", 422, "empty_body"),
        (b"null", "application/json", 422, "malformed_request"),
        (b"[]", "application/json", 422, "malformed_request"),
        (b"{}", "application/json", 422, "malformed_request"),
        (b'{"records": []}', "application/json", 422, "no_records"),
        (b'{"records": [1]}', "application/json", 422, "malformed_request"),
        (b'{"records": {}}', "application/json", 422, "malformed_request"),
        (b'{"records": [{}], "inputs": [{}]}', "application/json", 422, "malformed_request"),
        (b'{"records": [{}, {}, {}]}', "application/json", 413, "too_many_records"),
        (b'{"records": [{"a": NaN}]}', "application/json", 422, "not_finite"),
        (b'{"records": [{"a": -Infinity}]}', "application/json", 422, "not_finite"),
        (b'{"records": [{"a": 1e999}]}', "application/json", 422, "not_finite"),
        (b'{"records": [{"a": ' + b"9" * 5000 + b"}]}", "application/json", 422, "number_too_long"),
        (b'{"records": [{"a": 1, "a": 2}]}', "application/json", 422, "duplicate_key"),
        (b'{"records": ' + b"[" * 100_000, "application/json", 422, "too_deep"),
        (b'{"records": [', "application/json", 422, "malformed_json"),
        (b"\xff\xfe", "application/json", 422, "encoding"),
        (b"{}", "application/xml", 415, "content_type"),
        (b"a,b\n1\n", "text/csv", 422, "malformed_csv"),
        (b"a,a\n1,2\n", "text/csv", 422, "duplicate_key"),
        (b'a\n"open', "text/csv", 422, "malformed_csv"),
        (b"a\n", "text/csv", 422, "no_records"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "application/json", 422, "malformed_request"),
        (b'{"inputs": {"a": [1], "b": []}}', "application/json", 422, "malformed_request"),
    ],
)
def test_a_callers_mistake_has_a_code_and_a_fix(body: bytes, kind: str, status: int, code: str) -> None:
    """A stable code, words, and how to mend it; never anything but InvalidRequest."""
    with pytest.raises(InvalidRequest) as caught:
        request_formats.parse(body, kind, 2)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.fix


def test_a_body_over_the_limit_is_413() -> None:
    """Size is checked before anything is parsed."""
    with pytest.raises(InvalidRequest) as caught:
        request_formats.check_size(b"x" * 11, 10)
    assert caught.value.status == 413


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Whatever is sent is either records or InvalidRequest."""
    for kind in ("application/json", "text/csv"):
        try:
            assert request_formats.parse(body, kind, 5)
        except InvalidRequest:
            continue


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("records", "inputs", "dataframe_split", "x"), _json)))
def test_no_json_raises_anything_else(value: Any) -> None:
    """Nor does any JSON of another shape."""
    try:
        assert request_formats.parse(json.dumps(value).encode(), "application/json", 5)
    except InvalidRequest:
        return
