"""How often an active model was compared on the same held-out rows."""

from __future__ import annotations

import numpy as np
import pytest

from dropforge import keys
from dropforge.registry import gate_looks
from dropforge_local.memory import MemoryStore


def _sketch(rows: np.ndarray) -> list[int]:
    return np.unique(rows)[:200].tolist()


def _rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count)


def test_uploads_on_the_same_rows_are_counted() -> None:
    """Each upload has its number, whenever it asks; another model's looks are its own."""
    store, sketch = MemoryStore(), _sketch(_rows(1000, 1))
    assert [gate_looks.take(store, "b", "run", f"u{n}", sketch) for n in (1, 2, 3)] == [1, 2, 3]
    assert gate_looks.take(store, "b", "run", "u2", sketch) == 2
    assert gate_looks.take(store, "b", "other", "u4", sketch) == 1


def test_looks_are_counted_anew_once_half_of_the_rows_are_new() -> None:
    """A third of new rows is the same set still; as many new ones as old ones are another."""
    old, fresh = _rows(3000, 1), _rows(4000, 2)
    store = MemoryStore()
    assert gate_looks.take(store, "b", "run", "u1", _sketch(old)) == 1
    assert gate_looks.take(store, "b", "run", "u2", _sketch(np.concatenate([old, fresh[:1500]]))) == 2
    assert gate_looks.take(store, "b", "run", "u3", _sketch(np.concatenate([old, fresh]))) == 1
    assert gate_looks.take(store, "b", "run", "u4", _sketch(np.concatenate([old, fresh]))) == 2


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_fraction_of_new_rows_is_estimated(fraction: float) -> None:
    """From 200 hashes of each set, within four standard errors."""
    old, fresh = _rows(5000, 3), _rows(5000, 4)
    cut = round(5000 * fraction)
    result = gate_looks.new_fraction(_sketch(old), _sketch(np.concatenate([old[cut:], fresh[:cut]])))
    assert abs(result - fraction) <= 4 * np.sqrt(fraction * (1 - fraction) / 100) + 1e-9


def test_what_is_remembered_is_bounded() -> None:
    """A model that is served for years does not grow its record with every upload."""
    store, sketch = MemoryStore(), _sketch(_rows(100, 1))
    for n in range(450):
        gate_looks.take(store, "b", "run", f"u{n}", sketch)
    assert gate_looks.take(store, "b", "run", "one more", sketch) == 451
    assert len(store.get(keys.looks("b", "run")).body) < 20_000
