"""Plug-ins: found by their file's name or by entry points, imported when they are used, and light where settings are read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest

from dropforge import plugin_registry
from dropforge.config.finding_names import COLUMN_CHECKS, TABLE_CHECKS
from dropforge.errors import BundleRejected
from dropforge.inference import number_steps
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.plugin_registry import PluginRegistry

REGISTRY = PluginRegistry("dropforge.inference.number_steps", "STEP", "dropforge.number_steps")


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that adds the step `square`, which is `Log` here."""
    point = EntryPoint("square", "dropforge.inference.number_steps.log:Log", "dropforge.number_steps")

    monkeypatch.setattr(plugin_registry, "entry_points", lambda: EntryPoints([point]))
    _forget()
    yield
    _forget()


def _forget() -> None:
    plugin_registry._installed.cache_clear()
    plugin_registry._points.cache_clear()


def test_distributions_are_looked_through_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading settings and checking a hundred columns opens the files of installed distributions once for all groups."""
    scans = []
    monkeypatch.setattr(plugin_registry, "entry_points", lambda: scans.append(1) or EntryPoints())
    _forget()
    for registry in (COLUMN_CHECKS, TABLE_CHECKS) * 100:
        assert ("outliers" in registry) == (registry is COLUMN_CHECKS)
        assert "nothing" not in registry
        registry.names()
    _forget()
    assert scans == [1]


def test_names_are_those_of_the_files_and_of_entry_points(entry: None) -> None:
    """Private modules are no plug-ins; an unknown name is a KeyError."""
    assert REGISTRY.names() == ("clip", "log", "square")
    assert REGISTRY.get("square") is REGISTRY.get("log")
    with pytest.raises(KeyError):
        REGISTRY.get("nothing")


def test_settings_are_read_without_numpy_and_without_the_checks() -> None:
    """Reading every setting, with a step, a metric and a finding by name, imports neither numpy nor DuckDB nor analysis."""
    text = """
project: plugins
data: {target: y}
analysis: {warn_on: [outliers], block_on: [identifier]}
processing: [{clip: {column: x, low: 0}}, {log: {column: x}}]
models: [{name: m, class: "a:B"}]
"""
    code = (
        "import sys, json; from dropforge.config.settings import load; "
        f"load({text!r}); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {
        "numpy",
        "duckdb",
        "jinja2",
        "sklearn",
        "dropforge.analysis.data_profile",
        "dropforge.analysis.checks.run_checks",
    }


@pytest.mark.parametrize(
    ("step", "fields"),
    [("nothing", {}), ("clip", {"middle": 1}), ("clip", {"low": 2.0, "high": 1.0}), ("../clip", {})],
)
def test_a_bundle_with_a_step_that_is_not_here_is_refused(step: str, fields: dict[str, Any]) -> None:
    """Unknown names, unknown fields and fields that contradict each other: no prediction without the step."""
    with pytest.raises(BundleRejected, match="is not installed here") as error:
        number_steps.read("x", [{"step": step, **fields}])
    assert "layers/serving/requirements.in" in error.value.fix


def test_bundles_from_before_the_registry_keep_their_steps() -> None:
    """`low`, `high` and `log` of an older manifest are the steps clip and log, with the same numbers to the last bit."""
    manifest = BundleManifest(
        project="p", model="m", run_id="r", dataset_id="d", created_at="2026", target="y", features=(Feature("x", "number"),),
        inputs=(GraphInput("n", "float32", ("x",)),), probabilities_output="p", classes=("a", "b"), positive_class="b", threshold=0.5,
        onnx_sha256="0",
    )  # fmt: skip
    document = json.loads(manifest.to_json())
    document["features"][0] |= {"low": -1.0, "high": None, "log": True}
    del document["features"][0]["steps"]
    feature = BundleManifest.from_json(json.dumps(document).encode()).features[0]
    assert feature.steps == ({"step": "clip", "low": -1.0, "high": None}, {"step": "log"})
    numbers = np.array([-9.0, 0.5, np.nan])
    for step in number_steps.read("x", feature.steps):
        numbers = step.transform(numbers)
    clipped = np.clip([-9.0, 0.5, np.nan], -1.0, None)
    assert np.array_equal(numbers, np.sign(clipped) * np.log1p(np.abs(clipped)), equal_nan=True)
