"""A challenger that answers by itself, where settings say so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dropforge.config.settings import Settings
from dropforge.deployment.active_model import ActivePointer
from dropforge.deployment.change import Change
from dropforge.deployment.history import DeploymentHistory
from dropforge.messages import Conclusion
from dropforge.uploads import auto_promote
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository


@dataclass
class Gate:
    """What conclude decided about version 2 of the forest, version 1 being served."""

    switching: Any
    settings: Settings
    book: UploadRepository

    def conclude(self, *, on: bool = True, chosen: bool = True) -> bool:
        rule = self.settings.promotion.model_copy(update={"auto_promote": on})
        matches = [v for v in self.switching.registry.versions(["demo-forest"]) if "challenger" in v.aliases]
        return auto_promote.automatically(
            Conclusion(
                upload_id="a" * 20,
                registered=tuple(matches),
                challenger=matches[0] if chosen else None,
                reasons=("+0.02",),
                failed={},
            ),
            Change(self.switching.store, "b", "auto_promote", logging.getLogger("test")),
            settings=self.settings.model_copy(update={"promotion": rule}),
            registry=self.switching.registry,
            book=self.book,
        )

    def served(self) -> str:
        return ActivePointer(self.switching.store, "b").read()[0].version


@pytest.fixture
def decided(switching: Any) -> Gate:
    switching.version("forest", "Production")
    switching.set()
    switching.version("forest", "challenger")
    book = UploadRepository(switching.store, "b")
    book.open(UploadRecord(upload_id="a" * 20, bucket="b", key="incoming/x.csv", version="1"))
    return Gate(switching, switching.settings, book)


def test_a_challenger_answers_at_once_when_settings_say_so(decided: Gate) -> None:
    """It has the serving alias, the pointer names it, and the deployment history says that the gate did it and why."""
    assert decided.conclude()
    assert decided.served() == "2"
    (version,) = [v for v in decided.switching.registry.versions(["demo-forest"]) if "Production" in v.aliases]
    assert version.version == "2"
    ledger = DeploymentHistory(decided.switching.store, "b")
    newest = ledger.get(ledger.last_number()).entry  # type: ignore[union-attr]
    assert (newest.by, newest.reason) == ("auto_promote", "+0.02")


@pytest.mark.parametrize("case", [{"on": False}, {"chosen": False}])
def test_nobody_is_promoted_otherwise(decided: Gate, case: dict[str, bool]) -> None:
    """Without the setting, or without a challenger, the served model stays."""
    assert not decided.conclude(**case)
    assert decided.served() == "1"


def test_a_broken_bundle_is_not_promoted(decided: Gate) -> None:
    """Its hash is checked before anything moves: pointer and label stay where they were."""
    version = next(v for v in decided.switching.registry.versions(["demo-forest"]) if v.version == "2")
    decided.switching.store.put(f"{version.tags['bundle_uri']}/model.onnx", b"another graph")
    assert not decided.conclude()
    assert decided.served() == "1"
    assert [v.version for v in decided.switching.registry.versions(["demo-forest"]) if "Production" in v.aliases] == [
        "1"
    ]


def test_a_switch_that_was_quicker_wins(decided: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who switched in the same moment is not overruled: the conflict is told in the log only."""
    from dropforge.deployment import activate
    from dropforge.errors import Conflict

    def late(*_: object, **__: object) -> None:
        raise Conflict("another switch came first", code="lost_race", fix="look at the deployment history")

    monkeypatch.setattr(activate, "set_model", late)
    assert not decided.conclude()
    assert decided.served() == "1"


def test_a_repeat_undoes_nothing(decided: Gate) -> None:
    """Somebody went back to the model before; the conclusion delivered once more leaves that as it is."""
    assert decided.conclude()
    back = next(v for v in decided.switching.registry.versions(["demo-forest"]) if v.version == "1")
    pointer = ActivePointer(decided.switching.store, "b")
    active, etag = pointer.read()
    pointer.replace(replace(active, version=back.version), etag)
    assert decided.conclude()
    assert decided.served() == "1"
