"""A browser on the web app of the local cloud."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.errors import DropforgeError
from dropforge_cli.commands.models import serve_best
from dropforge_cli.commands.uploads import put
from dropforge_local import cloud as local_cloud
from dropforge_local.frontend import frontend

from ..browser import chromium
from ..conftest import ROOT, Cloud, free_ports

ROWS = 4000
TERMINAL = {"concluded", "rejected", "blocked", "failed", "skipped", "stored"}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all of them."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def app(cloud: Cloud) -> Iterator[str]:
    """Address of a web app of this cloud."""
    config = replace(cloud.config, ui_port=free_ports(1)[0])
    try:
        local_cloud.start_frontend(config, cloud.outputs)
        yield config.ui_url
    finally:
        frontend(config).stop()


@pytest.fixture(scope="session")
def served(
    cloud: Cloud, adult_lines: list[str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """The reference is in, and its models are registered. Rows an integration test sent before are skipped at once.

    For pictures later trainings have the project's own budgets: searches that people can watch.
    """
    file = tmp_path_factory.mktemp("e2e") / "reference.csv"
    file.write_text("\n".join(adult_lines[: ROWS + 1]) + "\n")
    upload_id = put(cloud.target, file)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        response = [u for u in cloud.target.api("GET", "/uploads").json()["uploads"] if u["upload_id"] == upload_id]
        if response and response[0]["state"] in TERMINAL:
            assert response[0]["state"] in {"concluded", "skipped"}, response
            if request.config.getoption("--pictures"):
                store, bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]
                settings_store.apply(store, bucket, (ROOT / "settings.yaml").read_bytes())
            return
        time.sleep(0.2)
    raise AssertionError("the reference did not end")


@pytest.fixture(scope="session")
def answering(cloud: Cloud, served: None) -> None:
    """A model answers: the one an earlier test made active, or the best of the reference."""
    try:
        cloud.target.api("GET", "/model_info")
    except DropforgeError:
        serve_best(cloud.target)


class Visit:
    """Pages of the app, what they asked for, and what they complained about."""

    def __init__(self, browser: Browser, url: str, pictures: Path | None) -> None:
        self._browser, self._url, self.pictures = browser, url, pictures
        self._contexts: list[BrowserContext] = []
        self.requested_urls: list[str] = []
        self.complaints: list[str] = []

    def open(self, width: int = 1280, look: Any = "light") -> Page:
        context = self._browser.new_context(viewport={"width": width, "height": 900}, color_scheme=look)
        self._contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("request", lambda request: self.requested_urls.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self._url)
        page.get_by_role("tab", name="Predict").wait_for()
        return page

    def picture(self, page: Page, name: str, *, whole: bool = False, until: str = "") -> None:
        """A screenshot of the top of the page, of the whole one or down to the element `until`, when a folder is given.

        Nothing has the focus in it.
        """
        if not self.pictures:
            return
        self.pictures.mkdir(parents=True, exist_ok=True)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        page.wait_for_timeout(600)
        clip: Any = None
        if until:
            end = page.locator(until).bounding_box()
            assert end is not None
            clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": end["y"] + end["height"] + 24}  # type: ignore[index]
        page.screenshot(path=self.pictures / f"{name}.png", full_page=whole or bool(until), clip=clip)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def visit(browser: Browser, app: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    created = Visit(browser, app, request.config.getoption("--pictures"))
    yield created
    created.close()


@pytest.fixture
def drifted(adult_lines: list[str]) -> Callable[[], bytes]:
    """Real rows twenty years older, and one with a field too many."""

    def body() -> bytes:
        rows = [line.split(",") for line in adult_lines[ROWS + 3001 : ROWS + 4501]]
        older = [",".join([str(int(r[0]) + 20), *r[1:]]) for r in rows]
        return ("\n".join([adult_lines[0], *older, older[0] + ",surplus"]) + "\n").encode()

    return body
