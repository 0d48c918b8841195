"""Texts are looked up by hash: numpy compares arrays of Python objects pair by pair, which is quadratic in the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "training").rglob("*.py"), *(ROOT / "layers/core").rglob("*.py")])


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_numpy_looks_up_hashes_alone(source: Path) -> None:
    """np.isin takes integers, the row hashes; categories and labels go through pandas' hash table."""
    lines = [
        line.strip()
        for line in source.read_text(encoding="utf-8").splitlines()
        if "np.isin(" in line or "np.in1d(" in line
    ]
    assert [line for line in lines if "np.isin(hashes, " not in line] == []
