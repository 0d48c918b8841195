"""Dropforge: serverless MLOps for tables. The shared core: steps and the modules they use."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`dropforge.compare`, loaded when it is used: it lives beside the command line, which functions do not carry."""
    if name == "compare":
        from importlib import import_module

        return import_module("dropforge_cli.comparison").compare
    raise AttributeError(f"module 'dropforge' has no attribute {name!r}")
