"""The table of routes and callers in docs/explanation/security.md is what the route table says and what a server does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dropforge.api.routes import ACCESS
from dropforge_cli import local_server

from ..web_app_routes import routes_of_web_app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
# A signed-in person reaches what the pages of the web app call, by its API key or the signature of FrontendRole.
PERSON = "signed-in person"
HEADER = f"| route | no key | wrong key | API key | unknown signer | {PERSON} | administrator |"
# Callers of `dropforge serve`: the header each sends. The administration key stands for a signature there.
CALLERS: dict[str, dict[str, str]] = {
    "no key": {},
    "wrong key": {"x-api-key": "wrong"},
    "API key": {"x-api-key": "callers"},
    "unknown signer": {
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAUNKNOWN/20260101/us-east-1/execute-api/aws4_request"
    },
    "administrator": {"x-api-key": "people"},
}


def _expected(access: str, caller: str) -> bool:
    return caller == "administrator" or (caller == "API key" and access == "key")


def _line(method: str, resource: str, access: str) -> str:
    allowed = {caller: _expected(access, caller) for caller in CALLERS}
    allowed[PERSON] = (method, resource) in routes_of_web_app()
    columns = HEADER.strip("| ").split(" | ")[1:]
    return f"| {method} {resource} | {' | '.join('answered' if allowed[c] else 'refused' for c in columns)} |"


def test_the_page_has_every_route() -> None:
    """One line a route, in the order of the route table."""
    expected = [HEADER, "|---|---|---|---|---|---|---|", *(_line(m, r, a) for (m, r), a in ACCESS.items())]
    assert "\n".join(expected) in PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server whose handlers answer everything that reaches them."""

    def handler(_event: dict[str, Any], _context: object) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {}, "body": "{}"}

    running = local_server.Server(
        ("127.0.0.1", 0), {"predict": handler, "control": handler}, {"key": "callers", "admin": "people"}
    )
    thread = running.start()
    yield f"http://127.0.0.1:{running.port}"
    running.stop()
    thread.join(10)


@pytest.mark.parametrize("caller", CALLERS)
def test_a_server_answers_and_refuses_as_the_page_says(url: str, caller: str) -> None:
    """Every route, asked as this caller: 403 or an answer. The template's own decision is tested on the local cloud."""
    with requests.Session() as session:
        for (method, resource), access in ACCESS.items():
            answer = session.request(method, url + resource, headers=CALLERS[caller], timeout=10)
            assert answer.status_code == (200 if _expected(access, caller) else 403), (method, resource)
