"""dropforge.client: its types are those of the API, its calls are routes, its errors are the API's."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

from dropforge import client as module
from dropforge.api import openapi, routes
from dropforge.client import AsyncClient, Client
from dropforge.errors import Conflict, InvalidRequest, NotFound, Unavailable

from ..api_server import Server, server

__all__ = ["server"]  # a fixture

TYPES = (
    "Identity", "Warned", "PredictionSet", "Interval", "Explained", "OnePrediction", "OneNumber", "PredictAnswer",
    "GroundTruthRow", "GroundTruthAccepted",
)  # fmt: skip
ANSWER = {
    "predictions": [{"label": "yes", "probabilities": {"no": 0.1, "yes": 0.9}}],
    "model": {"name": "m", "version": "1", "alias": "Production", "run_id": "r"},
    "threshold": 0.5, "warnings": [], "prediction_id": "p-1", "request_id": "q-1",
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_every_type_has_the_fields_of_the_openapi_document(name: str) -> None:
    """Field by field, and the same ones required; a field that the API gains or loses fails here."""
    schema = openapi.document()["components"]["schemas"][name]
    kind = getattr(module, name)
    hints = get_type_hints(kind, include_extras=True)
    assert set(hints) == set(schema["properties"])
    assert {n for n, h in hints.items() if get_origin(h) is not NotRequired} == set(schema["required"])


def test_every_call_is_a_route_that_takes_a_key(server: Server) -> None:
    """Method, path and query parameters are in the route table, with access by API key."""
    client = Client(server.url, "the-key")
    server.answers = {
        ("POST", "/predict"): (200, ANSWER),
        ("POST", "/ground_truth"): (200, {"accepted": 1, "next": "GET /monitoring"}),
        ("GET", "/model_info"): (200, {}),
        ("GET", "/health"): (200, {}),
    }
    client.predict([{"a": 1}], coverage=0.9, quantiles=[0.1, 0.9], explain=True, model="m", alias="Staging")
    client.ground_truth([{"prediction_id": "p-1", "row": 0, "label": "yes"}])
    client.model_info()
    client.health()
    assert len(server.requests) == 4
    for method, url, headers, _ in server.requests:
        path, _, query = url.partition("?")
        route = routes.BY_METHOD[method, path]
        assert route.access == "key"
        assert headers["x-api-key"] == "the-key"
        assert {p.partition("=")[0] for p in query.split("&") if p} <= {p.name for p in route.query}
    assert "coverage=0.9&quantiles=0.1%2C0.9&explain=true&model=m&alias=Staging" in server.requests[0][1]


def test_a_prediction_is_sent_and_returned(server: Server) -> None:
    """Records as the API takes them; the answer as it came."""
    server.answers["POST", "/predict"] = (200, ANSWER)
    answer = Client(server.url + "/", "k").predict([{"age": 39, "work": None}])
    assert answer == ANSWER
    assert json.loads(server.requests[0][3]) == {"records": [{"age": 39, "work": None}]}


def test_explanations_of_many_rows_are_fetched_in_pieces(server: Server) -> None:
    """120 rows: three requests, none of more than the API's 50."""
    explanation = {"class": "yes", "space": "log_odds", "base": 0.0, "output": 1.0, "contributions": {"a": 1.0}}
    server.answers["POST", "/predict"] = (
        200,
        {**ANSWER, "predictions": [{**ANSWER["predictions"][0], "explanation": explanation}]},
    )  # type: ignore[index] # a literal above
    assert Client(server.url, "k").explain([{"a": i} for i in range(120)]) == [explanation] * 3
    assert [len(json.loads(body)["records"]) for *_, body in server.requests] == [50, 50, 20]


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (422, InvalidRequest), (403, InvalidRequest)]
)
def test_an_error_has_the_words_of_the_api(server: Server, status: int, kind: type[Exception]) -> None:
    """Code, message and fix; asked once, because the same request would fail again."""
    server.answers["GET", "/model_info"] = (status, {"code": "c", "message": "m", "fix": "f", "request_id": "r"})
    with pytest.raises(kind) as raised:
        Client(server.url, "k").model_info()
    error: Any = raised.value
    assert (error.code, error.message, error.fix) == ("c", "m", "f")
    assert len(server.requests) == 1


def test_what_is_busy_is_asked_again_a_bounded_number_of_times(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """503: twice more, then Unavailable; an address where nobody listens as well."""
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    server.answers["GET", "/health"] = (503, {"code": "busy", "message": "m", "fix": "f"})
    with pytest.raises(Unavailable, match="m"):
        Client(server.url, "k").health()
    assert len(server.requests) == 1 + module.RETRIES
    with pytest.raises(Unavailable, match="does not answer"):
        Client("http://127.0.0.1:9", "k").health()
    with pytest.raises(InvalidRequest, match="no address"):
        Client("file:///etc/passwd", "k")


def test_asyncio_gets_the_same_answers(server: Server) -> None:
    """Several at once."""
    server.answers["POST", "/predict"] = (200, ANSWER)

    async def several() -> list[Any]:
        client = AsyncClient(server.url, "k")
        return list(await asyncio.gather(*(client.predict([{"a": i}]) for i in range(5))))

    assert asyncio.run(several()) == [ANSWER] * 5
    assert len(server.requests) == 5


def test_the_client_imports_nothing_but_the_standard_library() -> None:
    """Who predicts from a small function of their own pays no pydantic, boto3 or numpy."""
    heavy = ("pydantic", "boto3", "numpy", "requests", "duckdb")
    check = f"import sys, dropforge.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
