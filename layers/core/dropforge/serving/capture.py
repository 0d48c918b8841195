"""A sample of what was asked and answered, kept as JSON lines under `captured/`: written by a thread, beside the answer.

`captured/{day}/{model}/{version}/{time}-{instance}-{n}.jsonl`, one line a row. The request's path only appends to a list.
Lost is what an instance holds when it ends without being asked: at most the rows of its last EVERY_SECONDS, and rows
beyond MOST_ROWS while the store is away; the latter are counted (metric CaptureLost).
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dropforge.errors import DropforgeError
from dropforge.uris import join

if TYPE_CHECKING:
    from dropforge.ports import ObjectStore
    from dropforge.serving.pointer import Active, Candidate
    from dropforge.serving.predictor import Prediction, Predictor

ROOM: Final = "captured"
EVERY_SECONDS: Final = 5.0
SOON_ROWS: Final = 2_000  # so many are written at once, whatever the time
MOST_ROWS: Final = 10_000  # held in memory while the store is away


def falls(prediction_id: str, share: float, purpose: str) -> bool:
    """Whether a request is among `share` of all: always the same for one id, independent between purposes."""
    if share <= 0.0:
        return False
    digest = hashlib.blake2b(prediction_id.encode(), digest_size=4, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") < share * 2**32


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    prediction_id: str
    who: Active | Candidate
    predictor: Predictor
    records: Sequence[Mapping[str, Any]]
    result: Prediction

    def lines(self) -> list[str]:
        features, classes = self.predictor.names, self.predictor.manifest.classes
        who = {"model": self.who.model, "version": self.who.version, "bundle_uri": self.who.bundle_uri}
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        answers = zip(self.records, self.result.labels, self.result.probabilities.tolist(), strict=True)
        return [
            json.dumps(
                {
                    "prediction_id": self.prediction_id,
                    "row": row,
                    "at": at,
                    **who,
                    "label": label,
                    "probabilities": dict(zip(classes, chances, strict=True)),
                    "features": {n: record[n] for n in features},
                },
                ensure_ascii=False,
            )
            for row, (record, label, chances) in enumerate(answers)
        ]


class Capture:
    """Of one process. Safe to share between threads; its own thread starts with the first request that is kept."""

    def __init__(
        self, store: ObjectStore, bucket: str, log: logging.Logger, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._log, self._clock = store, log, clock
        self._root = join(f"s3://{bucket}", ROOM)
        self._instance = uuid.uuid4().hex[:8]
        self._wake = threading.Condition()
        self._writing = threading.Lock()
        self._held: list[_Kept] = []
        self._unwritten: list[
            tuple[str, bytes, int]
        ] = []  # (uri, body, rows): named once, so that a repeat is the same
        self._rows = 0
        self._lost = 0
        self._number = 0
        self._thread: threading.Thread | None = None

    def offer(
        self,
        share: float,
        prediction_id: str,
        who: Active | Candidate,
        predictor: Predictor,
        records: Sequence[Mapping[str, Any]],
        result: Prediction,
    ) -> None:
        """Keep the request if it is among `share` of all. Never raises, never waits for the store."""
        if not falls(prediction_id, share, "capture"):
            return
        kept = _Kept(self._clock(), prediction_id, who, predictor, records, result)
        with self._wake:
            if self._rows + len(records) > MOST_ROWS:
                self._lost += len(records)
                return
            self._held.append(kept)
            self._rows += len(records)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
                self._thread.start()
                atexit.register(self.flush)
            elif len(self._held) == 1 or self._rows >= SOON_ROWS:
                self._wake.notify()

    def flush(self) -> bool:
        """Write what is held; True when nothing is left."""
        with self._writing:
            with self._wake:
                held, self._held = self._held, []
                lost, self._lost = self._lost, 0
            self._unwritten += self._objects(held)
            done = 0
            while self._unwritten:
                uri, body, rows = self._unwritten[0]
                try:
                    self._store.put(uri, body, content_type="application/x-ndjson")
                except DropforgeError as error:
                    self._log.warning("captured rows wait", extra={"code": error.code, "why": error.message})
                    break
                self._unwritten.pop(0)
                done += rows
            with self._wake:
                self._rows -= done
            if done or lost:
                self._log.info(
                    "captured", extra={"metrics": {"Captured": done} | ({"CaptureLost": lost} if lost else {})}
                )
            return not self._unwritten

    def _objects(self, held: list[_Kept]) -> list[tuple[str, bytes, int]]:
        """One object for each model version and day."""
        by: dict[str, list[str]] = {}
        for kept in held:
            day = datetime.fromtimestamp(kept.at, UTC).date().isoformat()
            by.setdefault(f"{day}/{kept.who.model}/{kept.who.version}", []).extend(kept.lines())
        made = []
        for folder, lines in by.items():
            self._number += 1
            at = datetime.fromtimestamp(self._clock(), UTC).strftime("%H%M%S")
            name = f"{at}-{self._instance}-{self._number:06d}.jsonl"
            made.append((join(self._root, folder, name), "\n".join([*lines, ""]).encode(), len(lines)))
        return made

    def _run(self) -> None:
        """At once when the last write is long ago, so that little is lost where requests are rare; else every few seconds."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._held or self._unwritten))
            try:
                written = self.flush()
            except Exception:
                # Capturing must end neither answers nor itself.
                self._log.exception("captured rows could not be written")
                written = False
            if not written:
                time.sleep(EVERY_SECONDS)
                continue
            with self._wake:
                self._wake.wait_for(lambda: self._rows >= SOON_ROWS and bool(self._held), EVERY_SECONDS)
