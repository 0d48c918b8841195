"""Lambda handler of the models that have no graph: run by the training image, asked by predict and batch."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge_training.python_models import PythonModels


@cache
def _models() -> PythonModels:
    world = bootstrap.world()
    return PythonModels(world.store, world.env.data_bucket, world.log("predict_python"))


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """A request of dropforge.serving.python_model in, its answer out."""
    return _models().answer(event)
