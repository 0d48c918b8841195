"""Lambda handler of POST /predict."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge.api import http
from dropforge.environment import Environment
from dropforge.errors import InvalidRequest
from dropforge.serving.service import PredictService


@cache
def _log() -> logging.Logger:
    env = Environment.read()
    return observability.logger("predict", env.log_level, env.metrics_namespace)


@cache
def _service() -> PredictService:
    world = bootstrap.world()
    return PredictService(world.store, world.env.data_bucket, _log())


def _act(request: http.Request) -> http.Response:
    if request.method != "POST":
        raise InvalidRequest(
            f"{request.method} is not allowed here", code="method_not_allowed", fix="use POST", status=405
        )
    answer = _service().predict(request.body, request.content_type)
    unseen = sum(w["code"] == "unseen_category" for w in answer["warnings"])
    return http.Response(
        {**answer, "request_id": request.request_id}, metrics={"UnseenCategory": unseen} if unseen else {}
    )


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    return http.respond(event, _log(), _act, latency="PredictLatency")
