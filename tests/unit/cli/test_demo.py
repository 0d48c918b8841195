"""The demo's clock: what the table at its end says."""

from __future__ import annotations

import pytest

from dropforge_cli.commands import demo


def test_the_parts_add_up_to_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a part, what ran inside it indented below it, the total last; inner parts may overlap and are not added."""
    now = iter([100.0, 107.5, 110.0])
    monkeypatch.setattr(demo.time, "monotonic", lambda: next(now))
    clock = demo.Stopwatch()
    clock.inner("emulator", 3.0)
    clock.inner("mlflow", 7.0)
    assert clock.lap("local cloud") == 7.5
    assert clock.lap("example data") == 2.5
    assert clock.rows() == [
        ("local cloud", "7.5"),
        ("  emulator", "3.0"),
        ("  mlflow", "7.0"),
        ("example data", "2.5"),
        ("total", "10.0"),
    ]
