"""A sample of what was asked and answered, kept as JSON lines under `captured/`: written beside the answer (aside.py).

`captured/{day}/{model}/{version}/{time}-{instance}-{n}.jsonl`, one line a row. The request's path only appends to a list.
Rows beyond MOST_ROWS while the store is away are let go and counted (metric CaptureLost).
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dropforge import keys
from dropforge.background_worker import BackgroundWorker
from dropforge.errors import DropforgeError
from dropforge.observability import failure

if TYPE_CHECKING:
    import numpy as np

    from dropforge.deployment.active_model import Active
    from dropforge.inference.predictor import Prediction, Predictor
    from dropforge.ports import ObjectStore

MOST_ROWS: Final = 10_000  # held in memory while the store is away


def is_sampled(prediction_id: str, share: float, purpose: str) -> bool:
    """Whether a request is among `share` of all: always the same for one id, independent between purposes."""
    if share <= 0.0:
        return False
    digest = hashlib.blake2b(prediction_id.encode(), digest_size=4, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") < share * 2**32


@dataclass(frozen=True, slots=True)
class _CapturedRows:
    at: float
    prediction_id: str
    who: Active
    predictor: Predictor
    records: Sequence[Mapping[str, Any]]
    labels: Sequence[str] | Sequence[float]
    probabilities: np.ndarray
    shadow: bool

    def lines(self) -> list[str]:
        features, classes = self.predictor.manifest.features, self.predictor.manifest.classes
        who = {"model": self.who.model, "version": self.who.version, "bundle_uri": self.who.bundle_uri}
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        answers = zip(self.records, self.labels, self.probabilities.tolist(), strict=True)
        return [
            json.dumps(
                {
                    "prediction_id": self.prediction_id,
                    "row": row,
                    "at": at,
                    **who,
                    "shadow": self.shadow,
                    "label": label,
                    "probabilities": dict(zip(classes, chances, strict=True)) if classes else {},
                    "features": {f.name: self.predictor.file_value(f, record[f.name]) for f in features},
                },
                ensure_ascii=False,
            )
            for row, (record, label, chances) in enumerate(answers)
        ]


class Capture(BackgroundWorker[_CapturedRows]):
    """Of one process."""

    def __init__(
        self, store: ObjectStore, bucket: str, log: logging.Logger, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__("capture", log, MOST_ROWS)
        self._store, self._clock = store, clock
        self._bucket = bucket
        self._instance = uuid.uuid4().hex[:8]
        self._unwritten: list[
            tuple[str, bytes, int]
        ] = []  # address, body, rows; named once: a repeat is the same object
        self._number = 0

    def record(
        self,
        prediction_id: str,
        model: tuple[Active, Predictor],
        records: Sequence[Mapping[str, Any]],
        result: Prediction,
        *,
        share: float,
        shadow: bool = False,
    ) -> None:
        """Keep the request if it is among `share` of all. Never raises, never waits for the store."""
        if is_sampled(prediction_id, share, "capture"):
            # Not the whole result: what the graph was fed is larger than the rows.
            stored = _CapturedRows(
                self._clock(), prediction_id, *model, records, result.labels, result.probabilities, shadow
            )
            self._hold(stored, len(records))

    def _do(self, items: list[_CapturedRows], lost: int) -> tuple[int, bool]:
        self._unwritten += self._objects(items)
        done = 0
        while self._unwritten:
            uri, body, rows = self._unwritten[0]
            try:
                self._store.put(uri, body, content_type="application/x-ndjson")
            except DropforgeError as error:
                self._log.warning("captured rows wait", extra=failure(error))
                break
            self._unwritten.pop(0)
            done += rows
        if done or lost:
            measured = {"Captured": done} | ({"CaptureLost": lost} if lost else {})
            self._log.info("captured", extra={"metrics": measured})
        return done, bool(self._unwritten)

    def _objects(self, pending: list[_CapturedRows]) -> list[tuple[str, bytes, int]]:
        """One object for each model version and day."""
        by: dict[tuple[str, str], list[str]] = {}
        for stored in pending:
            day = datetime.fromtimestamp(stored.at, UTC).date().isoformat()
            by.setdefault((day, f"{stored.who.model}/{stored.who.version}"), []).extend(stored.lines())
        created = []
        for (day, who), lines in by.items():
            self._number += 1
            at = datetime.fromtimestamp(self._clock(), UTC).strftime("%H%M%S")
            name = f"{at}-{self._instance}-{self._number:06d}.jsonl"
            created.append(
                (f"{keys.captured_folder(self._bucket, day)}{who}/{name}", "\n".join([*lines, ""]).encode(), len(lines))
            )
        return created
