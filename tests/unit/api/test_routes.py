"""The route table: handlers, types, access, bounds of parameters; and how a call is signed."""

from __future__ import annotations

import inspect

import pytest
from pydantic import TypeAdapter

from dropforge.adapters import sigv4
from dropforge.api import control, openapi, predict, proxy_event, resolver
from dropforge.api.routes import BY_METHOD, ROUTES, Parameter, Route, path_of, required_access
from dropforge.errors import InvalidRequest
from dropforge_cli.target import Target


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_every_route_names_a_handler_and_types_that_exist(route: Route) -> None:
    """The handler takes its function's subject and a request; request and response types are pydantic's, unless any object."""
    module = {"control": control, "predict": predict}[route.function]
    handler = resolver.handlers(module)[route.method, route.path]
    assert handler.__module__ == module.__name__
    assert list(inspect.signature(handler).parameters.values())[1].annotation == "proxy_event.Request"
    for name in (route.request, route.response):
        TypeAdapter(openapi.type_of(name)).json_schema()
    assert bool(route.request) == (route.method == "POST")


def test_every_handler_is_routed_once() -> None:
    """No row repeats another's method and path, and no public function of control or predict that takes a request is left out."""
    assert len(BY_METHOD) == len(ROUTES)
    for module in (control, predict):
        handlers = {
            name
            for name, value in inspect.getmembers(module, inspect.isfunction)
            if value.__module__ == module.__name__
            and not name.startswith("_")
            and "proxy_event.Request" in value.__annotations__.values()
        }
        assert handlers == {r.handler.partition(".")[2] for r in ROUTES if module.__name__.endswith(r.function)}


@pytest.mark.parametrize(
    ("route", "parameter"), [(r, p) for r in ROUTES for p in r.query if p.schema.get("type") == "integer"], ids=str
)
def test_integers_of_the_query_keep_the_bounds_of_the_table(route: Route, parameter: Parameter) -> None:
    """Both bounds and the default are accepted; one beyond, signs, fractions and other digits are refused."""
    least, most = parameter.schema["minimum"], parameter.schema["maximum"]

    def query(text: str | None) -> int:
        given = {} if text is None else {parameter.name: text}
        request = proxy_event.Request(route.method, route.path, {}, given, {"upload_id": "0a"}, b"", "id")
        return resolver.query_integer(request, parameter.name)

    assert [query(t) for t in (str(least), str(most), None)] == [least, most, parameter.default]
    for text in (str(least - 1), str(most + 1), "", "-1", "1.5", "٣", "9" * 5000):
        with pytest.raises(InvalidRequest, match=f"{parameter.name} must be {least} to {most}") as error:
            query(text)
        assert f"{parameter.name}={parameter.default}" in error.value.fix
        assert "{" not in error.value.fix


def test_paths_are_matched_with_their_parameters() -> None:
    """A real path belongs to the path of the table with its parameters; without a route it stays as it is."""
    assert path_of("/models/a%20b/3/card?x=1") == ("/models/{name}/{version}/card", {"name": "a%20b", "version": "3"})
    assert path_of("/nowhere/at/all?x=1") == ("/nowhere/at/all", {})


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
    assert required_access(method, path) == access


def test_the_signature_covers_method_url_and_body() -> None:
    """Changing any of them changes the signature; the key's secret is in none of the headers."""
    signer = sigv4.Signer("eu-central-1", sigv4.credentials("AKIDEXAMPLE", "wJalrXUtnFEMI"))

    def signature(method: str = "POST", url: str = "https://a.b/v1/x?q=1", body: bytes = b"{}") -> str:
        created = signer.sign(method, url, {"x-other": "1"}, body)
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
