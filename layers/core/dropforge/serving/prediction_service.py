"""The warm side of /predict: one verified model in memory, a look for a switch every few seconds."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dropforge import process_memory
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.alias_index import AliasIndex, choose, is_called
from dropforge.deployment.bundle_integrity import ModelRecords, check_python
from dropforge.errors import BundleRejected, DropforgeError, NotFound, TransientError
from dropforge.inference.bundle_manifest import MANIFEST_FILE
from dropforge.inference.predictor import Predictor, open_graph, read_manifest
from dropforge.monitoring.capture import Capture
from dropforge.observability import failure
from dropforge.s3_uri import join
from dropforge.serving import request_formats, rule_checks
from dropforge.serving import response as answering
from dropforge.serving.canary_routing import Loading, SecondDeployment, Shadow
from dropforge.serving.query_options import DEFAULT, Options

if TYPE_CHECKING:
    from dropforge.inference.bundle_manifest import BundleManifest
    from dropforge.inference.explanation import Explainer
    from dropforge.ports import Function, ObjectStore

REFRESH_INTERVAL_SECONDS = 3.0
MOST_OPEN = 3  # labelled versions, and explainers, in memory at the same time


class PredictService:
    """Answers requests with the active model. While S3 is away or a new bundle is refused, the old model goes on."""

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        python: Callable[[], Function | None] = lambda: None,
    ) -> None:
        """`python`: makes the function for models without a graph; called when the first one is loaded."""
        self._store = store
        self._open: Callable[[Active], Predictor] = lambda who: open_active(store, bucket, who, python)
        self._pointer = ActivePointer(store, bucket)
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        # One attribute: another thread sees the old pair or the new one, never the name of one with the answers of the other.
        self._loaded: tuple[Active, Predictor] | None = None
        self._etag = ""
        self._refreshed_at = float("-inf")
        self._others = AliasedModels(store, bucket, clock, self._open)
        self.capture = Capture(store, bucket, log)
        self.shadow = Shadow(log, self.capture)
        self._candidate = Loading(log, self._open)
        self._explaining = threading.Lock()
        self._explainers: dict[str, Explainer] = {}

    def predict(
        self,
        body: bytes,
        content_type: str,
        options: Options = DEFAULT,
        prediction_id: str = "",
        *,
        nan_is_missing: bool = False,
    ) -> dict[str, Any]:
        """Raises InvalidRequest for the caller's mistakes, NotFound for another version than there is (409: none is active)."""
        active, predictor = self.chosen(options)
        request_formats.check_size(body, active.max_body_bytes)
        return self.answer(
            request_formats.parse(body, content_type, active.max_rows, nan_is_missing=nan_is_missing),
            options,
            prediction_id,
            (active, predictor),
        )

    def answer(
        self,
        records: list[Mapping[str, Any]],
        options: Options,
        prediction_id: str,
        chosen: tuple[Active, Predictor],
    ) -> dict[str, Any]:
        """Of the model `chosen` for these options, or of the candidate beside it. Raises InvalidRequest."""
        second = self._candidate.of(chosen[0])
        failed: Exception | None = None
        if second is not None and not options.model and not options.alias and second.handles(prediction_id):
            try:
                return self._prediction(records, options, prediction_id, (second.who, second.predictor), None)
            except Exception as error:
                # Whatever goes wrong in a candidate, the caller must not feel it: the active model answers.
                failed = error
        created = self._prediction(records, options, prediction_id, chosen, second)
        if second is not None and failed is not None:  # and it was not the request's fault
            document = {**failure(failed), "version": second.who.version, "metrics": {"CandidateFailed": 1}}
            self._log.warning("the candidate failed; the active model answered", extra=document)
        return created

    def _prediction(
        self,
        records: list[Mapping[str, Any]],
        options: Options,
        prediction_id: str,
        chosen: tuple[Active, Predictor],
        shadow: SecondDeployment | None,
    ) -> dict[str, Any]:
        active, predictor = chosen
        if options.explain:
            answering.check_explained(len(records))
        violated = rule_checks.check(active, predictor, records)
        result = predictor.predict(records)
        result.warnings.extend(violated)
        created = answering.answer(active, predictor, result, options, prediction_id)
        if options.explain:
            answering.add_explanations(created["predictions"], self._explainer(active, predictor), result)
        self.capture.record(prediction_id, chosen, records, result, share=self._share())
        if shadow is not None and shadow.shadow:
            self.shadow.record(shadow, prediction_id, records, result)
        return created

    def settle(self, seconds: float) -> int:
        """Before a process is frozen: wait up to `seconds` for the work beside the answers. Returns the rows left in memory."""
        deadline = time.monotonic() + seconds
        shadowed = self.shadow.settle(seconds)  # first: what it scores is captured
        return shadowed + self.capture.settle(deadline - time.monotonic())

    def _share(self) -> float:
        """Of requests to be kept: the pointer's, whichever version answers."""
        return self._loaded[0].capture if self._loaded else 0.0

    def chosen(self, options: Options) -> tuple[Active, Predictor]:
        """The active model, or the labelled version that the request names; a model alone means the active one of that name."""
        if options.alias:
            return self._others.get(options.model, options.alias)
        if not options.model:
            return self._current()
        try:
            active, predictor = self._current()
        except NotFound:
            pass  # a labelled version may be asked for although none is active
        else:
            if is_called(active.model, options.model):
                return active, predictor
        return self._others.get(options.model, "")

    def _explainer(self, active: Active, predictor: Predictor) -> Explainer:
        """Loaded when the first explanation is asked for, kept with its model."""
        with self._explaining:
            stored = self._explainers.get(active.bundle_uri)
            if stored is None:
                while len(self._explainers) >= MOST_OPEN:
                    self._explainers.pop(next(iter(self._explainers)))
                stored = self._explainers[active.bundle_uri] = open_explainer(self._store, active, predictor)
            return stored

    def _current(self) -> tuple[Active, Predictor]:
        if self._clock() - self._refreshed_at >= REFRESH_INTERVAL_SECONDS:
            with self._lock:
                if self._clock() - self._refreshed_at >= REFRESH_INTERVAL_SECONDS:
                    self._refresh()
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._refresh()
        if self._loaded is None:  # _refresh raises when there is nothing to answer with
            raise BundleRejected("no model could be loaded", code="no_model", fix="POST /set_model")
        return self._loaded

    def _refresh(self) -> None:
        try:
            result = self._pointer.read_if_changed(self._etag) if self._etag else self._pointer.read()
            if result is not None:
                active, etag = result
                replaced = self._loaded is not None
                self._loaded, self._etag = (active, self._open(active)), etag
                if replaced:
                    process_memory.trim()
                self._log.info("model loaded", extra={"model": active.model, "version": active.version})
        except (TransientError, NotFound, BundleRejected) as error:
            if self._loaded is None:
                raise
            self._keep_old(error)
        finally:
            self._refreshed_at = self._clock()
        if self._loaded is not None:
            self._candidate.follow(*self._loaded)

    def _keep_old(self, error: DropforgeError) -> None:
        self._log.error("the new model is refused; the old one goes on", extra=failure(error))


class AliasedModels:
    """Versions that requests name by label: looked up as often as the active one, loaded when first asked for."""

    def __init__(
        self, store: ObjectStore, bucket: str, clock: Callable[[], float], open_: Callable[[Active], Predictor]
    ) -> None:
        self._clock, self._load = clock, open_
        self._labels = AliasIndex(store, bucket)
        self._lock = threading.Lock()
        self._known: list[Active] = []
        self._etag = ""
        self._refreshed_at = float("-inf")
        self._open: dict[str, Predictor] = {}

    def get(self, model: str, alias: str) -> tuple[Active, Predictor]:
        """Raises NotFound, InvalidRequest; BundleRejected for a bundle that is not the one registered."""
        with self._lock:
            if self._clock() - self._refreshed_at >= REFRESH_INTERVAL_SECONDS:
                result = self._labels.read_if_changed(self._etag)
                self._known, self._etag = result if result is not None else (self._known, self._etag)
                self._refreshed_at = self._clock()
            active = choose(self._known, model, alias)
            predictor = self._open.get(active.bundle_uri)
            if predictor is None:
                predictor = self._load(active)
                while len(self._open) >= MOST_OPEN:
                    self._open.pop(next(iter(self._open)))
                self._open[active.bundle_uri] = predictor
            return active, predictor


def open_explainer(store: ObjectStore, active: Active, predictor: Predictor) -> Explainer:
    """Raises InvalidRequest when the bundle has none, BundleRejected when it is not the one its manifest names."""
    from dropforge.inference import explanation

    named = predictor.manifest.explanation
    if not named:
        raise explanation.not_explainable(active.model)
    try:
        body = store.get(join(active.bundle_uri, explanation.EXPLAIN_FILE)).body
    except NotFound as error:
        raise BundleRejected(
            f"the explanation is gone: {error.message}", code="bundle_missing", fix="train again"
        ) from None
    if hashlib.sha256(body).hexdigest() != named.get("sha256"):
        raise BundleRejected(
            f"{explanation.EXPLAIN_FILE} is not the one its manifest names", code="bundle_altered", fix="train again"
        )
    return explanation.load(body, predictor.manifest)


def open_active(
    store: ObjectStore, bucket: str, active: Active, python: Callable[[], Function | None] = lambda: None
) -> Predictor:
    """Fetch and verify the bundle a pointer names; one without a graph is loaded by the function that `python` makes.

    `bucket`: the data bucket, where the integrity records are. Raises BundleRejected when it is not the one that was
    concluded, or gone, or nobody can run it.
    """
    record = ModelRecords(store, bucket).require(active)
    try:
        body = store.get(join(active.bundle_uri, MANIFEST_FILE)).body
        manifest = read_manifest(body, active.bundle_sha256)
        check_python(manifest, record)
        if manifest.python:
            from dropforge.serving import remote_python

            return remote_python.open_remote(manifest, active, python())
        model = store.get(join(active.bundle_uri, manifest.model_file)).body
    except NotFound as error:
        raise BundleRejected(
            f"the bundle is gone: {error.message}", code="bundle_missing", fix="set another version, or train again"
        ) from None
    return open_graph(manifest, model, lambda: _width_graph(store, active, manifest))


def _width_graph(store: ObjectStore, active: Active, manifest: BundleManifest) -> bytes:
    assert manifest.regression is not None  # noqa: S101 - only a regression has widths
    try:
        return store.get(join(active.bundle_uri, manifest.regression.width_file)).body
    except NotFound as error:
        raise BundleRejected(
            f"the bundle is gone: {error.message}", code="bundle_missing", fix="set another version, or train again"
        ) from None
