"""No answer is longer than Lambda delivers: it is grouped, paged, or refused with the way to what was asked for."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from dropforge.api import proxy_event
from dropforge.api.routes import PATHS
from dropforge.ingest.rejected_rows import Reject, write_csv
from dropforge.serving.warning_groups import MOST_GROUPS, grouped
from dropforge.uploads import resubmit
from dropforge.uploads.upload_repository import UploadRecord
from dropforge_local.memory import MemoryStore

ID = "0123456789abcdef0123"
LAMBDA_BYTES = 6 * 1024 * 1024  # of the whole response as JSON


def _respond(body: Any, kind: str = proxy_event.JSON, resource: str = "/uploads") -> dict[str, Any]:
    event = {"httpMethod": "GET", "resource": resource, "path": resource}
    return proxy_event.respond(
        event, logging.getLogger("test"), lambda _request: proxy_event.Response(body, content_type=kind)
    )


def _size(answer: dict[str, Any]) -> int:
    return len(json.dumps(answer, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("resource", "character"),
    [*((resource, '"') for resource in PATHS), *(("/uploads", c) for c in ("a", "\\", "\u0007", "ä", "😀"))],
)
def test_a_response_that_lambda_would_not_deliver_is_told(resource: str, character: str) -> None:
    """On every route, for every kind of character: 413 with code and fix from one size on, below it the answer itself."""
    width = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    fits, over = (n // width for n in (5_900_000, LAMBDA_BYTES))
    answer = _respond(character * fits, "text/html", resource)
    assert (answer["statusCode"], len(answer["body"])) == (200, fits)
    assert _size(answer) < LAMBDA_BYTES
    rejection = _respond(character * over, "text/html", resource)
    assert rejection["statusCode"] == 413
    error = json.loads(rejection["body"])
    assert error["code"] == "response_too_large"
    assert error["fix"]


def test_a_thousand_rows_of_missing_values_are_answered_briefly() -> None:
    """1,000 rows × 80 columns without a value: one warning a column, with the number of rows."""
    missing = [
        {"code": "missing", "row": row, "field": f"c{column}", "message": "treated as missing"}
        for row in range(1000)
        for column in range(80)
    ]
    result = grouped(missing)
    assert len(result) == 80
    assert result[0] == {"code": "missing", "row": 0, "rows": 1000, "field": "c0", "message": "treated as missing"}


def test_warnings_have_a_bound_whatever_is_sent() -> None:
    """Names and values as long as a request, and more columns than anybody has: the first thousand, cut, and how many are left."""
    long = "x" * 100_000
    sent = [{"code": "extra_column", "field": f"{n}{long}", "message": f"{n}{long}"} for n in range(1200)]
    result = grouped(sent)
    assert len(result) == MOST_GROUPS + 1
    assert result[-1]["code"] == "more_warnings"
    assert "200" in result[-1]["message"]
    assert len(json.dumps(result)) < 1_000_000


def _quarantine(store: MemoryStore, tmp_path: Any, rows: list[Reject]) -> None:
    folder = f"s3://data/quarantine/{ID}"
    store.put(f"{folder}/rows.csv", write_csv(rows, tmp_path / "rows.csv").read_bytes())
    store.put(f"{folder}/reasons.json", json.dumps({"header": ["a"], "delimiter": ","}).encode())


def _rejects(count: int, characters: int) -> list[Reject]:
    return [Reject(n + 2, "a", "too_many_fields", "2 fields", f"{n}," + '"' * characters) for n in range(count)]


@pytest.mark.parametrize(("count", "characters"), [(0, 0), (7, 10), (2500, 10), (60, 20_000)])
def test_quarantine_pages_hold_every_row_once(count: int, characters: int, tmp_path: Any) -> None:
    """Page after page, each of which Lambda delivers, all rows come in the file's order."""
    store, seen, offset = MemoryStore(), list[int](), 0
    _quarantine(store, tmp_path, _rejects(count, characters))
    while offset is not None:
        page = resubmit.rows(store, "data", ID, offset=offset)
        assert _size(_respond(page)) < LAMBDA_BYTES
        assert _respond(page)["statusCode"] == 200
        assert not any(row["truncated"] for row in page["rows"])
        seen += [row["line"] for row in page["rows"]]
        offset = page["next_offset"]
    assert seen == list(range(2, count + 2))
    assert page["rows_quarantined"] == count


def test_a_row_that_fills_a_page_is_cut_and_linked(tmp_path: Any) -> None:
    """A quarantined row of 5 MB is shown in part, says so, and the page links the whole."""
    store = MemoryStore()
    _quarantine(store, tmp_path, _rejects(1, 5_000_000))
    page = resubmit.rows(store, "data", ID)
    assert page["rows"][0]["truncated"]
    assert f"quarantine/{ID}/rows.csv" in page["links"]["rows_csv"]
    assert _respond(page)["statusCode"] == 200


@pytest.mark.parametrize("query", [{"limit": ["0"]}, {"limit": ["1001"]}, {"offset": ["-1"]}, {"offset": ["x"]}])
def test_a_page_that_is_none_is_refused(load: Any, event: Any, query: dict[str, list[str]]) -> None:
    """422 with a request that works."""
    answer = load("control").handler(event("quarantined") | {"multiValueQueryStringParameters": query}, None)
    error = json.loads(answer["body"])
    assert (answer["statusCode"], error["code"]) == (422, "malformed_request")
    assert "offset=0" in error["fix"]


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_report_of_two_thousand_columns_is_linked(load: Any, event: Any, world: Any, accept: str) -> None:
    """Too long for an answer: 413, and the fix is a link to the very document that was asked for."""
    page = b'"' * 4_500_000
    record = UploadRecord(upload_id=ID, bucket="b", key="incoming/wide.csv", version="1")
    world.uploads.open(record)
    world.uploads.update(ID, report_uri="s3://artifacts/r.html", report_json_uri="s3://artifacts/r.json")
    for name in ("r.html", "r.json"):
        world.store.put(f"s3://artifacts/{name}", page)
    answer = load("control").handler(event("report") | {"headers": {"accept": accept}}, None)
    error = json.loads(answer["body"])
    assert (answer["statusCode"], error["code"]) == (413, "response_too_large")
    assert ("r.html" if accept == "text/html" else "r.json") in error["fix"]
