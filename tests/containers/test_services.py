"""The API and the web app in their images, beside the local cloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from docker.models.containers import Container

from dropforge_cli.commands.uploads import follow_upload, put

from ..conftest import Cloud, free_ports

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]
ROWS = 4000


def _healthy(container: Container) -> None:
    """Docker's own health check says so; its log when it ends instead."""
    for _ in range(600):
        container.reload()
        assert container.status == "running", container.logs().decode()[-2000:]
        if container.attrs["State"]["Health"]["Status"] == "healthy":
            return
        time.sleep(0.2)
    raise AssertionError(container.attrs["State"]["Health"])


@pytest.fixture
def served(on_fargate: Cloud, adult_lines: list[str], tmp_path: Path) -> Cloud:
    """A model answers."""
    target = on_fargate.target
    if target.call("GET", "/model_info").status_code != 200:
        file = tmp_path / "rows.csv"
        file.write_text("\n".join(adult_lines[: ROWS + 1]) + "\n", encoding="utf-8")
        assert follow_upload(target, put(target, file), timeout=900)["state"] == "concluded"
        labels = {"model": "adult-income-xgboost", "alias": "Production"}
        target.api("POST", "/aliases", json=labels)
        target.api("POST", "/set_model", json=labels)
    return on_fargate


def test_the_api_answers_in_its_image(
    served: Cloud, build: Callable[[str], str], run: Callable[..., Container]
) -> None:
    """Healthy, not root, the same prediction as the functions', closed without a key, and gone well after SIGTERM."""
    image = build("functions")
    port = free_ports(1)[0]
    api = run(
        image,
        API_HOST="127.0.0.1",
        API_PORT=str(port),
        API_KEY="callers",
        ADMIN_KEY="administration",
        AWS_PROFILE="root",  # this container stands for all functions: the training role may not do their work
    )
    _healthy(api)
    url, key = f"http://127.0.0.1:{port}", {"x-api-key": "callers"}
    row = served.target.api("GET", "/model_info").json()["example"]
    answer = requests.post(f"{url}/predict", json={"records": [row]}, headers=key, timeout=60)
    assert answer.status_code == 200, answer.text
    expected = served.target.api("POST", "/predict", json={"records": [row]}).json()["predictions"]
    assert answer.json()["predictions"] == expected
    assert requests.post(f"{url}/predict", json={"records": [row]}, timeout=60).status_code == 403
    listed = requests.get(f"{url}/models", headers={"x-api-key": "administration"}, timeout=60)
    assert listed.json()["models"] == served.target.api("GET", "/models").json()["models"]
    api.stop(timeout=30)
    api.reload()
    assert (api.attrs["Config"]["User"], api.attrs["State"]["ExitCode"]) == ("api", 0)


def test_the_web_app_answers_in_its_image(
    served: Cloud, build: Callable[[str], str], run: Callable[..., Container]
) -> None:
    """Healthy, not root, and the page is there."""
    port = free_ports(1)[0]
    page = run(
        build("frontend"),
        DROPFORGE_UI_HOST="127.0.0.1",
        DROPFORGE_UI_PORT=str(port),
        DROPFORGE_API_URL=served.outputs["ApiUrl"],
        DROPFORGE_API_KEY=served.outputs["ApiKey"],
    )
    _healthy(page)
    assert "Dropforge" in requests.get(f"http://127.0.0.1:{port}/", timeout=60).text
    assert page.attrs["Config"]["User"] == "ui"
