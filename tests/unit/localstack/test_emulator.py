"""The gateway before the emulated AWS: who may pass, by real signatures of botocore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dropforge.errors import PermanentError
from dropforge_local import cloud, credentials
from dropforge_local.emulator import Gateway
from dropforge_local.guard import Guard, loopback_hosts
from dropforge_local.layout import Config

PORT = 4566
URL = f"http://127.0.0.1:{PORT}"
ROOT = {credentials.ACCESS_KEY: "LKIA0123456789ABCDEF", credentials.SECRET_KEY: "a secret of this project"}
Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def passed() -> list[str]:
    """Paths of the requests that reached the emulator."""
    return []


@pytest.fixture
def ask(passed: list[str]) -> Ask:
    """Send one request through guard and gateway; the status, and the code of a refusal."""

    async def emulator(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body = (await receive()).get("body", b"")
        passed.append(f"{scope['method']} {scope['path']} {len(body)}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = Guard(Gateway(emulator, ROOT), loopback_hosts(PORT), ("http://127.0.0.1:8501",))

    def send(method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, str]:
        split = urlsplit(url)
        given = {"host": f"127.0.0.1:{PORT}", **{k.lower(): v for k, v in (headers or {}).items()}}
        scope = {
            "type": "http", "method": method, "path": unquote(split.path), "raw_path": split.path.encode(),
            "query_string": split.query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        }  # fmt: skip
        sent: list[Any] = []
        pieces = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return pieces.pop()

        async def collect(message: Any) -> None:
            sent.append(message)

        asyncio.run(guarded(scope, receive, collect))
        text = sent[1]["body"].decode()
        return sent[0]["status"], text

    return send


def _signed(key: str, secret: str, service: str, method: str, path: str, body: bytes = b"") -> dict[str, str]:
    request = AWSRequest(method, URL + path, data=body)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(key, secret), service, "us-east-1")
    signer.add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [("s3", "PUT", "/bucket/a%20b"), ("lambda", "POST", "/2015-03-31/functions"), ("sqs", "POST", "/")],
)
def test_the_root_account_needs_its_secret(ask: Ask, passed: list[str], service: str, method: str, path: str) -> None:
    """The project's key with its secret passes, body and all; with another secret, path or body it does not."""
    key, secret = ROOT.values()
    body = b"content"
    good = _signed(key, secret, service, method, path, body)
    assert ask(method, URL + path, good, body)[0] == 200
    assert passed.pop().endswith(" 7")
    assert (
        "SignatureDoesNotMatch" in ask(method, URL + path, _signed(key, "test", service, method, path, body), body)[1]
    )
    assert ask(method, f"{URL}/elsewhere", good, body)[0] == 403
    if service != "s3":  # there the emulator itself compares the body with its signed hash
        assert ask(method, URL + path, good, b"other")[0] == 403
    assert not passed


@pytest.mark.parametrize("key", ["test", "000000000000", "123456789012"])
@pytest.mark.parametrize("service", ["s3", "lambda", "iam"])
def test_accounts_that_every_emulator_knows_are_refused(ask: Ask, passed: list[str], key: str, service: str) -> None:
    """`test` and every account number, in headers and in pre-signed addresses, whatever the secret."""
    for secret in ("test", ROOT[credentials.SECRET_KEY]):
        assert ask("POST", f"{URL}/", _signed(key, secret, service, "POST", "/"))[0] == 403
        request = AWSRequest("GET", f"{URL}/", data=b"")
        SigV4QueryAuth(Credentials(key, secret), service, "us-east-1").add_auth(request)
        assert ask("GET", str(request.url))[0] == 403
    assert ask("GET", f"{URL}/b/k?AWSAccessKeyId={key}&Signature=x&Expires=9999999999")[0] == 403
    assert ask("GET", f"{URL}/b/k", {"authorization": f"AWS {key}:x"})[0] == 403
    assert not passed


def test_an_unsigned_request_passes_to_the_api_and_to_a_form_only(ask: Ask, passed: list[str]) -> None:
    """API keys and forms are checked by the emulator; everything else has to be signed; administration does not exist."""
    form = {"content-type": "multipart/form-data; boundary=x"}
    for method, path, headers in (
        ("POST", "/_aws/execute-api/id/Prod/predict", {}),
        ("POST", "/bucket", form),
        ("GET", "/_ministack/health", {}),
        ("GET", "/_ministack/ready", {}),
    ):
        assert ask(method, URL + path, headers)[0] == 200, path
    passed.clear()
    for method, path, headers in (
        ("GET", "/", {}), ("GET", "/bucket/key", {}), ("POST", "/", {}), ("POST", "/bucket/key", form), ("POST", "/bucket?x=1", form),
        ("POST", "/2015-03-31/functions", form | {"x-amz-target": "Lambda"}),
    ):  # fmt: skip
        assert ask(method, URL + path, headers)[0] == 403, path
    for path in (
        "/_ministack/reset",
        "/_ministack/config",
        "/_localstack/health",
        "/_aws/ses",
        "/_ministack/cfn-response/x",
    ):
        assert ask("POST", URL + path, _signed(*ROOT.values(), "s3", "POST", path))[0] == 404, path
    assert not passed


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example:4566"}, {"host": "127.0.0.1:9"}, {"host": ""},
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)  # fmt: skip
def test_pages_of_others_are_refused_even_with_a_good_signature(
    ask: Ask, passed: list[str], headers: dict[str, str]
) -> None:
    """Host, Origin and Sec-Fetch-Site decide before anything else is looked at."""
    assert "foreign_request" in ask("GET", f"{URL}/", _signed(*ROOT.values(), "s3", "GET", "/") | headers)[1]
    assert not passed
    own = {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-site", "content-type": "multipart/form-data"}
    assert ask("POST", f"{URL}/bucket", own)[0] == 200


def test_a_callers_body_has_a_limit_before_the_key_is_looked_at(ask: Ask, passed: list[str]) -> None:
    """The emulator would read it whole: ten million bytes pass, more are refused by the length, or cut off without one."""
    predict = f"{URL}/_aws/execute-api/id/Prod/predict"
    most = 10_000_000
    assert ask("POST", predict, {"content-length": str(most)}, b"x" * most)[0] == 200
    for length in (str(most + 1), "-1", "1e3", ""):
        assert ask("POST", predict, {"content-length": length})[0] == 413
    assert ask("POST", predict, {"transfer-encoding": "chunked"}, b"x" * (most + 1))[0] == 200
    assert [p.rpartition(" ")[2] for p in passed] == [str(most), "0"]


def test_a_new_key_is_random_and_private(tmp_path: Path) -> None:
    """Two projects have two keys, files are for their owner alone, a key stays once written, damage is told with its fix."""
    files = [tmp_path / name for name in ("one", "two")]
    assert [credentials.create(f) for f in files] == [True, True]
    matches = [credentials.read(f) for f in files]
    assert matches[0] != matches[1]
    assert len(matches[0][credentials.SECRET_KEY]) >= 40
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    files[0].chmod(0o644)
    assert not credentials.create(files[0])
    assert (credentials.read(files[0]), files[0].stat().st_mode & 0o777) == (matches[0], 0o600)
    files[0].write_text("[default]\n")
    with pytest.raises(PermanentError, match="holds no access key"):
        credentials.read(files[0])
    with pytest.raises(PermanentError, match="never started"):
        credentials.read(tmp_path / "none")


def test_the_folder_of_a_local_cloud_is_its_owners_alone(tmp_path: Path) -> None:
    """Rows, keys and models lie in it: mode 0700 even where it stood open before, the keys in it 0600."""
    home = tmp_path / ".dropforge"
    home.mkdir()
    home.chmod(0o755)
    config = Config(Path(__file__).parents[3], home, 1, 1)
    cloud.prepare_home(config)
    modes = {path: path.stat().st_mode & 0o777 for path in (home, config.credentials_file, config.history_key_file)}
    assert modes == {home: 0o700, config.credentials_file: 0o600, config.history_key_file: 0o600}


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind a symbolic link: who owns the folder reads what is put there, whatever its mode."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".dropforge").symlink_to(tmp_path / "theirs")
    monkeypatch.setattr("dropforge_local.cloud.os.geteuid", lambda: 12345)
    with pytest.raises(PermanentError, match="another user") as error:
        cloud.prepare_home(Config(Path(__file__).parents[3], tmp_path / ".dropforge", 1, 1))
    assert "DROPFORGE_HOME" in error.value.fix
    assert not list((tmp_path / "theirs").iterdir())
