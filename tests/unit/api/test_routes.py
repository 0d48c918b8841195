"""What a call needs, and how it is signed."""

from __future__ import annotations

import pytest

from dropforge.adapters import sigv4
from dropforge.api.routes import needed
from dropforge_cli.target import Target


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        ("POST", "/predict", "key"),
        ("POST", "/predict?explain=true", "key"),
        ("get", "/health", "key"),
        ("POST", "/set_model", "iam"),
        ("GET", "/uploads/0123?key=/predict", "iam"),
        ("POST", "/health", "iam"),
        ("GET", "/nowhere", "iam"),
        ("GET", "/", "iam"),
    ],
)
def test_what_is_not_for_callers_is_administration(method: str, path: str, access: str) -> None:
    """Routes by method and pattern; whatever the table does not have wants a signature."""
    assert needed(method, path) == access


def test_the_signature_covers_method_url_and_body() -> None:
    """Changing any of them changes the signature; the key's secret is in none of the headers."""
    who = sigv4.credentials("AKIDEXAMPLE", "wJalrXUtnFEMI")

    def signature(method: str = "POST", url: str = "https://a.b/v1/x?q=1", body: bytes = b"{}") -> str:
        created = sigv4.sign(method, url, {"x-other": "1"}, body, region="eu-central-1", credentials=who)
        assert "wJalrXUtnFEMI" not in str(created)
        assert "/eu-central-1/execute-api/aws4_request" in created["Authorization"]
        assert created["x-other"] == "1"
        return created["Authorization"].rpartition("Signature=")[2]

    plain = signature()
    assert signature(method="PUT") != plain
    assert signature(url="https://a.b/v1/x?q=2") != plain
    assert signature(body=b"[]") != plain


def test_the_command_line_sends_the_key_or_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes only where it is enough; an administrative call carries a signature and not the key."""
    import requests

    sent = []

    def send(_session: requests.Session, call: requests.PreparedRequest, **_: object) -> requests.Response:
        sent.append(dict(call.headers))
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests.Session, "send", send)
    target = Target(
        {
            "ApiUrl": "http://127.0.0.1:1",
            "ApiKey": "k",
            "Region": "us-east-1",
            "EndpointUrl": "http://x",
            "AccessKeyId": "k",
            "SecretAccessKey": "s",
        }
    )
    target.api("POST", "/predict", json={})
    target.api("POST", "/set_model", json={}, headers={"x-dropforge-user": "me"})
    assert sent[0]["x-api-key"] == "k"
    assert "Authorization" not in sent[0]
    assert "x-api-key" not in sent[1]
    assert sent[1]["Authorization"].startswith("AWS4-HMAC-SHA256")
    assert sent[1]["x-dropforge-user"] == "me"
