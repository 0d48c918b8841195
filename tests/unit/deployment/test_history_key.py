"""What the deployment history's key proves: whoever may write serving/* cannot rebuild the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropforge.adapters import history_mac
from dropforge.errors import Conflict

POINTER = "s3://b/serving/active.json"
# The second one is later than anything that a test writes.
BEFORE, AFTER = "2025-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"
Change = Callable[[dict[str, Any]], None]


def _key(folder: Path, created_at: str = BEFORE) -> history_mac.FileKey:
    """A key that `dropforge up` wrote, at that time."""
    file = folder / "history.key"
    history_mac.create(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), "created_at": created_at}))
    return history_mac.FileKey(file)


def _switch(switching: Any, count: int) -> None:
    for _ in range(count):
        switching.version("forest", "Production")
        switching.set()


def _uri(number: int) -> str:
    return f"s3://b/serving/history/{number:08d}.json"


def _rebuild(switching: Any, change: dict[int, Change], *, last: int) -> None:
    """Rewrite entries as a writer of serving/* can: each holds the hash of the one before, the pointer that of the last."""
    before = ""
    for number in range(1, last + 1):
        value = json.loads(switching.store.get(_uri(number)).body)
        change.get(number, lambda _value: None)(value)
        value["previous_sha256"] = before
        body = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
        switching.store.put(_uri(number), body)
        before = hashlib.sha256(body).hexdigest()
    pointer = {**value["to"], "record_sha256": before}
    switching.store.put(POINTER, json.dumps(pointer, indent=1, sort_keys=True).encode())


def _blame(value: dict[str, Any]) -> None:
    value["by"] = "somebody else"


def _unkeyed(value: dict[str, Any]) -> None:
    value.pop("mac", None)


def _problems(switching: Any) -> str:
    checked = switching.shown()["verified"]
    assert checked["ok"] == (not checked["problems"])
    return "; ".join(checked["problems"])


def test_a_rebuilt_chain_holds_without_a_key_and_nobody_says_otherwise(switching: Any) -> None:
    """Hashes alone prove order and completeness to whoever trusts the writer; the answer says that there was no key."""
    _switch(switching, 3)
    _rebuild(switching, {2: _blame}, last=3)
    checked = switching.shown()["verified"]
    assert (checked["ok"], checked["key"], checked["keyed"], checked["unkeyed"]) == (True, False, 0, 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rebuilt_chain_is_broken_with_a_key(switching: Any, tmp_path: Path, number: int) -> None:
    """Whichever entry was rewritten, it is named, although every hash and the pointer fit."""
    switching.key = _key(tmp_path)
    _switch(switching, 3)
    checked = switching.shown()["verified"]
    assert (checked["ok"], checked["keyed"], checked["unkeyed"]) == (True, 3, 0)
    _rebuild(switching, {number: _blame}, last=3)
    assert f"entry {number} was altered" in _problems(switching)


def test_taking_the_codes_away_does_not_make_old_entries_of_new_ones(switching: Any, tmp_path: Path) -> None:
    """An entry without a code counts as old only when the store wrote it before the key existed, whatever time it names."""
    switching.key = _key(tmp_path)
    _switch(switching, 3)

    def aged(value: dict[str, Any]) -> None:
        _unkeyed(value)
        value["at"] = "2020-01-01T00:00:00Z"

    _rebuild(switching, {1: aged, 2: aged, 3: aged}, last=3)
    output = _problems(switching)
    assert all(f"entry {n} has no MAC" in output for n in (1, 2, 3))
    _switch(switching, 1)  # an honest change on top of them does not make them good
    assert "entry 2 has no MAC" in _problems(switching)


def test_entries_of_before_the_key_are_read_and_counted(switching: Any, tmp_path: Path) -> None:
    """A history that was begun without a key goes on with one; the way back to its old entries stays open."""
    _switch(switching, 2)
    switching.key = _key(tmp_path, AFTER)
    _switch(switching, 1)
    checked = switching.shown()["verified"]
    assert (checked["ok"], checked["keyed"], checked["unkeyed"]) == (True, 1, 2)
    assert switching.back(1)["model"]["version"] == "1"
    assert _problems(switching) == ""


@pytest.mark.parametrize("moved", [(1, 3), (3, 1)])
def test_a_code_is_good_for_one_entry(switching: Any, tmp_path: Path, moved: tuple[int, int]) -> None:
    """The code of one entry does not authenticate another one."""
    switching.key = _key(tmp_path)
    _switch(switching, 3)
    taken = json.loads(switching.store.get(_uri(moved[0])).body)["mac"]
    _rebuild(switching, {moved[1]: lambda value: value.update(mac=taken)}, last=3)
    assert f"entry {moved[1]} was altered" in _problems(switching)


@pytest.mark.parametrize("given", [None, 7, ["x"], {}, "", "not base64", "\u20ac"])
def test_what_is_no_code_is_no_reason_to_fail(switching: Any, tmp_path: Path, given: Any) -> None:
    """Whatever stands in the place of the code, the history is shown and said to be broken."""
    switching.key = _key(tmp_path)
    _switch(switching, 2)
    _rebuild(switching, {2: lambda value: value.update(mac=given)}, last=2)
    assert "entry 2" in _problems(switching)


def test_an_entry_that_another_key_made_is_told(switching: Any, tmp_path: Path) -> None:
    """A key of one's own does not help whoever rebuilds the chain with it."""
    switching.key = _key(tmp_path)
    _switch(switching, 2)
    (tmp_path / "other").mkdir()
    switching.key = _key(tmp_path / "other")
    assert "entry 2 was altered, or written with another key" in _problems(switching)


def test_a_pointer_without_its_hash_is_told(switching: Any, tmp_path: Path) -> None:
    """A pointer cannot pass for an old one, whose hash is not checked, when its entry has a code."""
    switching.key = _key(tmp_path)
    _switch(switching, 2)
    pointer = json.loads(switching.store.get(POINTER).body)
    switching.store.put(POINTER, json.dumps({**pointer, "record_sha256": "", "set_by": "nobody"}).encode())
    assert "serving/active.json" in _problems(switching)


def test_an_appended_entry_is_not_carried_out(switching: Any, tmp_path: Path) -> None:
    """The next change completes entries that were left behind, but none that the key did not make: it stops and says which."""
    switching.key = _key(tmp_path)
    _switch(switching, 2)
    value = json.loads(switching.store.get(_uri(1)).body)
    value["number"] = value["to"]["number"] = 3
    value["previous_sha256"] = hashlib.sha256(switching.store.get(_uri(2)).body).hexdigest()
    switching.store.put(_uri(3), json.dumps(value).encode())
    with pytest.raises(Conflict) as caught:
        switching.set()
    assert caught.value.code == "ledger_broken"
    assert "00000003.json" in caught.value.message
    assert json.loads(switching.store.get(POINTER).body)["version"] == "2"


def test_a_long_reason_fits_into_a_message_of_the_key(switching: Any, tmp_path: Path) -> None:
    """KMS takes 4096 bytes: what is authenticated does not grow with the entry."""
    switching.key = _key(tmp_path)
    sizes: list[int] = []
    generate = switching.key.generate

    def measured(message: bytes) -> str:
        sizes.append(len(message))
        return str(generate(message))

    switching.key.generate = measured
    switching.version("forest", "Production", evidence={"gate.reason": "x" * 9000})
    switching.set()
    assert max(sizes) < 4096
    assert _problems(switching) == ""


@pytest.mark.parametrize("how", ["set", "canary", "promote", "abort", "rollback"])
def test_every_change_has_a_code(switching: Any, tmp_path: Path, how: str) -> None:
    """No way to change the active model leaves an entry without one."""
    switching.key = _key(tmp_path)
    _switch(switching, 2)
    if how in {"canary", "promote", "abort"}:
        switching.version("boost", "Candidate")
        switching.beside("Candidate", 0.1)
    if how in {"promote", "abort"}:
        switching.decide(how)
    if how == "rollback":
        switching.back()
    checked = switching.shown()["verified"]
    assert (checked["ok"], checked["unkeyed"]) == (True, 0), checked
