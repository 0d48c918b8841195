"""Who may talk to the web app, and as whom: requests against our application, tokens of a load balancer."""

from __future__ import annotations

import asyncio
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient

from dropforge_ui.client import Api
from dropforge_ui.config import ConfigError, Identity, Options, keep_quiet, read

from ...conftest import free_ports

# What Gradio's queue does with pandas is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword is deprecated)")
HERE = "http://127.0.0.1:8501"
API = ["--api-url", "http://127.0.0.1:9"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a page that may take files of 1 MB and is also called forge.example."""
    keep_quiet()
    from dropforge_ui.app import application

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        patch.setenv("GRADIO_TEMP_DIR", "files")
        names = (*Options("", "").hosts, "forge.example")
        with TestClient(
            application(Options("http://127.0.0.1:9", "key", hosts=names, upload_bytes=1_000_000)), HERE
        ) as client:
            yield client


@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/queue/data?session_hash=x"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example:8501"}, {"host": ""}, {"host": "forge.example.evil"}, {"origin": "http://evil.example"},
        {"origin": "null"}, {"origin": "http://127.0.0.1:8502"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site"},
    ],
)  # fmt: skip
def test_other_names_and_origins_are_refused(page: TestClient, path: str, headers: dict[str, str]) -> None:
    """On every path, for reading and for writing, before Gradio sees the request."""
    for method in ("GET", "POST"):
        assert page.request(method, path, headers=headers).status_code == 403


def test_its_own_page_and_links_to_it_are_answered(page: TestClient) -> None:
    """The page itself, under each of its names, and a person who follows a link from elsewhere."""
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert page.get("/config", headers=own).status_code == 200
    assert page.get("/config", headers={"host": "forge.example", "origin": "https://forge.example"}).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert page.get("/", headers=link).status_code == 200
    assert page.get("/config", headers=link).status_code == 403


def test_no_other_page_may_hold_it_in_a_frame_or_lend_it_scripts(page: TestClient) -> None:
    """Every answer, refusals included, says so to the browser; none allows another origin to read it."""
    for answer in (page.get("/"), page.get("/config", headers={"origin": "http://evil.example"}), page.get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'self'" in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in answer.headers


def test_programs_find_no_endpoint(page: TestClient) -> None:
    """Every event is private, and Gradio's ways in for programs do not exist."""
    assert {d["api_visibility"] for d in page.get("/config").json()["dependencies"]} == {"private"}
    for path in (
        "info",
        "run/look",
        "call/look",
        "call/v2/look",
        "api/look",
        "openapi.json",
        "proxy=http://x",
        "runs",
        "mcp/sse",
    ):
        for method in ("GET", "POST"):
            assert page.request(method, f"/gradio_api/{path}", json={}).status_code == 404, path
    for path in (
        "/docs",
        "/openapi.json",
        "/monitoring",
        "/api/look",
        "/run/look",
        "/queue/join",
        "/upload",
        "/file=/etc/passwd",
    ):
        assert page.get(path).status_code == 404, path


def test_large_bodies_are_refused(page: TestClient) -> None:
    """A file over the limit, and an event over 16 MB, with a length that is told, untold or nonsense."""

    def pieces(count: int) -> Iterator[bytes]:
        yield from (b"x" * 1_000_000 for _ in range(count))

    assert page.post("/gradio_api/upload", files={"files": ("a.csv", b"x" * 1_100_000)}).status_code == 413
    assert page.post("/gradio_api/queue/join", content=b"x" * 17_000_000).status_code == 413
    assert page.post("/gradio_api/queue/join", content=b"{}", headers={"content-length": "-1"}).status_code == 413
    assert page.post("/gradio_api/queue/join", content=pieces(17)).status_code >= 400


def test_answers_name_no_path_of_this_machine(page: TestClient) -> None:
    """Neither the page nor its configuration nor the answer to an upload tells where anything lies on disk."""
    here = str(Path.cwd())
    sent = page.post("/gradio_api/upload", files={"files": ("a.csv", b"a,b\n1,2\n")})
    assert (sent.status_code, sent.json()[0].startswith("files/")) == (200, True)
    assert page.get(f"/gradio_api/file={sent.json()[0]}").text == "a,b\n1,2\n"
    for answer in (page.get("/"), page.get("/config"), sent):
        assert here not in answer.text
        assert str(Path.home()) + "/" not in answer.text
    assert page.get("/gradio_api/file=/etc/passwd").status_code in {403, 404}


@pytest.mark.parametrize(
    "place", ["http://example.org/x.html", "https:/example.org", "//example.org", "HTTP://example.org", "ftp://x"]
)
def test_it_fetches_nothing_from_elsewhere(page: TestClient, place: str) -> None:
    """A file's place is a path: with an address in it, the page would show what lies there as a part of itself."""
    assert page.get(f"/gradio_api/file={place}").status_code in {403, 404}


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/upload"])
def test_other_methods_are_refused_from_other_origins(page: TestClient, method: str, path: str) -> None:
    """A preflight gets no permission either."""
    answer = page.request(
        method, path, headers={"origin": "http://evil.example", "access-control-request-method": "POST"}
    )
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_header_that_comes_twice_hides_nothing() -> None:
    """The good one does not vouch for the other, whichever comes first. (Clients send no such thing, so the scope is made here.)"""
    from dropforge_ui.perimeter import Perimeter

    async def status(headers: list[tuple[bytes, bytes]]) -> int:
        sent: list[Any] = []

        async def passed(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/config", "headers": headers}
        await Perimeter(passed, ("127.0.0.1",), 1)(scope, receive, send)
        return int(sent[0]["status"])

    host, origin = (b"host", b"127.0.0.1:8501"), (b"origin", HERE.encode())
    assert asyncio.run(status([host, origin])) == 200
    for twice in ((b"host", b"evil.example"), (b"origin", b"http://evil.example")):
        for headers in ([host, origin, twice], [twice, host, origin]):
            assert asyncio.run(status(headers)) == 403


def test_it_is_also_called_by_its_ipv6_address(page: TestClient) -> None:
    """Loopback has an address of either kind; a page of another port of it is another one."""
    assert page.get("/config", headers={"host": "[::1]:8501", "origin": "http://[::1]:8501"}).status_code == 200
    assert page.get("/config", headers={"host": "[::1]:8501", "origin": "http://[::1]:9"}).status_code == 403
    assert page.get("/config", headers={"host": "[::2]:8501"}).status_code == 403


@pytest.mark.campaign  # the web app's start as a program of its own takes ten seconds
def test_nothing_stays_when_it_stops(tmp_path: Path) -> None:
    """People's files lie in a folder of the page's own, which is gone when the page is told to stop."""
    ports, env = free_ports(1), {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "dropforge_ui", *API, "--port", str(ports[0])]
    process = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{ports[0]}"
        while process.poll() is None:
            with suppress(requests.ConnectionError):
                sent = requests.post(
                    f"{address}/gradio_api/upload", files={"files": ("a.csv", b"a,b\n1,2\n")}, timeout=30
                )
                break
            time.sleep(0.1)
        assert sent.status_code == 200
        (folder,) = tmp_path.glob("dropforge-ui-*")
        assert list(folder.rglob("a.csv"))
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        process.terminate()
        process.wait(30)
    assert not folder.exists()


def test_a_page_for_others_asks_who_they_are(tmp_path: Path) -> None:
    """An address that others reach is served with a login only; a password is in a file or the environment, never in a flag."""
    for host in ("0.0.0.0", "10.0.0.7", "::"):  # noqa: S104 - refused
        with pytest.raises(ConfigError, match="sign in") as error:
            read([*API, "--host", host], {})
        assert "DROPFORGE_UI_PASSWORD" in error.value.fix
        assert read([*API, "--host", host], {"DROPFORGE_UI_PASSWORD": "open"}).password == "open"
        identity = read(
            [*API, "--host", host], {"DROPFORGE_UI_OIDC_SIGNER": "arn:lb", "DROPFORGE_REGION": "eu-west-1"}
        ).identity
        assert identity == Identity("arn:lb", "https://public-keys.auth.elb.eu-west-1.amazonaws.com")
    (tmp_path / "password").write_text("from a file\n")
    assert read([*API, "--password-file", str(tmp_path / "password")], {}).password == "from a file"
    assert not read([*API, "--host", "localhost"], {}).password
    with pytest.raises(ConfigError, match="cannot be read"):
        read([*API, "--password-file", str(tmp_path / "none")], {})


@pytest.fixture(scope="module")
def balancer() -> Iterator[tuple[ec.EllipticCurvePrivateKey, Identity]]:
    """A load balancer's key, and the place where its public half is published."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    class Published(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/key-1" else 404)
            self.end_headers()
            self.wfile.write(pem)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Published)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield key, Identity("arn:lb", f"http://127.0.0.1:{listening.server_port}")
    listening.shutdown()
    listening.server_close()


class RequestModel:
    """A request with one header."""

    def __init__(self, token: str) -> None:
        self.headers = {"x-amzn-oidc-data": token}


def test_only_the_load_balancers_token_names_a_person(balancer: tuple[ec.EllipticCurvePrivateKey, Identity]) -> None:
    """E-mail before the provider's id; another signer, another key, no signature, a symmetric one or a past date name nobody."""
    from dropforge_ui.identity import Verifier

    key, identity = balancer
    person = Verifier(identity).person
    good = {"sub": "1234", "email": "ada@example.org", "exp": time.time() + 60}

    def token(claims: dict[str, Any] = good, signed_by: Any = key, algorithm: str = "ES256", **header: str) -> str:
        given = {"signer": "arn:lb", "kid": "key-1", **header}
        return jwt.encode(claims, signed_by, algorithm=algorithm, headers=given)

    assert person(RequestModel(token())) == "ada@example.org"
    assert person(RequestModel(token({"sub": "1234", "exp": time.time() + 60}))) == "1234"
    error = [
        "", "x.y.z", token(signer="arn:other"), token(kid="key-2"), token(kid="../key-1"), token(good | {"exp": time.time() - 1}),
        token({"sub": "1234"}), token(signed_by=ec.generate_private_key(ec.SECP256R1())),
        token(signed_by="a secret of thirty-two bytes and more", algorithm="HS256"), token(signed_by=None, algorithm="none"),
    ]  # fmt: skip
    assert [person(RequestModel(given)) for given in error] == [None] * len(error)


def test_passwords_cannot_be_tried_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a wrong one, attempts wait their turn and a pause each; more than may wait are refused even with the right one."""
    from dropforge_ui import login

    pauses, no_time = list[float](), asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await no_time(0)

    async def attempts() -> list[bool]:
        password = login.Password("open sesame")
        first = [await password.check("ada", given) for given in ("open sesame", "x", "open sesame")]
        return [*first, *await asyncio.gather(*(password.check("ada", "open sesame") for _ in range(50)))]

    monkeypatch.setattr(login.asyncio, "sleep", pause)
    result = asyncio.run(attempts())
    assert result[:3] == [True, False, True]
    assert result.count(True) == 22
    assert pauses == [login.PAUSE_SECONDS] * 21


def test_a_persons_name_fits_into_a_header() -> None:
    """Line breaks and letters that no header holds are left out, and a long name is cut."""
    from dropforge_ui.login import _cleaned

    assert _cleaned("ada\r\nx-api-key: 1") == "adax-api-key: 1"
    assert _cleaned("Zoë " + "x" * 200) == "Zo " + "x" * 97
    assert Api(Options("http://127.0.0.1:9", "k"))._person() == ""
