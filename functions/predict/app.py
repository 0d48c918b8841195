"""Lambda handler of the routes that use a model."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge.api import http, predicting, routes
from dropforge.environment import Environment
from dropforge.serving.service import PredictService


@cache
def _log() -> logging.Logger:
    env = Environment.read()
    return observability.logger("predict", env.log_level, env.metrics_namespace, env.aws_lambda_function_version)


@cache
def _service() -> PredictService:
    world = bootstrap.world()
    return PredictService(world.store, world.env.data_bucket, _log(), python=world.python_function)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    left = context.get_remaining_time_in_millis() / 1000 if context else predicting.SETTLE_SECONDS

    def act(request: http.Request) -> http.Response:
        return predicting.settled(routes.dispatch(request, predicting.ROUTES, _service), _service(), left)

    return http.respond(event, _log(), act, latency="PredictLatency")
