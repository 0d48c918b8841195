"""Lambda handler of the models that have no graph: run by the training image, asked by predict and batch."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import app_context, observability
from dropforge_training.export.pickled_pipeline import PythonModels


@cache
def _models() -> PythonModels:
    world = app_context.create()
    return PythonModels(world.store, world.env.data_bucket, world.log("predict_python"))


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """A request of dropforge.serving.remote_python in, its answer out."""
    return _models().answer(event)
