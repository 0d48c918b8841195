"""What a file is scored by: settings and the active model. Those of a large file are those of its first attempt, whatever follows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dropforge import keys
from dropforge.batch.scoring_table import ModelContract
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import Conflict, NotFound
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import ObjectStore

_SETTINGS, _ACTIVE = "settings.yaml", "active.json"


@dataclass(frozen=True, slots=True)
class ScoringContract:
    """`settings_uri`, `active_uri`: where copies for the shards are, or will be."""

    settings: Settings
    active: Active
    settings_uri: str
    active_uri: str

    @classmethod
    def of_shards(cls, store: ObjectStore, settings_uri: str, active_uri: str) -> ScoringContract:
        """The copies. Raises NotFound where there are none."""
        active = Active.from_json(store.get(active_uri).body)
        return cls(settings_store.read(store, settings_uri), active, settings_uri, active_uri)

    @classmethod
    def read(cls, store: ObjectStore, bucket: str, upload_id: str) -> ScoringContract:
        """The copies of an earlier attempt, else what is in force. Raises NotFound where no model is active."""
        copies = _copies(bucket, upload_id)
        try:
            return cls.of_shards(store, *copies)
        except NotFound:
            active, _ = ActivePointer(store, bucket).read()
            return cls(settings_of(store, bucket, upload_id), active, *copies)

    def pin(self, store: ObjectStore, bucket: str) -> None:
        """Leave the copies for shards and later attempts, unless they are there. Raises Conflict where settings have just changed."""
        if store.stat(self.active_uri) is not None:
            return
        text = store.get(keys.settings(bucket)).body
        if hashlib.sha256(text).hexdigest() != self.settings.sha256:
            raise Conflict("the settings were changed at this moment", code="settings_changed", fix="it is read again")
        store.put(self.settings_uri, text, content_type="application/yaml")
        store.put(self.active_uri, self.active.to_json(), content_type="application/json")  # read first, written last

    def of_model(self, manifest: BundleManifest) -> ModelContract:
        """What the model asks of rows."""
        rules = () if self.active.rules == "off" else manifest.rules
        return ModelContract(manifest.features, rules, refuse=self.active.rules == "refuse")


def settings_of(store: ObjectStore, bucket: str, upload_id: str) -> Settings:
    """The settings of the contract, also where no model is active."""
    copy, active = _copies(bucket, upload_id)
    return settings_store.read(store, keys.settings(bucket) if store.stat(active) is None else copy)


def _copies(bucket: str, upload_id: str) -> tuple[str, str]:
    settings, active = (keys.shard_input(bucket, upload_id, "contract", name) for name in (_SETTINGS, _ACTIVE))
    return settings, active
