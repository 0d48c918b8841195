"""Texts are looked up by hash: numpy compares arrays of Python objects pair by pair, which is quadratic in the rows."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "training").rglob("*.py"), *(ROOT / "layers/core").rglob("*.py")])


def test_numpy_looks_up_hashes_alone() -> None:
    """np.isin takes integers, the row hashes; categories and labels go through pandas' hash table."""
    lines = [
        f"{source.relative_to(ROOT)}: {line.strip()}"
        for source in SOURCES
        for line in source.read_text(encoding="utf-8").splitlines()
        if "np.isin(" in line or "np.in1d(" in line
    ]
    assert lines
    assert [line for line in lines if "np.isin(hashes, " not in line] == []
