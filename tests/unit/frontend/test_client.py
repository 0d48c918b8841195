"""The web app's HTTP client, against a server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dropforge.api.routes import ACCESS
from dropforge_ui.access import signed
from dropforge_ui.client import Api, ApiError
from dropforge_ui.config import ConfigError, Options, read

from .conftest import Server


@pytest.fixture
def api(server: Server, credentials: None) -> Api:
    return Api(Options(api_url=server.url, api_key="k", region="eu-west-1"))


def test_a_prediction_goes_with_the_key_and_unsigned(api: Api, server: Server) -> None:
    """POST /predict carries the API key and no signature."""
    server.answers["POST", "/predict"] = (200, {"predictions": []})
    api.predict([{"a": 1}], explain="true")
    _, path, headers, body = server.requests[0]
    assert path == "/predict?explain=true"
    assert headers["x-api-key"] == "k"
    assert "authorization" not in headers
    assert json.loads(body) == {"records": [{"a": 1}]}


def test_reasons_are_left_out_where_the_model_has_none(api: Api, server: Server) -> None:
    """A model without explanation or stated coverage still predicts; any other mistake stays one."""
    server.answers["POST", "/predict"] = (422, {"code": "not_explainable", "message": "m", "fix": "f"})
    with pytest.raises(ApiError):
        api.explained({"a": 1})
    assert [path for _, path, _, _ in server.requests] == [
        "/predict?explain=true&coverage=0.9",
        "/predict?coverage=0.9",
    ]


def test_a_trial_names_a_share_only_when_there_is_one(api: Api, server: Server) -> None:
    """The API refuses a share of 0: a shadow alone is asked for without it."""
    server.answers["POST", "/set_model"] = (200, {})
    api.start_rollout("Staging", "xgboost", 0.25, shadow=False, reason="trial")
    api.start_rollout("Staging", "xgboost", 0, shadow=True)
    first, second = (json.loads(body) for _, _, _, body in server.requests)
    assert first == {"alias": "Staging", "model": "xgboost", "canary": 0.25, "shadow": False, "reason": "trial"}
    assert second == {"alias": "Staging", "model": "xgboost", "shadow": True, "reason": ""}


def test_administration_is_signed(api: Api, server: Server) -> None:
    """Every other route carries a Version 4 signature for execute-api in the API's region."""
    server.answers["POST", "/set_model"] = (200, {})
    api.set_model("Production")
    authorization = server.requests[0][2]["authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
    assert "/eu-west-1/execute-api/aws4_request" in authorization


@pytest.mark.parametrize(
    ("status", "error_body", "code", "fix"),
    [
        (409, {"code": "no_active", "message": "none", "fix": "set one", "request_id": "r1"}, "no_active", "set one"),
        (403, {"message": "Forbidden"}, "http_403", "DROPFORGE_API_KEY"),
        (429, {"message": "Too Many Requests"}, "http_429", "wait"),
        (502, b"<html>", "http_502", "dropforge logs"),
        (500, [1], "http_500", "dropforge logs"),
    ],
)
def test_an_error_says_what_to_do(api: Api, server: Server, status: int, error_body: Any, code: str, fix: str) -> None:
    """Code, message and fix of the API; the gateway's own errors get a fix here."""
    server.answers["GET", "/model_info"] = (status, error_body)
    with pytest.raises(ApiError) as caught:
        api.model_info()
    assert caught.value.code == code
    assert fix in caught.value.fix
    assert caught.value.message


def test_an_api_that_is_away_is_an_error_with_a_fix() -> None:
    """Nobody listens: the address is named and the command that helps."""
    with pytest.raises(ApiError) as caught:
        Api(Options(api_url="http://127.0.0.1:9", api_key="")).health()
    assert caught.value.code == "api_unreachable"
    assert "dropforge status" in caught.value.fix


def test_a_file_is_sent_by_the_form(api: Api, server: Server, tmp_path: Path) -> None:
    """Fields first, then the file's bytes, with a length S3 can check; the key is the answer."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"x,y\n" + b"1,2\n" * 50_000)
    form = {"url": f"{server.url}/bucket", "fields": {"key": "incoming/a.csv", "policy": "p"}, "key": "incoming/a.csv"}
    server.answers["POST", "/upload_data"] = (200, {**form, "max_bytes": 10**9})
    server.answers["POST", "/bucket"] = (204, b"")
    assert api.send_file(file, 'a".csv') == "incoming/a.csv"
    _, _, headers, body = server.requests[1]
    assert int(headers["content-length"]) == len(body)
    assert "x-api-key" not in headers
    assert body.index(b'name="policy"') < body.index(b'name="file"; filename="a_.csv"')
    assert file.read_bytes() in body


def test_a_file_beyond_the_limit_is_not_sent(api: Api, server: Server, tmp_path: Path) -> None:
    """The limit the form tells is kept before a byte goes out."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"12345")
    server.answers["POST", "/upload_data"] = (200, {"url": "", "fields": {}, "key": "k", "max_bytes": 4})
    with pytest.raises(ApiError, match="larger than 4 bytes"):
        api.send_file(file, "a.csv")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("method", "path"), sorted(r for r in ACCESS if ACCESS[r] == "iam"), ids=str)
def test_every_route_that_wants_a_signature_gets_one(method: str, path: str) -> None:
    """With its ids and its query."""
    assert signed(method, path.replace("{", "").replace("}", "") + "?x=1")


def test_options_come_from_flags_before_the_environment(tmp_path: Path) -> None:
    """--outputs gives address and key; a flag wins; without any address the error names three ways."""
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({"ApiUrl": "http://a/v1/", "ApiKey": "k", "Region": "r"}))
    env = {"DROPFORGE_API_URL": "http://b", "DROPFORGE_API_KEY": "e", "DROPFORGE_UI_PORT": "9"}
    assert read(["--outputs", str(outputs)], env) == Options("http://a/v1", "k", "r", "", "127.0.0.1", 9)
    assert read(["--api-url", "http://c", "--port", "7"], env).api_url == "http://c"
    assert read([], env).api_key == "e"
    with pytest.raises(ConfigError) as caught:
        read([], {})
    assert "--outputs" in caught.value.fix
