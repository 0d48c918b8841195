"""A candidate beside the active model: every step is an entry of the deployment history, and the active model is never in doubt."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import BundleRejected, Conflict, InvalidRequest, NotFound


def _active(switching: Any) -> Active:
    return ActivePointer(switching.store, "b").read()[0]


@pytest.fixture
def beside(switching: Any) -> Any:
    """forest 1 answers, boost 1 is Staging."""
    switching.version("forest", "Production")
    switching.version("boost", "Staging")
    switching.set()
    return switching


def test_a_candidate_changes_nothing_but_the_candidate(beside: Any) -> None:
    """The same model answers; pointer, answer and ledger name the candidate with its share; the chain holds."""
    output = beside.beside("Staging", 0.1, shadow=True)
    active = _active(beside)
    assert (active.model, active.version, active.number) == ("demo-forest", "1", 2)
    assert active.candidate is not None
    assert (active.candidate.model, active.candidate.weight, active.candidate.shadow) == ("demo-boost", 0.1, True)
    assert output["candidate"]["name"] == "demo-boost"
    assert output["model"] == output["previous"]
    shown = beside.shown()
    assert (shown["verified"]["ok"], shown["complete"]) == (True, True)
    assert [e["action"] for e in shown["entries"]] == ["candidate", "set_model"]
    assert shown["entries"][0]["reason"] == "demo-boost version 1 answers 10% and is scored in the shadow"


def test_promoting_makes_it_the_active_model(beside: Any) -> None:
    """One call, one entry, no candidate left; a rollback leads back to the one before."""
    beside.beside("Staging", 0.1)
    output = beside.decide("promote")
    assert (output["model"]["name"], output["previous"]["name"], output["candidate"]) == (
        "demo-boost",
        "demo-forest",
        None,
    )
    assert _active(beside).candidate is None
    assert beside.back()["model"]["name"] == "demo-forest"
    assert [e["action"] for e in beside.shown()["entries"]] == ["rollback", "promote", "candidate", "set_model"]
    assert beside.shown()["verified"]["ok"]


def test_giving_it_up_leaves_the_active_model(beside: Any) -> None:
    """Nothing answers but the active model; there is no candidate to promote any more."""
    beside.beside("Staging", shadow=True)
    output = beside.decide("abort")
    assert (output["model"]["name"], output["candidate"]) == ("demo-forest", None)
    for action in ("promote", "abort"):
        with pytest.raises(Conflict) as caught:
            beside.decide(action)
        assert caught.value.code == "no_candidate"
    with pytest.raises(InvalidRequest):
        beside.decide("forget")


def test_a_plain_switch_ends_it(beside: Any) -> None:
    """Whoever sets a model means that model alone."""
    beside.beside("Staging", 0.5)
    beside.set("Staging")
    assert (_active(beside).model, _active(beside).candidate) == ("demo-boost", None)


def test_what_can_be_no_candidate_is_refused(switching: Any) -> None:
    """Without an active model, the active version itself, or an altered bundle: nothing changes."""
    switching.version("forest", "Production")
    with pytest.raises(NotFound) as caught:
        switching.beside("Production", 0.1)
    assert caught.value.status == 409
    switching.set()
    with pytest.raises(InvalidRequest) as error:
        switching.beside("Production", 0.1)
    assert error.value.code == "candidate_is_active"
    switching.version("boost", "Staging", onnx=b"altered")
    with pytest.raises(BundleRejected):
        switching.beside("Staging", 0.1)
    assert _active(switching).number == 1


def test_an_altered_candidate_is_not_promoted(beside: Any) -> None:
    """Its hash is checked again: the active model goes on, the candidate stays where it is."""
    beside.beside("Staging", 0.1)
    second = _active(beside).candidate
    assert second is not None
    beside.store.put(f"{second.bundle_uri}/model.onnx", b"altered")
    with pytest.raises(BundleRejected):
        beside.decide("promote")
    assert _active(beside).model == "demo-forest"
