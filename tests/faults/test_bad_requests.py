"""Faults 25 to 34: whatever a caller sends is answered with a 4xx that has a code, a message and a fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.api.routes import ACCESS

Ask = Callable[..., tuple[int, Any]]
ROW = {"age": 39, "job": "cook", "member": True, "joined": "2021-03-01"}
DIALECTS = [("/predict", ""), ("/invocations", ""), ("/v2/models/{model}/infer", "forest")]


def _refused(answer: tuple[int, Any], status: int, code: str) -> None:
    assert (answer[0], answer[1]["code"]) == (status, code), answer
    assert answer[1]["message"]
    assert answer[1]["fix"]
    assert answer[1]["request_id"]


@pytest.fixture
def serving(ask: Ask, stored: Any) -> Ask:
    """The routes with a model active."""
    stored[1]()
    return ask


@pytest.mark.parametrize(("resource", "named"), DIALECTS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (None, "empty_body"),
        (b"   ", "empty_body"),
        (b"{", "malformed_json"),
        (b'{"records": [}', "malformed_json"),
        (b"null", "malformed_request"),
        (b"[]", "malformed_request"),
        (b"3", "malformed_request"),
        (b"{}", "malformed_request"),
        (b'"\xff"', "encoding"),
    ],
)
def test_25_a_malformed_body(serving: Ask, resource: str, named: str, body: bytes | None, code: str) -> None:
    """Malformed, empty or null: 422, the same code on every route."""
    _refused(serving("POST", resource, body, named=named), 422, code)


@pytest.mark.parametrize(("resource", "named"), DIALECTS)
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_26_deep_nesting(serving: Ask, resource: str, named: str, pair: tuple[str, str]) -> None:
    """100,000 levels end as 422 before a parser recurses."""
    deep = pair[0] * 100_000 + "1" + pair[1] * 100_000
    _refused(serving("POST", resource, deep, named=named), 422, "too_deep")
    _refused(serving("POST", resource, pair[0] * 100_000, named=named), 422, "too_deep")


@pytest.mark.parametrize(("resource", "named"), DIALECTS)
def test_27_a_number_of_5000_digits(serving: Ask, resource: str, named: str) -> None:
    """Longer than Python converts: 422."""
    body = '{"records": [{"age": ' + "9" * 5000 + "}]}"
    _refused(serving("POST", resource, body, named=named), 422, "number_too_long")


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "1e999", "-1e999", "NaN"])
def test_28_numbers_that_are_none(serving: Ask, number: str) -> None:
    """NaN, infinities and overflow are 422; only MLflow's dialect reads NaN, as missing, because its own client writes it so."""
    body = '{"instances": [' + json.dumps(ROW).replace("39", number) + "]}"
    _refused(serving("POST", "/predict", body), 422, "not_finite")
    status, output = serving("POST", "/invocations", body)
    if number == "NaN":
        assert status == 200
        assert output["warnings"][0]["code"] == "missing"
    else:
        _refused((status, output), 422, "not_finite")


def test_28_a_key_given_twice(serving: Ask) -> None:
    """Which of the two was meant is not guessed."""
    _refused(serving("POST", "/predict", '{"records": [], "records": []}'), 422, "duplicate_key")
    _refused(serving("POST", "/predict", '{"records": [{"age": 1, "age": 2}]}'), 422, "duplicate_key")


def test_29_missing_and_extra_columns(serving: Ask) -> None:
    """A missing column is named; one too many is ignored and told."""
    short = {k: v for k, v in ROW.items() if k != "job"}
    result = serving("POST", "/predict", {"records": [ROW, short]})
    _refused(result, 422, "missing_column")
    assert "record 1" in result[1]["message"]
    assert "'job'" in result[1]["message"]
    status, output = serving("POST", "/predict", {"records": [{**ROW, "bought": "yes"}]})
    assert status == 200
    assert [(w["code"], w["field"]) for w in output["warnings"]] == [("extra_column", "bought")]


def test_30_an_unseen_category(serving: Ask) -> None:
    """Predicted as missing, and told so."""
    _, unseen = serving("POST", "/predict", {"records": [{**ROW, "job": "pilot"}]})
    _, missing = serving("POST", "/predict", {"records": [{**ROW, "job": None}]})
    assert unseen["predictions"] == missing["predictions"]
    assert [w["code"] for w in unseen["warnings"]] == ["unseen_category"]


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, "forty", "1_0", True])
def test_30_a_value_of_another_kind(serving: Ask, value: Any) -> None:
    """A number column wants a number: 422 that names row and column."""
    result = serving("POST", "/predict", {"records": [{**ROW, "age": value}]})
    _refused(result, 422, "invalid_value")
    assert "record 0: age" in result[1]["message"]


def test_31_too_many_rows_and_bytes(serving: Ask) -> None:
    """No rows 422, more than a request may have 413, a body over its limit 413."""
    _refused(serving("POST", "/predict", {"records": []}), 422, "no_records")
    _refused(serving("POST", "/predict", {"records": [ROW] * 1001}), 413, "too_many_records")
    _refused(serving("POST", "/predict", b" " * 5_000_001), 413, "body_too_large")
    assert serving("POST", "/predict", {"records": [ROW] * 1000})[0] == 200


@pytest.mark.parametrize(
    "name", ["../active", "..", "http://evil.example/x", "a/b", "%2e%2e%2f", "a b", "\u0000", "x" * 200, "s3://b/k"]
)
def test_32_a_path_as_a_name(serving: Ask, stored: Any, name: str) -> None:
    """A path or address for a model's name is refused before anything is read."""
    serving("POST", "/predict", {"records": [ROW]})
    store, requested = stored[0], []
    real = store.get
    store.get = lambda uri, version="": requested.append(uri) or real(uri, version)
    _refused(serving("POST", "/predict", {"records": [ROW]}, model=name), 422, "name_invalid")
    _refused(serving("POST", "/predict", {"records": [ROW]}, alias=name), 422, "name_invalid")
    _refused(serving("GET", "/v2/models/{model}", named=name), 422, "name_invalid")
    assert requested == []


def test_33_an_unknown_version(serving: Ask) -> None:
    """404, whichever way it is named."""
    _refused(serving("POST", "/predict", {"records": [ROW]}, alias="Nobody"), 404, "model_unknown")
    _refused(serving("POST", "/predict", {"records": [ROW]}, model="nobody"), 404, "model_unknown")
    _refused(serving("GET", "/v2/models/{model}/ready", named="nobody"), 404, "model_unknown")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "image/png"])
@pytest.mark.parametrize(("resource", "named"), DIALECTS)
def test_34_another_content_type(serving: Ask, resource: str, named: str, kind: str) -> None:
    """415 that names those accepted."""
    _refused(serving("POST", resource, {"records": [ROW]}, kind, named=named), 415, "content_type")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_34_another_method(serving: Ask, method: str) -> None:
    """405 that names the right one; a path that is none is 404."""
    result = serving(method, "/predict")
    _refused(result, 405, "method_not_allowed")
    assert "POST" in result[1]["fix"]
    _refused(serving(method, "/nowhere"), 404, "path_unknown")


def test_34_every_route_wants_something() -> None:
    """No route is open: each asks for a key or a signature. That they are asked is tested on the running API."""
    assert set(ACCESS.values()) == {"key", "iam"}
