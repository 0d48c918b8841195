"""Where two documents differ: for tests that hold one way of computing a document to another."""

from __future__ import annotations

from typing import Any

import pytest


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two documents differ; numbers with fractions may differ by the order in which they were added."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], f"{place}.{k}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for k, pair in enumerate(zip(a, b, strict=True)) for d in differences(*pair, f"{place}[{k}]")]
    if isinstance(a, float) and isinstance(b, float):
        return [] if a == pytest.approx(b, rel=1e-9, abs=1e-9) else [f"{place}: {a!r}, {b!r}"]
    return [] if a == b else [f"{place}: {str(a)[:200]}, {str(b)[:200]}"]
