"""Settings on S3: the text in force, and immutable copies that jobs name by hash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dropforge import keys
from dropforge.config import settings_store
from dropforge.errors import SettingsError
from dropforge_local.memory import MemoryStore

TEXT = b"project: demo\ndata: {target: y}\nmodels: [{name: forest, class: a.b:C}]\n"
EVIL = TEXT.replace(b"a.b:C", b"evil.code:Runs")


@pytest.fixture
def store() -> MemoryStore:
    created = MemoryStore()
    settings_store.apply(created, "b", TEXT)
    return created


READS: dict[str, Callable[[MemoryStore, str], Any]] = {
    "a job": settings_store.read,
    "an upload": lambda store, _uri: settings_store.in_force(store, "b"),
    "apply": lambda store, _uri: settings_store.apply(store, "b", TEXT),
}


@pytest.mark.parametrize("who", READS)
def test_settings_overwritten_under_their_hash_are_refused(store: MemoryStore, who: str) -> None:
    """Another text under the name of a hash names no class to a training: every reader refuses it and says what to restore."""
    uri = keys.settings_copy("b", settings_store.in_force(store, "b")[0].sha256)
    store.put(uri, EVIL)
    with pytest.raises(SettingsError) as error:
        READS[who](store, uri)
    assert error.value.code == "settings_altered"


def test_the_advice_for_altered_settings_works(store: MemoryStore) -> None:
    """A deleted copy is written again by `apply`, and jobs read it."""
    uri = keys.settings_copy("b", settings_store.in_force(store, "b")[0].sha256)
    fresh = MemoryStore()
    assert settings_store.apply(fresh, "b", TEXT).models[0].import_path == "a.b:C"
    assert settings_store.read(fresh, uri).models[0].import_path == "a.b:C"
