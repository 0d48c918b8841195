"""Plug-ins that register themselves: a module in a folder of the product, or an entry point of another distribution.

A module's file name is the plug-in's name, so that names are known without importing anything: settings.yaml is checked in
functions that lack what a plug-in computes with.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True, slots=True)
class PluginRegistry:
    """`package`: the folder, by its import name; modules that begin with `_` are no plug-ins. `attribute`: the plug-in in a module.

    `group`: the entry points that add plug-ins of other distributions, each named as its plug-in and pointing at the plug-in itself.
    """

    package: str
    attribute: str
    group: str

    def names(self) -> tuple[str, ...]:
        """Every plug-in, those of the product first."""
        return (*_modules(self.package), *_installed(self.group))

    def __contains__(self, name: object) -> bool:
        """Whether a plug-in has this name."""
        return name in _modules(self.package) or name in _installed(self.group)

    def get(self, name: str) -> Any:
        """The plug-in. Raises KeyError for a name that has none; entry points are read for names of no module only."""
        if name in _modules(self.package):
            return getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)
        return _installed(self.group)[name].load()

    def all(self) -> dict[str, Any]:
        """Every plug-in by its name."""
        return {name: self.get(name) for name in self.names()}


@lru_cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """Entry points by name, in the order of sys.path."""
    return {e.name: e for e in _points().select(group=group)}


@lru_cache
def _points() -> Any:
    """The entry points of every group. Finding them opens a file of every installed distribution: once a process."""
    return entry_points()


@lru_cache
def _modules(package: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(package)  # imports the packages around it alone: names cost nothing
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package}")
    return tuple(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_"))
