"""Lambda handler of POST /predict."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge.api import http
from dropforge.errors import InvalidRequest
from dropforge.serving.service import PredictService


@cache
def _service() -> PredictService:
    world = bootstrap.world()
    return PredictService(world.store, world.env.data_bucket, observability.logger("predict", world.env.log_level))


def _act(request: http.Request) -> http.Response:
    if request.method != "POST":
        raise InvalidRequest(
            f"{request.method} is not allowed here", code="method_not_allowed", fix="use POST", status=405
        )
    return http.Response({**_service().predict(request.body, request.content_type), "request_id": request.request_id})


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    return http.respond(event, observability.logger("predict"), _act)
