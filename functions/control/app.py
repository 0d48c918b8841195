"""Lambda handler of every route but /predict."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from dropforge import bootstrap
from dropforge.api import control, http, routes


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    actions = {route: partial(action, _world()) for route, action in control.ROUTES.items()}
    return http.respond(event, _world().log("control"), lambda request: routes.dispatch(request, actions))
