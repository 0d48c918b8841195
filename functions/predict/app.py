"""Lambda handler of the routes that use a model."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from dropforge import app_context, observability
from dropforge.api import predict, proxy_event, resolver
from dropforge.environment import Environment
from dropforge.serving.prediction_service import PredictService


@cache
def _log() -> logging.Logger:
    env = Environment.read()
    return observability.logger("predict", env.log_level, env.metrics_namespace, env.aws_lambda_function_version)


@cache
def _service() -> PredictService:
    world = app_context.create()
    return PredictService(world.store, world.env.data_bucket, _log(), python=world.python_function)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    left = context.get_remaining_time_in_millis() / 1000 if context else predict.SETTLE_SECONDS

    def act(request: proxy_event.Request) -> proxy_event.Response:
        return predict.settled(resolver.dispatch(request, predict, _service), _service(), left)

    return proxy_event.respond(event, _log(), act, latency="PredictLatency")
