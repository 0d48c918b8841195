"""Models without a graph: the pipeline pickled into its bundle, and run from there where this image runs.

A pickle is code. It is loaded only after its bytes have the hash that the manifest names, and the manifest the hash that was
registered with the version. Classes of the project's own (the folder `models`) go into the pickle themselves, so that a
bundle keeps doing what it did when they change.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import pickle
import platform
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import sklearn

from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecords, check_python
from dropforge.errors import BundleRejected, DropforgeError, InvalidRequest, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest, PythonModel
from dropforge.inference.predictor import Predictor, open_graph, read_manifest
from dropforge.observability import failure
from dropforge.ports import ObjectStore
from dropforge.s3_uri import join
from dropforge.serving import remote_python
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

MOST_OPEN = 3  # models in memory at the same time


def dump(model: LabelledPipeline | NumberPipeline, candidate: ModelSpec) -> tuple[bytes, PythonModel]:
    """Bytes of `pipeline.pkl`, and what the manifest says of them."""
    package = importlib.import_module(type(candidate).__module__.partition(".")[0])
    own = package.__name__ != __name__.partition(".")[0]
    if own:
        cloudpickle.register_pickle_by_value(package)
    try:
        body = cloudpickle.dumps(model)
    finally:
        if own:
            cloudpickle.unregister_pickle_by_value(package)
    return body, PythonModel(hashlib.sha256(body).hexdigest(), versions())


def versions() -> dict[str, str]:
    """What a pickle must be loaded with: bytecode is of one Python, fitted attributes are of one scikit-learn."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "scikit-learn": sklearn.__version__}


def open_pickle(manifest: BundleManifest, body: bytes) -> Predictor:
    """The predictor of a verified manifest and its pickle, run in this process.

    Raises BundleRejected when the bytes are not those of the manifest (then nothing is loaded), other versions wrote them,
    or they cannot be loaded.
    """
    named = manifest.python
    if named is None or hashlib.sha256(body).hexdigest() != named.sha256:
        raise BundleRejected(
            f"{manifest.model_file} is not the one its manifest names",
            code="bundle_altered",
            fix="train again, or roll back",
        )
    here = versions()
    if named.versions != here:
        wrote, runs = (" and ".join(f"{k} {v}" for k, v in of.items()) for of in (named.versions, here))
        raise BundleRejected(
            f"the model was pickled by {wrote}; this image has {runs}",
            code="bundle_versions",
            fix="train again with this image, or deploy the image that trained it",
        )
    try:
        model = pickle.load(io.BytesIO(body))  # noqa: S301 - see above
    except Exception as error:
        # whatever the code in it raises: this bundle must not be served
        raise BundleRejected(
            f"{manifest.model_file} cannot be loaded: {type(error).__name__}: {error}",
            code="bundle_broken",
            fix="train again, or roll back",
        ) from error
    return Predictor(manifest, PipelineSession(manifest, model))


def open_bundle_here(store: ObjectStore, bucket: str, active: Active) -> Predictor:
    """A recorded bundle, run in this process: in the function `predict_python`, and nowhere else. `bucket`: the data bucket.

    Raises BundleRejected as open_pickle does and for a version that was not concluded so; NotFound for one that is gone.
    """
    record = ModelRecords(store, bucket).require(active)
    manifest = read_manifest(store.get(join(active.bundle_uri, MANIFEST_FILE)).body, active.bundle_sha256)
    check_python(manifest, record)
    body = store.get(join(active.bundle_uri, manifest.model_file)).body
    if manifest.python:
        return open_pickle(manifest, body)
    rule = manifest.regression
    return open_graph(manifest, body, lambda: store.get(join(active.bundle_uri, rule.width_file)).body if rule else b"")


class PipelineSession:
    """Stands where the graph's session stands: the whole pipeline, cleaner and all."""

    def __init__(self, manifest: BundleManifest, model: LabelledPipeline | NumberPipeline) -> None:
        self._manifest, self._model = manifest, model
        self._dates = {f.name for f in manifest.features if f.kind == "datetime"}
        self._outputs = max(1, len(manifest.classes))

    def run(self, _outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Probabilities before calibration, float64 [rows, classes], or of a regression its output [rows, 1].

        Raises InvalidRequest when the model's code fails on the rows.
        """
        table = self._table(feeds)
        try:
            result = self._model.raw(table)
        except Exception as error:
            # code of the project's own may raise anything
            raise _failed(f"{type(error).__name__}: {error}") from error
        if result.shape != (len(table), self._outputs) or not np.isfinite(result).all():
            raise _failed(f"it gave not {self._outputs} finite number{'s'[: self._outputs - 1]} for each row")
        return [result]

    def _table(self, feeds: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Columns as a training job has them: float64 with NaN, datetime64, texts with None."""
        columns: dict[str, Any] = {}
        for tensor in self._manifest.inputs:
            for k, name in enumerate(tensor.features):
                values = feeds[tensor.name][:, k]
                if name in self._dates and values.dtype.kind == "f":
                    values = pd.to_datetime(pd.Series(np.round(values * 86_400e6)), unit="us").to_numpy()
                columns[name] = values
        return pd.DataFrame({f.name: columns[f.name] for f in self._manifest.features})


def _failed(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"the model's own code failed on these rows: {reason}",
        code="model_failed",
        fix="send rows like those it was trained on; if they are, correct the class that settings.yaml names and train again",
    )


def _named(event: Mapping[str, Any]) -> Active:
    """The version a request is about; parts that it lacks are empty, and no record is found for them."""
    model, version, run_id, uri, sha256 = (
        str(event.get(k, "")) for k in ("model", "version", "run_id", "bundle_uri", "bundle_sha256")
    )
    return Active(model, version, "", run_id, uri, sha256)


class PythonModels:
    """What the function `predict_python` does: the request of serving/remote_python.py, answered. Safe to share between threads."""

    def __init__(self, store: ObjectStore, bucket: str, log: logging.Logger) -> None:
        """`bucket`: the data bucket, where the integrity records are."""
        self._store, self._bucket, self._log = store, bucket, log
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Predictor] = {}

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """`{"probabilities": [rows, classes]}`, `{"loaded": true}` without feeds, or `{"error": …}` of the errors above."""
        try:
            predictor = self._predictor(_named(event))
            if event["feeds"] is None:
                return {"loaded": True}
            feeds = remote_python.decode(predictor.manifest, event["feeds"])
            return {"probabilities": predictor.raw_run(feeds).tolist()}
        except DropforgeError as error:
            self._log.warning("refused", extra=failure(error))
            return remote_python.refusal(error)

    def _predictor(self, active: Active) -> Predictor:
        uri, sha256 = active.bundle_uri, active.bundle_sha256
        with self._lock:
            stored = self._open.get((uri, sha256))
            if stored is None:
                if not sha256:  # an empty hash would let any manifest through
                    raise BundleRejected("the request names no hash", code="bundle_unverified", fix="train again")
                try:
                    stored = open_bundle_here(self._store, self._bucket, active)
                except NotFound as error:
                    raise BundleRejected(
                        f"the bundle is gone: {error.message}", code="bundle_missing", fix="train again, or roll back"
                    ) from None
                while len(self._open) >= MOST_OPEN:
                    self._open.pop(next(iter(self._open)))
                self._open[uri, sha256] = stored
                self._log.info("model loaded", extra={"bundle": uri})
            return stored
