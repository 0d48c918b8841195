"""What lies in the core layer is code of the functions: every module there can be reached from a handler."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp

from dropforge import metrics
from dropforge.analysis.checks import column_checks, drift_checks, pair_checks, table_checks
from dropforge.config import column_steps
from dropforge.inference import number_steps

ROOT = Path(__file__).parents[2]
# Their modules are found by name (dropforge.plugin_registry), by code that functions reach.
CHECKS = (column_checks, drift_checks, pair_checks, table_checks)
REGISTRIES = (number_steps.REGISTRY, column_steps.REGISTRY, *(checks.REGISTRY for checks in CHECKS), metrics.REGISTRY)
# For those who call the API from Python: no function imports it, and it is a part of the package by its public name.
CLIENT = {"dropforge.client"}
PLUGINS = CLIENT | {f"{registry.package}.{name}" for registry in REGISTRIES for name in registry.names()}


def _imports(file: Path) -> Iterator[str]:
    """Names of modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dropforge":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "dropforge")


def _unreached(graph: grimp.ImportGraph, start: set[str]) -> set[str]:
    """Modules that no chain of imports, also those inside functions, leads to."""
    reached: set[str] = set()
    waiting = [m for m in start if m in graph.modules]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
            if "." in module:
                waiting.append(module.rpartition(".")[0])
    return set(graph.modules) - reached


def test_every_module_of_the_layer_is_reachable_from_a_function() -> None:
    """What the command line, the worker or tests need alone lies in their packages: a layer is loaded by every function."""
    graph = grimp.build_graph("dropforge", cache_dir=None)
    start = {name for file in (ROOT / "functions").glob("*/*.py") for name in _imports(file)}
    assert _unreached(graph, start | PLUGINS) == set()


def test_an_unused_module_is_seen() -> None:
    """The search above is not blind."""
    graph = grimp.build_graph("dropforge", cache_dir=None)
    graph.add_module("dropforge.of_nobody")
    start = {name for file in (ROOT / "functions").glob("*/*.py") for name in _imports(file)}
    assert _unreached(graph, start | PLUGINS) == {"dropforge.of_nobody"}
