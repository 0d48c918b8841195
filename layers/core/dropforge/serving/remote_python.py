"""A model that has no graph, asked where Python may run it: the function `predict_python`, in the training image.

Only what an ONNX graph would do goes there: values in, probabilities out. Reading requests, warnings, calibration, thresholds,
prediction sets and the answer stay where they are for every model. Loaded only when a bundle says `python`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dropforge.errors import BundleRejected, DropforgeError, InvalidRequest, PermanentError, Unavailable
from dropforge.inference.bundle_manifest import BundleManifest, not_served
from dropforge.inference.predictor import Predictor, is_text

if TYPE_CHECKING:
    from dropforge.deployment.active_model import Active
    from dropforge.ports import Function

MOST_BYTES: Final = 5_000_000  # of one call: Lambda takes 6 MB and answers with no more
MOST_VALUES: Final = 150_000  # probabilities of one answer; one takes up to 26 bytes
_ERRORS: Final[dict[str, type[DropforgeError]]] = {
    e.__name__: e for e in (BundleRejected, InvalidRequest, PermanentError, Unavailable)
}


def open_remote(manifest: BundleManifest, active: Active, function: Function | None) -> Predictor:
    """The predictor of a verified manifest, its model loaded over there. Raises BundleRejected, Unavailable."""
    if function is None:
        raise not_served(active.model)
    session = RemoteSession(manifest, active, function)
    session.load()
    return Predictor(manifest, session)


class RemoteSession:
    """Stands where the graph's session stands. Safe to share between threads."""

    def __init__(self, manifest: BundleManifest, active: Active, function: Function) -> None:
        named = ("model", "version", "run_id", "bundle_uri", "bundle_sha256")
        self._which = {k: getattr(active, k) for k in named}
        self._most = max(1, MOST_VALUES // max(1, len(manifest.classes)))
        self._function = function

    def load(self) -> None:
        """Have the bundle fetched, verified and loaded, so that a bad one is refused before anybody asks it."""
        self._ask(self._request(None))

    def run(self, _outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One table of probabilities before calibration, float64 [rows, classes]; in as many calls as the rows need."""
        rows = len(next(iter(feeds.values())))
        parts = [p for k in range(0, rows, self._most) for p in self._parts(_cut(feeds, k, k + self._most))]
        return [np.concatenate(parts)]

    def _parts(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        body, rows = self._request(feeds), len(next(iter(feeds.values())))
        if len(body) > MOST_BYTES and rows > 1:
            half = rows // 2
            return [*self._parts(_cut(feeds, 0, half)), *self._parts(_cut(feeds, half, rows))]
        return [np.array(self._ask(body)["probabilities"], dtype=np.float64)]

    def _request(self, feeds: Mapping[str, np.ndarray] | None) -> bytes:
        return json.dumps(
            {**self._which, "feeds": feeds and encode(feeds)}, ensure_ascii=False, allow_nan=False
        ).encode()

    def _ask(self, body: bytes) -> Any:
        answer = json.loads(self._function.invoke(body))
        output = answer.get("error")
        if output:
            raise _ERRORS.get(output.pop("kind"), PermanentError)(output.pop("message"), **output)
        return answer


def encode(feeds: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """As JSON has it: a row is a list, missing is null; a float64 comes back as the one it was."""
    return {
        name: [[None if v != v else v for v in row] for row in table.tolist()]  # noqa: PLR0124 - NaN
        for name, table in feeds.items()
    }


def decode(manifest: BundleManifest, encoded: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    """The tables that `encode` was given."""
    return {
        t.name: np.array(encoded[t.name], dtype=object if is_text(t) else np.float64).reshape(-1, len(t.features))
        for t in manifest.inputs
    }


def refusal(error: DropforgeError) -> dict[str, Any]:
    """An error as the function answers it; raised again by whoever asked."""
    kind = next((k.__name__ for k in type(error).__mro__ if k.__name__ in _ERRORS), "PermanentError")
    return {"error": {"kind": kind, **error.as_dict()}}


def _cut(feeds: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    return {name: table[start:end] for name, table in feeds.items()}
