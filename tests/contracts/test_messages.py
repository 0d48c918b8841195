"""Golden JSON of every message: what producers write today, consumers of tomorrow still read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dropforge import messages
from dropforge.errors import InvalidRequest
from dropforge.messages import Message

GOLDEN = Path(__file__).parent / "golden"
KINDS = sorted(
    (c for c in vars(messages).values() if isinstance(c, type) and issubclass(c, Message) and c is not Message),
    key=lambda c: c.__name__,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_message_reads_and_writes_its_golden_json(kind: type[Message]) -> None:
    """Reading the golden file and writing it again gives the same JSON: no field was renamed, lost or added unseen."""
    golden = json.loads((GOLDEN / f"{kind.__name__}.json").read_text())
    assert json.loads(kind.parse(golden).json_text()) == golden


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_another_schema_version_is_refused(kind: type[Message]) -> None:
    """A message of a later version is an error that shows where the right form stands."""
    golden = json.loads((GOLDEN / f"{kind.__name__}.json").read_text())
    with pytest.raises(InvalidRequest) as caught:
        kind.parse({**golden, "schema_version": 2})
    assert f"{kind.__name__}.json" in caught.value.fix


def test_an_unknown_field_of_a_newer_producer_does_no_harm() -> None:
    """Fields may be added: old consumers leave them alone."""
    golden = json.loads((GOLDEN / "UploadEvent.json").read_text())
    assert messages.UploadEvent.parse({**golden, "added_later": 1}) == messages.UploadEvent.parse(golden)
