"""`dropforge upgrade`: documents of an earlier version stay readable, and profiles are counted again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dropforge import keys
from dropforge.analysis.data_profile import PROFILE_VERSION, Profile
from dropforge.config import settings_store
from dropforge.config.settings import DataSettings
from dropforge.datasets.dataset_store import DatasetStore, Entry
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.ingest.ingest_file import admit
from dropforge_cli import upgrading
from dropforge_local.memory import MemoryStore

BUCKET = "data"


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A dataset with a profile as the first release wrote it: no version 3, no counts by period."""
    store = MemoryStore()
    settings_store.apply(store, BUCKET, b"project: demo\ndata: {target: y}\nmodels: [{name: m, class: a.b:C}]\n")
    rows = "\n".join(f"2024-01-{k % 28 + 1:02d},{k % 7},{'yes' if k % 3 else 'no'}" for k in range(300))
    (tmp_path / "f.csv").write_text(f"day,x,y\n{rows}\n")
    admission = admit(tmp_path / "f.csv", data=DataSettings(target="y"), reference=None, workdir=tmp_path)
    datasets = DatasetStore(store, BUCKET)
    datasets.save(admission, source="incoming/f.csv", created_at="2024-02-01T00:00:00Z")
    datasets.accept(Entry(dataset_id=admission.dataset_id, upload_id="0" * 32, accepted_at="2024-02-01T00:00:00Z"))
    older = {"format_version": 2, "rows": 300, "duplicates": 0, "target": "y", "columns": [], "pairs": {}}
    store.put(keys.profile(BUCKET, admission.dataset_id), json.dumps(older).encode())
    return store


def _results(store: MemoryStore, *, dry_run: bool = False) -> dict[str, str]:
    return {d.kind: d.result for d in upgrading.documents(store, BUCKET, dry_run=dry_run)}


def _profile(store: MemoryStore) -> Profile:
    (entry,) = DatasetStore(store, BUCKET).entries()
    return Profile.model_validate_json(store.get(keys.profile(BUCKET, entry.dataset_id)).body)


def test_a_profile_of_an_earlier_version_is_counted_again(store: MemoryStore) -> None:
    """From the stored rows, once: the second run changes nothing."""
    assert _profile(store).timeline is None
    assert _results(store)["profile"] == "upgraded"
    upgraded = _profile(store)
    assert upgraded.format_version == PROFILE_VERSION
    assert upgraded.timeline is not None
    assert sum(upgraded.timeline.rows) == upgraded.rows == 300
    assert _results(store)["profile"] == "current"


def test_a_dry_run_writes_nothing(store: MemoryStore) -> None:
    """It says what would be upgraded."""
    assert _results(store, dry_run=True)["profile"] == "upgraded"
    assert _profile(store).format_version == 2


def test_what_cannot_be_read_is_named_and_ends_nothing(store: MemoryStore) -> None:
    """A profile of a later version is left alone, a bundle without a manifest is a failure, and the rest is still done."""
    (entry,) = DatasetStore(store, BUCKET).entries()
    later = _profile(store).model_copy(update={"format_version": PROFILE_VERSION + 1}).model_dump_json().encode()
    store.put(keys.profile(BUCKET, entry.dataset_id), later)
    ModelRecords(store, BUCKET).write(ModelRecord("m", "1", "r1", "s3://artifacts/b", "0" * 64, serve="onnx"))
    results = list(upgrading.documents(store, BUCKET, dry_run=False))
    assert {(d.kind, d.result) for d in results} == {
        ("settings", "current"), ("profile", "failed"), ("bundle", "failed"), ("active model", "current"),
    }  # fmt: skip
    assert store.get(keys.profile(BUCKET, entry.dataset_id)).body == later
    assert all(d.detail for d in results if d.result == "failed")
    assert [d.name for d in results if d.kind == "bundle"] == ["m/1-r1"]
    assert dataclasses.asdict(results[0])["name"] == "in force"
