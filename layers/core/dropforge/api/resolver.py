"""From a request to its handler by the route table: an unknown path is 404, a wrong method 405 that names the right ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from dropforge.api.proxy_event import Request, Response
from dropforge.api.routes import BY_METHOD
from dropforge.errors import InvalidRequest, NotFound

Subject = TypeVar("Subject")


@cache
def handlers(module: ModuleType) -> dict[tuple[str, str], Callable[[Any, Request], Response]]:
    """The handlers that a function's module (`control`, `predict`) has, by method and path."""
    function = module.__name__.rpartition(".")[2]
    return {
        key: getattr(module, route.handler.partition(".")[2])
        for key, route in BY_METHOD.items()
        if route.function == function
    }


def dispatch(request: Request, module: ModuleType, subject: Callable[[], Subject]) -> Response:
    """Call the handler in `module` of the request's method and resource (the path as the table has it) with the `subject`."""
    handler = handlers(module).get((request.method, request.resource))
    if handler is not None:
        return handler(subject(), request)
    allowed = sorted(method for method, path in handlers(module) if path == request.resource)
    if allowed:
        raise InvalidRequest(
            f"{request.method} is not allowed on {request.resource}",
            code="method_not_allowed",
            fix=f"use {' or '.join(allowed)}",
            status=405,
        )
    raise NotFound(f"no such path: {request.resource}", code="path_unknown", fix="GET /openapi.json lists the paths")


def query_integer(request: Request, name: str) -> int:
    """An integer of the query, within the bounds that the route table states. Raises InvalidRequest outside them."""
    route = BY_METHOD[request.method, request.resource]
    parameter = route.parameter(name)
    least, most = parameter.schema["minimum"], parameter.schema["maximum"]
    text = request.query.get(name, str(parameter.default))
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or not least <= int(text) <= most:
        defaults = "&".join(f"{p.name}={p.default}" for p in route.query if p.default is not None)
        raise InvalidRequest(
            f"{name} must be {least} to {most}",
            code="malformed_request",
            fix=f"{request.method} {request.resource.format(**request.path)}?{defaults}",
        )
    return int(text)
