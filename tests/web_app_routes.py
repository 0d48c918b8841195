"""Which routes the web app calls: every method of its client, tried against a transport that only writes down the call."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from typing import Any, NoReturn

from dropforge.api.routes import ACCESS, path_of
from dropforge_ui.client import Api
from dropforge_ui.config import Options

Route = tuple[str, str]  # method, path with its parameters in braces
FRONTEND = Path(__file__).parents[1] / "frontend" / "dropforge_ui"
_ARGUMENTS: dict[str, Any] = {
    "str": "x", "str | None": "x", "bool": True, "int": 1, "int | None": 1, "float": 0.5, "Path": Path(__file__), "Record": {},
    "Sequence[Record]": [{}], "Mapping[int, str]": {2: "x"},
}  # fmt: skip


class _CallError(Exception):
    """Ends a method of the client once it is known what it calls."""

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path.partition("?")[0]


class _Recorder(Api):
    def _call(self, method: str, path: str, *_: Any, **__: Any) -> NoReturn:
        raise _CallError(method, path)


def routes_of_client() -> dict[str, Route]:
    """Public method of the client → the route it calls. Fails when a method calls none, or one that does not exist."""
    client, routes = _Recorder(Options(api_url="http://127.0.0.1:1", api_key="")), {}
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if name.startswith("_"):
            continue
        parameters = inspect.signature(method).parameters.values()
        given = {
            p.name: _ARGUMENTS[str(p.annotation)]
            for p in parameters
            if p.default is p.empty and p.kind is not p.VAR_KEYWORD
        }
        try:
            method(**given)
        except _CallError as call:
            routes[name] = _route(call.method, call.path)
        else:
            raise AssertionError(f"Api.{name} calls nothing")
    return routes


def _route(method: str, url: str) -> Route:
    route = method, path_of(url)[0]
    assert route in ACCESS, f"{method} {url} is no route of the API"
    return route


@functools.cache
def routes_of_web_app() -> frozenset[Route]:
    """What a signed-in person can cause: the routes of those methods that a page of the web app uses."""
    used = {
        node.attr
        for source in FRONTEND.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id in {"api", "self"})
            or (isinstance(node.value, ast.Attribute) and node.value.attr in {"api", "_api"})
        )
    }
    return frozenset(route for name, route in routes_of_client().items() if name in used)
