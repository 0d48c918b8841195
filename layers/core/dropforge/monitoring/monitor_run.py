"""Live traffic looked at on a schedule: captured lines become Parquet, are joined with late labels, compared and scored.

A window is one day (UTC) of one model version. Its rows lie at `monitoring/rows/{day}/{model}/{version}.parquet`, what was
found at `monitoring/windows/{day}/{model}/{version}.json`; `monitoring/summary.json` tells how far the last look came. Both are
written conditionally, rows first: a look that dies, or meets another, leaves captured lines that the next one takes up,
and a row that is there already is not added a second time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dropforge import announce, keys
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import ColumnReport
from dropforge.announce import Announce, nobody
from dropforge.clock import now
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.datasets.table_schema import Schema
from dropforge.errors import BundleRejected, Conflict, DropforgeError, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.ingest.duckdb_connection import connect
from dropforge.monitoring import traffic_drift as judging
from dropforge.monitoring import traffic_table, windows
from dropforge.monitoring.windows import Window
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStore
from dropforge.s3_uri import join

_BACK_DAYS = 90  # captured rows and labels live no longer (CaptureDays)


@dataclass(frozen=True, slots=True)
class MonitorPorts:
    """What the step needs from the world."""

    store: ObjectStore
    data_bucket: str
    log: logging.Logger
    announce: Announce = nobody


def monitor(ports: MonitorPorts, today: date | None = None) -> dict[str, Any]:
    """Look at every window that has something new: rows, labels, settings or another reference.

    Returns what was looked at. A window that cannot be read says so in its state and does not stop the others.
    """
    with TemporaryDirectory(prefix="dropforge-") as folder:
        return _MonitorRun(ports, Path(folder), today or datetime.now(UTC).date()).run()


class _MonitorRun:
    """One run; holds what the windows share."""

    def __init__(self, ports: MonitorPorts, folder: Path, today: date) -> None:
        self.ports, self.store, self.folder, self.today = ports, ports.store, folder, today
        self.bucket = ports.data_bucket
        self.settings: Settings = settings_store.read(self.store, keys.settings(ports.data_bucket))
        self.datasets = DatasetStore(self.store, ports.data_bucket)
        self.failed: list[str] = []  # days that the next look must list again
        self.labels, self.labels_digest = 0, ""
        self.reference_id = self.datasets.reference_id(self.settings.data)

    def run(self) -> dict[str, Any]:
        summary, etag = windows.read_summary(self.store, self.ports.data_bucket)
        listed = self._labels()
        labels = self._fetch(listed, self.folder / "labels.jsonl", tag=False)
        self.labels_digest = _digest(f"{o.uri} {o.etag}" for o in listed)
        captured = self._captured(summary["through"])
        known = {w.key: w for w in windows.list_windows(self.store, self.ports.data_bucket)}
        # Only days that can have new objects are listed; labels, settings and the reference may change any window.
        wanted = sorted({*captured, *known})
        measured_windows = []
        for key in wanted:
            done = self._window(key, captured.get(key, []), known.get(key), labels)
            if done is not None:
                known[key] = done
                measured_windows.append(done)
        self._count_labels(labels)
        document = {
            "through": min(self.failed, default=self.today.isoformat()),
            "checked_at": now(),
            "labels": self.labels,
            "labels_unmatched": max(0, self.labels - sum(w.state["answered_labelled"] for w in known.values())),
        }
        windows.write_summary(self.store, self.ports.data_bucket, document, etag, self.ports.log)
        self._measure(measured_windows)
        return {**document, "windows": len(known), "new": [w.shown() for w in measured_windows]}

    # --- what there is ---------------------------------------------------------------------------------------------------
    def _labels(self) -> list[Any]:
        return list(self.store.list(keys.labels_folder(self.bucket)))

    def _captured(self, through: str) -> dict[tuple[str, str, str], list[Any]]:
        """Objects by window, from the day before the last look on: an instance may write late."""
        oldest = self.today - timedelta(days=_BACK_DAYS)
        since = max(oldest, date.fromisoformat(through) - timedelta(days=1)) if through else oldest
        matches: dict[tuple[str, str, str], list[Any]] = {}
        for ago in range((self.today - since).days + 1):
            day = (since + timedelta(days=ago)).isoformat()
            for o in self.store.list(keys.captured_folder(self.bucket, day)):
                parts = o.uri.split("/")
                matches.setdefault((day, parts[-3], parts[-2]), []).append(o)
        return matches

    def _fetch(self, objects: Iterable[Any], file: Path, *, tag: bool) -> Path | None:
        """The lines of all objects in one file; with `tag` each line names its object. None when there are none."""
        listed = list(objects)
        if not listed:
            return None
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool, file.open("wb") as out:
            for o, body in zip(listed, pool.map(lambda o: self.store.get(o.uri).body, listed), strict=True):
                name = o.uri.rpartition("/")[2]
                for line in body.splitlines():
                    out.write((line[:-1] + f', "source": "{name}"}}'.encode() if tag else line) + b"\n")
        return file

    def _count_labels(self, labels: Path | None) -> None:
        with closing(connect(self.folder)) as db:
            self.labels = traffic_table.read_ground_truth(db, labels or _empty(self.folder))

    # --- one window --------------------------------------------------------------------------------------------------------
    def _window(
        self, key: tuple[str, str, str], objects: list[Any], stored: Window | None, labels: Path | None
    ) -> Window | None:
        """The window anew; None when nothing about it has changed, or somebody else wrote it meanwhile."""
        context = _digest([self.labels_digest, self.settings.sha256, self.reference_id])
        fresh = _digest(sorted(o.uri for o in objects))
        if (
            stored is not None
            and stored.state["context"] == context
            and (not objects or stored.state["objects"] == fresh)
        ):
            return None
        try:
            state = self._look(key, objects, labels)
        except NotFound:  # its rows have expired: what was found of them stays
            return None
        except Exception as error:
            # Whatever it is: one window that cannot be read must not stop the others.
            self.failed.append(key[0])
            self.ports.log.error("window not done", exc_info=True, extra={"window": "/".join(key)})
            if isinstance(error, Conflict):
                return None  # somebody else writes it; the next look takes up what is left
            reason = error.message if isinstance(error, DropforgeError) else f"{type(error).__name__}: {error}"[:500]
            # What was found before stays, with the reason why it is old; the next look tries again.
            state, context = {**(stored.state if stored else windows.nothing()), "problem": reason}, ""
        document = {
            **state,
            "context": context,
            "objects": fresh if objects else stored.state["objects"] if stored else fresh,
        }
        return windows.write(self.store, self.ports.data_bucket, key, document, stored, self.ports.log)

    def _look(self, key: tuple[str, str, str], objects: list[Any], labels: Path | None) -> dict[str, Any]:
        """Raises NotFound when there are no rows any more, Conflict when somebody else writes them."""
        day, model, version = key
        uri = keys.window_rows(self.bucket, day, model, version)
        with TemporaryDirectory(dir=self.folder) as name, closing(connect(self.folder)) as db:
            folder = Path(name)
            traffic_table.read_ground_truth(db, labels or _empty(folder))
            stored, etag = self._rows(uri, folder)
            seen = traffic_table.sources(db, stored) if stored else {}
            new = [o for o in objects if o.uri.rpartition("/")[2] not in seen]
            lines = self._fetch(new, folder / "captured.jsonl", tag=True)
            if lines is None and stored is None:
                raise NotFound("the rows have expired", code="rows_expired", fix="")
            bundle_uri = _bundle_of(lines) if lines else next(iter(seen.values()), "")
            manifest = self._manifest(bundle_uri)
            rows = traffic_table.read(db, lines, stored, manifest)
            body = traffic_table.write(db, folder / "rows.parquet").read_bytes()
            if lines or labels:
                self.store.put(
                    uri, body, content_type="application/vnd.apache.parquet", if_match=etag, if_absent=not etag
                )
            judged = judging.judge(
                db, rows, manifest, self.settings, self._reference(), self._heldout(bundle_uri, folder)
            )
            return {
                **traffic_table.facts(db, manifest),
                "rows": rows,
                "bundle_uri": bundle_uri,
                "rows_uri": uri,
                "reference_id": self.reference_id,
                "settings_sha256": self.settings.sha256,
                "computed_at": now(),
                "verdict": judged.verdict.model_dump(include={"word", "reasons"}),
                "features": [_column(c) for c in judged.features],
                "predicted": [_column(c) for c in judged.predictions],
                "findings": [f.model_dump(include={"kind", "severity", "title", "evidence"}) for f in judged.findings],
                "score": traffic_table.score(db, manifest),
                "heldout": {k: v for k, v in manifest.metrics.items() if k in {"accuracy", "roc_auc", "rmse", "mae"}},
                "problem": "",
            }  # fmt: skip

    def _rows(self, uri: str, folder: Path) -> tuple[Path | None, str]:
        try:
            stored = self.store.get(uri)
        except NotFound:
            return None, ""
        file = folder / "kept.parquet"
        file.write_bytes(stored.body)
        return file, stored.etag

    def _manifest(self, bundle_uri: str) -> BundleManifest:
        if not bundle_uri:
            raise BundleRejected("the rows do not say which model answered", code="bundle_missing", fix="")
        try:
            return BundleManifest.from_json(self.store.get(join(bundle_uri, MANIFEST_FILE)).body)
        except NotFound:
            raise BundleRejected(f"the bundle {bundle_uri} is gone", code="bundle_missing", fix="restore it") from None

    def _reference(self) -> tuple[Schema, Profile] | None:
        if not self.reference_id:
            return None
        try:
            body = self.store.get(keys.profile(self.bucket, self.reference_id)).body
            return self.datasets.manifest(self.reference_id).data_schema, Profile.model_validate_json(body)
        except NotFound:
            return None

    def _heldout(self, bundle_uri: str, folder: Path) -> Path | None:
        """The model's own predictions on its held-out rows, kept beside the bundle by training."""
        file = folder / "heldout.parquet"
        try:
            self.store.download(join(bundle_uri.rpartition("/")[0], "evaluation/heldout.parquet"), file)
        except NotFound:
            return None
        return file

    def _measure(self, measured_windows: list[Window]) -> None:
        """Metrics of the newest day only: an old window that a late label touched is no news of today."""
        for w in measured_windows:
            s = w.state
            if w.key[0] != self.today.isoformat() or s["problem"]:
                continue
            drift = [c["effect"] for c in s["predicted"] if c["effect"] is not None]
            drifted = [c["name"] for c in s["features"] if c["outcome"] == "drift"]
            measured = {
                "LiveRows": s["rows"],
                "LiveDriftedColumns": len(drifted),
                "PredictionDrift": max(drift, default=None),
                "LiveAccuracy": (s["score"] or {}).get("accuracy"),
                "LiveRocAuc": (s["score"] or {}).get("roc_auc"),
                "LiveRmse": (s["score"] or {}).get("rmse"),
            }
            self.ports.log.info(
                "live traffic",
                extra={
                    "window": "/".join(w.key),
                    "verdict": s["verdict"]["word"],
                    "metrics": {k: v for k, v in measured.items() if v is not None},
                },
            )
            announce.drift(s["verdict"]["word"], drifted, self.ports.announce, window="/".join(w.key))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _column(c: ColumnReport) -> dict[str, Any]:
    return {
        "name": c.name,
        "outcome": c.outcome,
        "effect": _finite(c.effect_corrected),
        "p_value": _finite(c.p_value),
        "psi": _finite(c.psi),
        "missing_share": c.missing_share,
        "missing_share_reference": c.missing_share_reference,
    }


def _bundle_of(lines: Path) -> str:
    with lines.open("rb") as f:
        return str(json.loads(f.readline()).get("bundle_uri", ""))


def _empty(folder: Path) -> Path:
    file = folder / "none.jsonl"
    file.touch()
    return file


def _digest(texts: Iterable[str] | Iterator[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
