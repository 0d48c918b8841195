"""The deployment history of model changes, and the way back."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import pytest

from dropforge.deployment.active_model import ActivePointer
from dropforge.errors import BundleRejected, Conflict, NotFound, Unavailable


def _active(switching: Any) -> str:
    active = ActivePointer(switching.store, "b").read()[0]
    return f"{active.model.removeprefix('demo-')}/{active.version}"


def _switch(switching: Any, count: int) -> None:
    for _ in range(count):
        switching.version("forest", "Production")
        switching.set()


def _uri(number: int) -> str:
    return f"s3://b/serving/history/{number:08d}.json"


def test_every_entry_says_who_what_why_and_holds_the_hash_of_the_one_before(switching: Any) -> None:
    """Newest first; the chain holds; the evidence is what the version was registered with."""
    _switch(switching, 3)
    shown = switching.shown()
    assert (shown["active"], shown["complete"], shown["verified"]["ok"]) == (3, True, True)
    newest, middle, _ = shown["entries"]
    assert (newest["by"], newest["action"], newest["reason"]) == ("tester", "set_model", "the alias Production")
    assert (newest["from"]["version"], newest["to"]["version"]) == ("2", "3")
    assert newest["previous_sha256"] == middle["sha256"]
    assert middle["sha256"] == hashlib.sha256(switching.store.get(_uri(2)).body).hexdigest()
    assert shown["entries"][2]["previous_sha256"] == ""


def test_evidence_of_the_gate_is_kept(switching: Any) -> None:
    """Held-out score and gate of the version stand in its entry: those of its integrity record, whatever MLflow's tags say."""
    document = {"heldout.roc_auc": "0.91", "gate.reason": "better by 0.02"}
    switching.version("forest", "Production", evidence=document)
    switching.registry.versions()[0].tags.update({"heldout.roc_auc": "0.99", "gate": "better"})
    switching.set()
    assert switching.shown()["entries"][0]["evidence"] == document


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", ["altered", "unreadable"])
def test_an_altered_entry_is_told(switching: Any, number: int, how: str) -> None:
    """Whichever it is, the last one included: its hash is held by the next entry, or by the pointer."""
    _switch(switching, 3)
    body = switching.store.get(_uri(number)).body
    switching.store.put(_uri(number), body.replace(b"tester", b"nobody") if how == "altered" else b"{}")
    checked = switching.shown()["verified"]
    assert not checked["ok"]
    assert f"entry {number}" in " ".join(checked["problems"])


def test_a_pointer_written_past_the_ledger_is_told(switching: Any) -> None:
    """A hand on active.json is seen: it is not what the last entry says."""
    _switch(switching, 2)
    uri = "s3://b/serving/active.json"
    switching.store.put(uri, switching.store.get(uri).body.replace(b'"set_by": "tester"', b'"set_by": "nobody"'))
    assert "is not what entry 2 says" in " ".join(switching.shown()["verified"]["problems"])


def test_one_call_goes_back_and_again_goes_further_back(switching: Any) -> None:
    """Never forward to the model just left; `to` names any entry; the limits stay those in force."""
    _switch(switching, 3)
    assert switching.back()["model"]["version"] == "2"
    assert switching.back()["model"]["version"] == "1"
    with pytest.raises(Conflict) as caught:
        switching.back()
    assert caught.value.code == "nothing_to_roll_back_to"
    assert switching.back(3)["model"]["version"] == "3"
    assert switching.back()["model"]["version"] == "2"
    assert [e["action"] for e in switching.shown()["entries"]][:3] == ["rollback", "rollback", "rollback"]
    assert switching.shown()["verified"]["ok"]


def test_going_back_skips_repeats_of_the_same_model(switching: Any) -> None:
    """Setting the same version twice does not make it its own predecessor."""
    _switch(switching, 2)
    switching.set()
    assert switching.back()["model"]["version"] == "1"


def test_a_rollback_needs_no_registry(switching: Any) -> None:
    """MLflow may be down: the deployment history knows the bundle."""
    _switch(switching, 2)
    switching.registry = None
    assert switching.back()["model"]["version"] == "1"


def test_an_entry_that_is_not_there_is_404(switching: Any) -> None:
    """And nothing to go back to is 409, with nothing ever set too."""
    with pytest.raises(NotFound) as caught:
        switching.back()
    assert caught.value.status == 409
    _switch(switching, 1)
    with pytest.raises(NotFound):
        switching.back(7)


def test_a_rollback_to_an_altered_bundle_is_refused(switching: Any) -> None:
    """The active model stays, and so does the ledger."""
    _switch(switching, 2)
    first = json.loads(switching.store.get(_uri(1)).body)["to"]
    switching.store.put(f"{first['bundle_uri']}/model.onnx", b"altered")
    with pytest.raises(BundleRejected):
        switching.back()
    assert _active(switching) == "forest/2"
    assert switching.shown()["entries"][0]["number"] == 2


def test_a_writer_that_dies_between_ledger_and_pointer_leaves_a_change_the_next_one_completes(
    switching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the old model answers and the deployment history says it is not complete; afterwards nothing is missing."""
    _switch(switching, 1)
    put = switching.store.put

    def dies(uri: str, *arguments: Any, **options: Any) -> str:
        if uri.endswith("active.json"):
            raise Unavailable("gone", code="aws_unavailable")
        return str(put(uri, *arguments, **options))

    monkeypatch.setattr(switching.store, "put", dies)
    with pytest.raises(Unavailable):
        _switch(switching, 1)
    monkeypatch.undo()
    shown = switching.shown()
    assert (_active(switching), shown["active"], shown["complete"], shown["entries"][0]["number"]) == (
        "forest/1",
        1,
        False,
        2,
    )
    _switch(switching, 1)
    shown = switching.shown()
    assert (_active(switching), shown["complete"], shown["verified"]["ok"]) == ("forest/3", True, True)
    assert [e["from"] and e["from"]["version"] for e in shown["entries"]] == ["2", "1", None]


@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_a_lost_pointer_is_made_again_from_the_ledger(
    switching: Any, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next change finds where things stood; numbers go on."""
    _switch(switching, 2)
    uri = "s3://b/serving/active.json"
    if damage == "broken":
        switching.store.put(uri, b"{")
    else:
        del switching.store._objects[uri]
    assert not switching.shown()["verified"]["ok"]
    assert switching.back()["model"]["version"] == "1"
    assert switching.shown()["entries"][0]["number"] == 3
    assert switching.shown()["verified"]["ok"]


def test_of_changes_at_the_same_time_one_wins_and_the_chain_holds(switching: Any) -> None:
    """Sixteen rollbacks and switches at once: winners follow each other in the deployment history, the others are told 409."""
    _switch(switching, 6)
    outcomes: list[str] = []
    start = threading.Barrier(16)

    def attempt(n: int) -> None:
        start.wait()
        try:
            switching.back(n % 5 + 1) if n % 2 else switching.set()
            outcomes.append("won")
        except Conflict as error:
            outcomes.append(str(error.status))

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    shown = switching.shown()
    assert set(outcomes) <= {"won", "409"}
    assert len(shown["entries"]) == 6 + outcomes.count("won") == shown["active"]
    assert shown["verified"]["ok"], shown["verified"]


def test_records_of_before_the_chain_are_read(switching: Any) -> None:
    """A ledger whose first records hold no hash goes on with chained ones."""
    _switch(switching, 1)
    value = json.loads(switching.store.get(_uri(1)).body)
    plain = {"number": 1, "at": value["at"], "by": "somebody", "why": "a trial", "from": None, "to": value["to"]}
    switching.store.put(_uri(1), json.dumps(plain).encode())
    pointer = json.loads(switching.store.get("s3://b/serving/active.json").body)
    del pointer["record_sha256"]
    switching.store.put("s3://b/serving/active.json", json.dumps(pointer).encode())
    _switch(switching, 2)
    assert switching.shown()["verified"]["ok"]
    first = switching.shown()["entries"][2]
    assert (first["by"], first["reason"]) == ("somebody", "a trial")  # `why` was the field's name
