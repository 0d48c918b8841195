"""A web page attacks the local cloud while a person works: real Chromium, real servers, nothing of it has an effect."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dropforge_local import cloud as local_cloud
from dropforge_local.frontend import frontend

from ..conftest import Cloud, free_ports

if TYPE_CHECKING:  # a second that each process would spend at collection
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.e2e, pytest.mark.own_emulator]
FOREIGN, REBOUND = "evil.example", "rebound.example"
REFUSED = {0, 403, 404}  # 0: the browser itself sent nothing, or threw the answer away

# Such as any page may send without asking first (text/plain, no header of its own, the answer opaque), and as JSON, which a browser
# asks the server for first.
_SEND = """async ([url, body, kind]) => {
  const asked = {mode: kind === 'application/json' ? 'cors' : 'no-cors', credentials: 'include'}
  if (body !== null) Object.assign(asked, {method: 'POST', body, headers: {'content-type': kind}})
  try { await fetch(url, asked) } catch (error) { return String(error) }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Foreign names lead to this machine: a page served elsewhere, and a name that is bound anew (DNS rebinding)."""
    from ..browser import chromium

    with chromium(f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1, MAP {REBOUND} 127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
def page_url(cloud: Cloud) -> Iterator[str]:
    """Address of the web app of this cloud."""
    config = replace(cloud.config, ui_port=free_ports(1)[0])
    try:
        local_cloud.start_frontend(config, cloud.outputs)
        yield config.ui_url
    finally:
        frontend(config).stop()


@pytest.fixture(scope="module")
def attacker() -> Iterator[int]:
    """Port of the attacker's own web server."""

    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>free prizes</title>")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def _status(page: Page, url: str, body: str | None, kind: str = "text/plain") -> int:
    """Status of the answer to a request of the page; 0 when there was none."""
    seen: list[int] = []
    page.on("response", lambda response: seen.append(response.status) if response.url == url else None)
    page.evaluate(_SEND, [url, body, kind])
    page.wait_for_timeout(50)
    return seen[-1] if seen else 0


def _presigned(method: str, url: str, key: str = "test", service: str = "lambda") -> str:
    """What an attacker signs at home with the account every emulator knows."""
    request = AWSRequest(method, url, data=b"")
    signer = SigV4QueryAuth(Credentials(key, "test"), service, "us-east-1", expires=3600)
    signer.payload = lambda _request: "UNSIGNED-PAYLOAD"  # type: ignore[method-assign]
    signer.add_auth(request)
    return str(request.url)


def _program(marker: Path, role: str) -> str:
    """CreateFunction's body: a program that leaves a file on this machine."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", f"def handler(event, context):\n    open({str(marker)!r}, 'w').write('run')\n")
    code = {"ZipFile": base64.b64encode(packed.getvalue()).decode()}
    return json.dumps(
        {"FunctionName": "evil", "Runtime": "python3.13", "Handler": "app.handler", "Role": role, "Code": code}
    )


@pytest.fixture(params=["other port", "other name", "rebound name"])
def place(
    request: pytest.FixtureRequest, browser: Browser, attacker: int
) -> Iterator[Callable[[str], tuple[Page, str]]]:
    """Makes the page the attack comes from, and the address by which it reaches a local server.

    A page of another port is of the same site; one of another name is of another site; a rebound name is the server's own
    address to the browser, which then lets the page read the answers.
    """
    context = browser.new_context()

    def opened(server: str) -> tuple[Page, str]:
        page = context.new_page()
        port = urlsplit(server).port
        if request.param == "rebound name":
            page.goto(f"http://{REBOUND}:{port}/favicon.ico")
            return page, f"http://{REBOUND}:{port}"
        page.goto(f"http://{FOREIGN if request.param == 'other name' else '127.0.0.1'}:{attacker}/")
        return page, server

    yield opened
    context.close()


@pytest.mark.drill
@pytest.mark.parametrize("key", ["test", "000000000000"])
def test_a_page_runs_no_code_by_the_emulator(cloud: Cloud, place: Any, tmp_path: Path, key: str) -> None:
    """CreateFunction and Invoke by pre-signed text/plain requests are refused: no function, no program run."""
    marker, predict = tmp_path / "marker", cloud.outputs["PredictFunction"]
    role = cloud.client("lambda").get_function_configuration(FunctionName=predict)["Role"]
    page, address = place(cloud.outputs["EndpointUrl"])
    functions = f"{address}/2015-03-31/functions"
    created = _status(page, _presigned("POST", functions, key), _program(marker, role))
    invoked = _status(page, _presigned("POST", f"{functions}/evil/invocations", key), "{}")
    names = {f["FunctionName"] for f in cloud.client("lambda").list_functions()["Functions"]}
    assert "evil" not in names
    assert not marker.exists()
    assert {created, invoked} <= REFUSED


@pytest.mark.drill
@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", "/_ministack/reset?init=1"])
def test_a_page_resets_nothing(cloud: Cloud, place: Any, path: str) -> None:
    """The emulator's administrative routes do not exist, for pages and for programs."""
    page, address = place(cloud.outputs["EndpointUrl"])
    assert _status(page, address + path, "{}") in REFUSED
    assert requests.post(cloud.outputs["EndpointUrl"] + path, json={}, timeout=5).status_code == 404
    assert cloud.client("s3").head_bucket(Bucket=cloud.outputs["DataBucket"])


@pytest.mark.drill
def test_a_page_writes_nothing_into_mlflow(cloud: Cloud, place: Any) -> None:
    """An experiment of a foreign page is refused."""
    import mlflow

    page, address = place(cloud.outputs["MlflowUrl"])
    url = f"{address}/api/2.0/mlflow/experiments/create"
    for kind in ("text/plain", "application/json"):
        name = f"evil-{uuid.uuid4()}"
        assert _status(page, url, json.dumps({"name": name}), kind) in REFUSED
        assert mlflow.MlflowClient(cloud.outputs["MlflowUrl"]).get_experiment_by_name(name) is None


@pytest.mark.drill
@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload", "/login"])
def test_a_page_calls_nothing_of_the_web_app(page_url: str, place: Any, path: str) -> None:
    """Events, uploads and the login of the web app answer its own pages only."""
    page, address = place(page_url)
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": "evil"})
    assert _status(page, address + path, body) in REFUSED


@pytest.mark.drill
def test_a_page_reads_nothing(cloud: Cloud, page_url: str, place: Any) -> None:
    """Experiments, buckets and the web app's configuration are not told to a foreign page, by whatever name it comes."""
    for server, path in (
        (cloud.outputs["MlflowUrl"], "/ajax-api/2.0/mlflow/experiments/search?max_results=10"),
        (cloud.outputs["EndpointUrl"], "/"),
        (page_url, "/config"),
    ):
        page, address = place(server)
        assert _status(page, address + path, None) in REFUSED


def _mlflow(cloud: Cloud, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Another user of this machine calls MLflow, which has no login."""
    answer = requests.post(f"{cloud.outputs['MlflowUrl']}/api/2.0/mlflow/{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_mlflow_shows_no_file_of_this_machine(cloud: Cloud, tmp_path: Path) -> None:
    """A link in a folder that somebody names as the place of artifacts leads to no file of the person who runs the server."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("a secret")
    name = f"evil-{uuid.uuid4()}"
    experiment = _mlflow(cloud, "experiments/create", {"name": name, "artifact_location": str(tmp_path)})
    run = _mlflow(cloud, "runs/create", experiment)["run"]["info"]
    (tmp_path / run["run_id"]).mkdir()
    (tmp_path / run["run_id"] / "artifacts").symlink_to(tmp_path / "private")
    try:
        place = {"run_uuid": run["run_id"], "path": "key"}
        answer = requests.get(f"{cloud.outputs['MlflowUrl']}/get-artifact", params=place, timeout=30)
        assert answer.status_code >= 400
        assert "a secret" not in answer.text
    finally:
        _mlflow(cloud, "experiments/delete", experiment)


def test_mlflow_shows_artifacts_and_no_rows(cloud: Cloud) -> None:
    """It reads under a role of its own: what lies in the artifact bucket is shown, an object of the data bucket is not."""
    import mlflow

    s3, name, key = cloud.client("s3"), f"evil-{uuid.uuid4()}", f"mlflow/{uuid.uuid4()}/rows.csv"
    folder, _, file = key.rpartition("/")
    _mlflow(cloud, "registered-models/create", {"name": name})
    statuses = {}
    try:
        for bucket in (cloud.outputs["ArtifactBucket"], cloud.outputs["DataBucket"]):
            s3.put_object(Bucket=bucket, Key=key, Body=b"a secret")
            source = {"name": name, "source": f"s3://{bucket}/{folder}"}
            version = _mlflow(cloud, "model-versions/create", source)["model_version"]["version"]
            place = {"name": name, "version": version, "path": file}
            answer = requests.get(f"{cloud.outputs['MlflowUrl']}/model-versions/get-artifact", params=place, timeout=30)
            statuses[bucket] = (answer.status_code == 200, "a secret" in answer.text)
    finally:
        mlflow.MlflowClient(cloud.outputs["MlflowUrl"]).delete_registered_model(name)
        for bucket in statuses:
            s3.delete_object(Bucket=bucket, Key=key)
    assert list(statuses.values()) == [(True, True), (False, False)]


@pytest.mark.drill
def test_no_key_is_in_a_command_line_or_a_log(cloud: Cloud, page_url: str) -> None:
    """Everybody on the machine can list processes, and people pass logs on: neither has the API key, the root key or the history's."""
    assert page_url
    config = cloud.config
    history = json.loads(config.history_key_file.read_text())["key"]
    secrets = {cloud.outputs["ApiKey"], cloud.outputs["SecretAccessKey"], history}
    assert all(len(s) > 15 for s in secrets)
    lines = [_read(p / "cmdline") for p in Path("/proc").glob("[0-9]*")]
    assert sum(str(config.home).encode() in line for line in lines) >= 2  # the emulator and MLflow at least
    logs = [_read(p) for p in config.logs.iterdir()]
    for secret in secrets:
        assert not [text for text in (*lines, *logs) if secret.encode() in text]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # a process that ended meanwhile
        return b""
