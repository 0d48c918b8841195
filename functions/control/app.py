"""Lambda handler of every route that does not use a model."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap
from dropforge.api import control, http, routes


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def _act(request: http.Request) -> http.Response:
    return routes.dispatch(request, control.ROUTES, _world)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    return http.respond(event, _world().log("control"), _act)
