"""The warm side of /predict: one verified model in memory, a look for a switch every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge.errors import BundleRejected, DropforgeError, NotFound, TransientError
from dropforge.serving import formats
from dropforge.serving.manifest import MANIFEST_FILE, MODEL_FILE
from dropforge.serving.pointer import Active, ActivePointer
from dropforge.serving.predictor import Predictor, open_bundle
from dropforge.uris import join

if TYPE_CHECKING:
    from dropforge.ports import ObjectStore

LOOK_EVERY_SECONDS = 3.0


class PredictService:
    """Answers requests with the active model. While S3 is away or a new bundle is refused, the old model goes on."""

    def __init__(
        self, store: ObjectStore, bucket: str, log: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._pointer = ActivePointer(store, bucket)
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._active: Active | None = None
        self._predictor: Predictor | None = None
        self._etag = ""
        self._looked = float("-inf")

    def predict(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Raises InvalidRequest for the caller's mistakes, NotFound (409) while no model is active."""
        active, predictor = self._current()
        formats.check_size(body, active.max_body_bytes)
        records = formats.parse(body, content_type, active.max_rows)
        result = predictor.predict(records)
        classes = predictor.manifest.classes
        return {
            "predictions": [
                {"label": label, "probabilities": dict(zip(classes, row, strict=True))}
                for label, row in zip(result.labels, result.probabilities.tolist(), strict=True)
            ],
            "model": active.identity(),
            "threshold": predictor.manifest.threshold if predictor.manifest.positive_class else None,
            "warnings": result.warnings,
        }

    def _current(self) -> tuple[Active, Predictor]:
        if self._clock() - self._looked >= LOOK_EVERY_SECONDS:
            with self._lock:
                if self._clock() - self._looked >= LOOK_EVERY_SECONDS:
                    self._look()
        if self._active is None or self._predictor is None:
            self._look()
        if self._active is None or self._predictor is None:  # _look raises when there is nothing to answer with
            raise BundleRejected("no model could be loaded", code="no_model", fix="POST /set_model")
        return self._active, self._predictor

    def _look(self) -> None:
        try:
            found = self._pointer.read_if_changed(self._etag) if self._etag else self._pointer.read()
            if found is not None:
                active, etag = found
                predictor = open_active(self._store, active)
                self._active, self._predictor, self._etag = active, predictor, etag
                self._log.info("model loaded", extra={"model": active.model, "version": active.version})
        except (TransientError, NotFound, BundleRejected) as error:
            if self._predictor is None:
                raise
            self._keep_old(error)
        finally:
            self._looked = self._clock()

    def _keep_old(self, error: DropforgeError) -> None:
        self._log.error(
            "the new model is refused; the old one goes on", extra={"code": error.code, "why": error.message}
        )


def open_active(store: ObjectStore, active: Active) -> Predictor:
    """Fetch and verify the active bundle. Raises BundleRejected when it is not the one that was registered, or gone."""
    try:
        manifest = store.get(join(active.bundle_uri, MANIFEST_FILE)).body
        model = store.get(join(active.bundle_uri, MODEL_FILE)).body
    except NotFound as error:
        raise BundleRejected(
            f"the bundle is gone: {error.message}", code="bundle_missing", fix="set another version, or train again"
        ) from None
    return open_bundle(manifest, model, active.bundle_sha256)
