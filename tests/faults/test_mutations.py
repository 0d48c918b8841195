"""The list of promises broken on purpose fits the code as it is: `make faults-mutations` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations import MUTATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"promise {m[0]}")
def test_the_place_to_break_and_its_test_are_there(mutation: tuple[int, str, str, str, str]) -> None:
    """Once in the file, and the test that must notice is written: a list gone stale would prove nothing."""
    _, file, old, _, test = mutation
    assert (ROOT / file).read_text(encoding="utf-8").count(old) == 1
    name, _, function = test.partition("::")
    assert f"def {function}(" in (ROOT / "tests" / "faults" / name).read_text(encoding="utf-8")
