"""The list of promises broken on purpose fits the code as it is: `make faults-mutations` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"promise {m.promise}: {m.test.rpartition('::')[2]}")
def test_the_place_to_break_and_its_test_are_there(mutation: Mutation) -> None:
    """Once in the file, and the test that must notice is written: a list gone stale would prove nothing."""
    for edit in mutation.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1
    name, _, function = mutation.test.partition("::")
    assert f"def {function}(" in (ROOT / "tests" / "faults" / name).read_text(encoding="utf-8")
