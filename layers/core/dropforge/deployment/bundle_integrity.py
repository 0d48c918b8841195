"""What was concluded about each model version, outside MLflow: `integrity/{model}/{version}-{run_id}.json`, written once.

MLflow's tags and the artifact bucket can be changed by whoever may write there. The record cannot: only `conclude` (and an
administrator, by `dropforge models adopt`) may write the prefix. A version is activated and loaded only when its bundle is the
one recorded, and a pickle only when settings.yaml said `serve: python` for the model when it was trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dropforge import keys
from dropforge.errors import BundleRejected, Conflict, NotFound

if TYPE_CHECKING:
    from dropforge.inference.bundle_manifest import BundleManifest
    from dropforge.ports import ObjectStore


class Version(Protocol):
    """A version as a pointer, a canary or a request names it."""

    @property
    def model(self) -> str:
        """Registered name."""

    @property
    def version(self) -> str:
        """Number of the version, as text."""

    @property
    def run_id(self) -> str:
        """MLflow run that trained it."""

    @property
    def bundle_uri(self) -> str:
        """s3 URI of the bundle's folder."""

    @property
    def bundle_sha256(self) -> str:
        """sha256 of the bundle's manifest."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One registered version. `bundle_sha256` is of the bundle's manifest.json, which names the hashes of its other files."""

    model: str
    version: str
    run_id: str
    bundle_uri: str
    bundle_sha256: str
    serve: str  # "onnx" or "python", as settings.yaml said when it was trained
    metrics: Mapping[str, float] = field(default_factory=dict)  # on the held-out rows
    evidence: Mapping[str, str] = field(default_factory=dict)  # gate, its reason, score, upload and dataset
    settings_sha256: str = ""
    recorded_at: str = ""
    recorded_by: str = ""  # "conclude", or the administrator who adopted the version
    format_version: int = 1

    @classmethod
    def of(cls, named: Version, *, serve: str, by: str, at: str = "") -> ModelRecord:
        """A record of the bundle that a pointer names, without figures."""
        return cls(
            named.model, named.version, named.run_id, named.bundle_uri, named.bundle_sha256,
            serve=serve, recorded_at=at, recorded_by=by,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """The bytes of the record."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, body: bytes) -> ModelRecord:
        """Raises BundleRejected for bytes that are no record."""
        try:
            value = json.loads(body)
            return cls(**{k: v for k, v in value.items() if k in cls.__dataclass_fields__})
        except (ValueError, TypeError, AttributeError) as error:
            raise BundleRejected(
                f"the integrity record cannot be read: {error}",
                code="record_broken",
                fix="restore the object's first version",
            ) from None


class ModelRecords:
    """The integrity records of one bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._root = keys.integrity_folder(bucket)

    def uri(self, model: str, version: str, run_id: str) -> str:
        """Where the record of a version is."""
        return f"{self._root}{model}/{version}-{run_id}.json"

    def write(self, record: ModelRecord) -> ModelRecord:
        """Write it once; the record that is there now. A repeated conclusion changes nothing.

        Raises BundleRejected when another bundle was recorded for the version.
        """
        uri = self.uri(record.model, record.version, record.run_id)
        try:
            self._store.put(uri, record.to_json(), content_type="application/json", if_absent=True)
        except Conflict:
            first = ModelRecord.from_json(self._store.get(uri).body)
            if (first.bundle_uri, first.bundle_sha256) != (record.bundle_uri, record.bundle_sha256):
                raise BundleRejected(
                    f"{record.model} version {record.version} is recorded with another bundle",
                    code="record_conflict",
                    fix="train again: a new run is a new version",
                ) from None
            return first
        return record

    def require(self, named: Version) -> ModelRecord:
        """The record of the version. Raises BundleRejected when there is none, or when it names another bundle."""
        who = f"{named.model} version {named.version}"
        try:
            stored = ModelRecord.from_json(self._store.get(self.uri(named.model, named.version, named.run_id)).body)
        except NotFound:
            raise BundleRejected(
                f"{who} was not registered by a training of this system: it has no integrity record",
                code="model_not_recorded",
                fix=f"an administrator who trusts it runs: dropforge models adopt {named.model}/{named.version}",
            ) from None
        if (stored.model, stored.version, stored.run_id) != (named.model, named.version, named.run_id):
            raise _altered(who, "is the record of another version")
        if (stored.bundle_uri, stored.bundle_sha256) != (named.bundle_uri, named.bundle_sha256):
            raise _altered(who, "names another bundle")
        return stored

    def recorded(self) -> set[tuple[str, str, str]]:
        """(model, version, run id) of every record."""
        result = set()
        for stat in self._store.list(self._root):
            model, _, name = stat.uri.removeprefix(self._root).rpartition("/")
            version, _, run_id = name.removesuffix(".json").partition("-")
            result.add((model, version, run_id))
        return result


def check_python(manifest: BundleManifest, record: ModelRecord) -> None:
    """Raises BundleRejected for a pickle whose model was not declared `serve: python`: it must never be loaded."""
    if manifest.python and record.serve != "python":
        raise BundleRejected(
            f"{record.model} version {record.version} is a pickle, and settings.yaml did not say `serve: python` when it was trained",
            code="python_not_declared",
            fix="say `serve: python` in the model's entry of settings.yaml and train again",
        )


def describe(record: ModelRecord) -> dict[str, Any]:
    """The record as the command line shows it."""
    return {k: v for k, v in asdict(record).items() if k != "format_version"}


def _altered(who: str, how: str) -> BundleRejected:
    return BundleRejected(
        f"{who} is not what was concluded: its integrity record {how}",
        code="model_altered",
        fix="somebody changed the registry or the pointer: activate another version, or train again",
    )
