"""The page in a browser, before an API that answers as a test says: a form from the schema, a refusal, an answer, a sign-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from dropforge_ui.config import Options, keep_quiet

from ..api_server import Server, credentials, server
from ..conftest import free_ports

__all__ = ["credentials", "server"]  # fixtures

# What Gradio's queue does with pandas is not ours to mend.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword is deprecated)"),
]

AXE = Path(__file__).parents[2] / ".ci" / "tools" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
INFO = {
    "model": {"name": "demo-xgboost", "version": "7", "alias": "Production"},
    "set_at": "2026-01-01T00:00:00+00:00",
    "set_by": "arn:aws:iam::000000000000:user/ada",
    "target": "income",
    "classes": ["low", "high"],
    "positive_class": "high",
    "threshold": 0.5,
    "features": [
        {"name": "age", "kind": "integer", "minimum": 17.0, "maximum": 90.0},
        {"name": "work", "kind": "category", "categories": ["Private", "State"]},
        {"name": "member", "kind": "boolean"},
        {"name": "note", "kind": "text"},
    ],
    "example": {"age": 39, "work": "State", "member": True, "note": "hello"},
}
REFUSED = {"code": "too_odd", "message": "age cannot be 200", "fix": "Send 0 to `120`.", "request_id": "r-1"}
ANSWER = {
    "predictions": [{"label": "high", "probabilities": {"low": 0.25, "high": 0.75}}],
    "model": INFO["model"],
    "threshold": 0.5,
    "warnings": [],
}


@pytest.fixture
def address(server: Server, credentials: None) -> Iterator[str]:
    """Of a running page that speaks to `server`, which has no model yet."""
    server.answers["GET", "/health"] = (200, {"status": "not_ready", "parts": {}})
    server.answers["GET", "/uploads"] = (200, {"uploads": []})
    server.answers["GET", "/model_info"] = (409, {"code": "no_active_model", "message": "none", "fix": "set one"})
    keep_quiet()
    from dropforge_ui.app import serve

    options = Options(server.url, "key", port=free_ports(1)[0])
    page = serve(options, wait=False)
    yield f"http://127.0.0.1:{options.port}"
    page.close()


def test_the_page_says_what_to_do_and_does_it(server: Server, address: str, browser: Browser) -> None:
    """Without a model it says how to get one; with one there is a form from the schema, a refusal with its fix, an answer."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    requests_seen: list[str] = []
    page.on("request", lambda request: requests_seen.append(request.url))
    page.goto(address)
    expect(page.locator("#notice")).to_contain_text("No model is active")
    expect(page.locator("#predict")).to_have_count(0)
    page.get_by_role("tab", name="Data").click()
    expect(page.locator("#uploads")).to_contain_text("No uploads yet")

    server.answers["GET", "/health"] = (200, {"status": "ok", "parts": {}})
    server.answers["GET", "/model_info"] = (200, INFO)
    server.answers["POST", "/predict"] = (422, REFUSED)
    page.get_by_role("tab", name="Predict").click()
    age = page.get_by_label("age", exact=True)
    expect(age).to_have_value("39")
    expect(page.get_by_label("work", exact=True)).to_have_value("State")
    expect(page.get_by_label("member", exact=True)).to_have_value("true")
    expect(page.get_by_role("textbox", name="note any text")).to_have_value("hello")
    expect(page.locator(".df-lead")).to_contain_text("demo-xgboost version 7")
    expect(page.locator(".df-lead")).to_contain_text("by ada")

    age.fill("200")
    page.locator("#predict").click()
    refusal = page.locator("#result [role=alert]")
    expect(refusal).to_contain_text("age cannot be 200")
    expect(refusal).to_contain_text("What to do: Send 0 to 120.")
    expect(refusal).to_contain_text("too_odd · request r-1")

    server.answers["POST", "/predict"] = (200, ANSWER)
    age.fill("")
    page.locator("#predict").click()
    expect(page.locator(".df-answer")).to_have_text("high")
    sent = [json.loads(body) for _, path, _, body in server.requests if path.startswith("/predict")]
    assert sent[0] == {"records": [{"age": 200, "work": "State", "member": "true", "note": "hello"}]}
    assert sent[-1] == {"records": [{"age": None, "work": "State", "member": "true", "note": "hello"}]}
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert {url.partition("//")[2].partition(":")[0] for url in requests_seen if url.startswith("http")} == {
        "127.0.0.1"
    }


@pytest.mark.parametrize("look", ["light", "dark"])
def test_every_tab_can_be_read_aloud_and_used_by_keyboard(
    server: Server, address: str, browser: Browser, look: Literal["light", "dark"]
) -> None:
    """axe-core finds nothing serious on any tab in either look: names, contrast, roles, order."""
    if not AXE.exists():
        pytest.skip("needs axe-core: make .ci/tools/javascript/node_modules/.ready")
    server.answers["GET", "/health"] = (200, {"status": "ok", "parts": {}})
    server.answers["GET", "/model_info"] = (200, INFO)
    page = browser.new_context(color_scheme=look, bypass_csp=True).new_page()
    page.goto(address)
    expect(page.locator("#predict")).to_be_visible()
    problems = {}
    for tab, settled in (
        ("Predict", "#predict"),
        ("Data", "#uploads"),
        ("Models", "#leaderboard"),
        ("Monitoring", "#traffic"),
    ):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(settled)).to_be_visible()
        page.add_script_tag(path=AXE)
        violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        problems[tab] = [
            (v["id"], [n["target"] for n in v["nodes"]]) for v in violations if v["impact"] in {"serious", "critical"}
        ]
    assert problems == {"Predict": [], "Data": [], "Models": [], "Monitoring": []}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page works, as when it is started by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "files")
    return tmp_path


def test_files_that_people_choose_do_not_stay(server: Server, folder: Path, address: str, browser: Browser) -> None:
    """A file to predict is answered by a file, one for the bucket is sent on; afterwards neither lies here."""
    server.answers["GET", "/health"] = (200, {"status": "ok", "parts": {}})
    server.answers["GET", "/model_info"] = (200, INFO)
    server.answers["POST", "/predict"] = (200, ANSWER)
    form = {"url": f"{server.url}/bucket", "fields": {}, "key": "incoming/people.csv", "max_bytes": 1000}
    server.answers["POST", "/upload_data"] = (200, form)
    server.answers["POST", "/bucket"] = (200, {})
    person = [{"name": "people.csv", "mimeType": "text/csv", "buffer": b"age,note\n39,ada@example.org\n"}]
    page = browser.new_context().new_page()
    page.goto(address)
    page.locator("#batch-file input[type=file]").set_input_files(files=person)  # type: ignore[arg-type]
    expect(page.locator("#batch-download")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#batch-download").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[0].startswith("age,note,prediction,")
    assert rows[1].startswith("39,ada@example.org,high,")
    page.get_by_role("tab", name="Data").click()
    page.locator("#upload-file input[type=file]").set_input_files(files=person)  # type: ignore[arg-type]
    expect(page.get_by_text("people.csv is in the bucket.")).to_be_visible()
    assert any(b"ada@example.org" in body for _, path, _, body in server.requests if path == "/bucket")
    assert not [*folder.rglob("people.csv"), *folder.glob("batch-*")]


def test_with_a_password_nothing_is_told_before_the_login(server: Server, credentials: None, browser: Browser) -> None:
    """A wrong password opens nothing; afterwards the person's name goes with every call of the API."""
    server.answers["GET", "/health"] = (200, {"status": "not_ready", "parts": {}})
    keep_quiet()
    from dropforge_ui.app import serve

    options = Options(server.url, "key", port=free_ports(1)[0], password="open sesame")
    running = serve(options, wait=False)
    try:
        page = browser.new_context().new_page()
        address = f"http://127.0.0.1:{options.port}"
        assert page.request.get(f"{address}/config").status == 401
        assert page.request.post(f"{address}/gradio_api/queue/join", data={"fn_index": 0, "data": []}).status == 401
        assert page.request.post(f"{address}/login", form={"username": "ada", "password": "x"}).status == 400
        assert not server.requests
        page.goto(address)
        page.get_by_label("username").fill("Ada Lovelace")
        page.get_by_label("password").fill("open sesame")
        page.get_by_role("button", name="Login").click()
        expect(page.locator("#header")).to_be_visible()
        expect(page.locator("#notice")).not_to_contain_text("Asking the API")
    finally:
        running.close()
    assert {headers["x-dropforge-user"] for _, _, headers, _ in server.requests} == {"Ada Lovelace"}
