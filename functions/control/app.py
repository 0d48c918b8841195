"""Lambda handler of every route that does not use a model."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import app_context
from dropforge.api import control, proxy_event, resolver


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


def _act(request: proxy_event.Request) -> proxy_event.Response:
    return resolver.dispatch(request, control, _app_context)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    return proxy_event.respond(event, _app_context().log("control"), _act)
