"""Handlers, loaded from their files, over fakes of the world."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.environment import Environment
from dropforge_local.memory import MemoryQueue, MemoryRegistry, MemoryStore, MemoryTracking, MemoryWorkflow

ROOT = Path(__file__).parents[2]
DATA = "dropforge-data-000000000000-us-east-1"


@pytest.fixture
def event() -> Callable[[str], dict[str, Any]]:
    """A recorded event by name, fresh each time."""
    return lambda name: dict(json.loads((ROOT / "events" / f"{name}.json").read_text()))


@pytest.fixture
def world() -> AppContext:
    """Fakes instead of adapters; the shipped settings in force."""
    env = Environment(
        data_bucket=DATA,
        artifact_bucket="artifacts",
        mlflow_tracking_uri="http://127.0.0.1:1",
    )
    created = AppContext(env)
    tracking = MemoryTracking()
    fakes: dict[str, Any] = {
        "store": MemoryStore(),
        "queue": MemoryQueue(),
        "workflow": MemoryWorkflow(),
        "registry": MemoryRegistry(tracking),
    }
    vars(created).update(fakes)  # where cached_property keeps what it built
    vars(created).update(uploads_queue=MemoryQueue(), batch_queue=MemoryQueue())
    vars(created)["tracking"] = lambda _experiment: tracking
    settings_store.apply(created.store, DATA, (ROOT / "settings.yaml").read_bytes())
    return created


@pytest.fixture
def load(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The module of a function, its world replaced."""

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"app_{name}", ROOT / "functions" / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        if hasattr(loaded, "_app_context"):
            monkeypatch.setattr(loaded, "_app_context", lambda: world)
        else:
            from dropforge.serving.prediction_service import PredictService

            service = PredictService(world.store, DATA, logging.getLogger("test"))
            monkeypatch.setattr(loaded, "_service", lambda: service)
        return loaded

    return module
