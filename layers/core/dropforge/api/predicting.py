"""The routes of those who use a model: what the request asks, from the prediction service, in the dialect it was asked in."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from dropforge import __version__
from dropforge.api import http
from dropforge.errors import InvalidRequest
from dropforge.serving import binary_tensors, kserve, options
from dropforge.serving.options import Options
from dropforge.serving.service import PredictService

_MOST_BYTES: Final = 6_291_456  # Lambda's own limit; the model's is looked at later
SETTLE_SECONDS: Final = 2.0  # the most that an answer waits for a sample to be written
_RESERVE_SECONDS: Final = 3.0  # of the invocation, for the answer itself


def settled(response: http.Response, service: PredictService, left: float) -> http.Response:
    """The response, once due samples are written; what stays in memory is counted with it. `left`: seconds of the invocation."""
    held = service.settle(min(SETTLE_SECONDS, left - _RESERVE_SECONDS))
    return replace(response, metrics={**response.metrics, "CapturePending": held}) if held else response


def _id(request: http.Request) -> str:
    return request.request_id or str(uuid.uuid4())


def _body(request: http.Request) -> bytes:
    """As it was before it was compressed. Raises InvalidRequest."""
    return binary_tensors.decompressed(request.body, request.headers.get("content-encoding", ""), _MOST_BYTES)


def _answered(body: dict[str, Any], made: dict[str, Any]) -> http.Response:
    unseen = sum(w["rows"] for w in made["warnings"] if w["code"] == "unseen_category")
    return http.Response(body, metrics={"UnseenCategory": unseen} if unseen else {})


def _predict(service: PredictService, request: http.Request) -> http.Response:
    made = service.predict(_body(request), request.content_type, Options.read(request.query), _id(request))
    made["request_id"] = request.request_id
    return _answered(made, made)


def _invocations(service: PredictService, request: http.Request) -> http.Response:
    """As MLflow's scoring server and SageMaker: `predictions` is a list of labels, or numbers. The rest stands beside it."""
    made = service.predict(
        _body(request), request.content_type, Options.read(request.query), _id(request), nan_is_missing=True
    )
    rows = made.pop("predictions")
    answer = "label" if "label" in rows[0] else "prediction"
    beside = {key: [r[key] for r in rows] for key in rows[0] if key != answer}
    return _answered({"predictions": [r[answer] for r in rows], **beside, **made}, made)


def _ping(service: PredictService, _request: http.Request) -> http.Response:
    """200 when a model is loaded and its hashes are right."""
    active, _ = service.chosen(options.DEFAULT)
    return http.Response({"status": "ok", "model": active.identity()})


def _server(_service: PredictService, _request: http.Request) -> http.Response:
    return http.Response({"name": "dropforge", "version": __version__, "extensions": ["binary_tensor_data"]})


def _live(_service: PredictService, _request: http.Request) -> http.Response:
    return http.Response({"live": True})


def _ready(service: PredictService, _request: http.Request) -> http.Response:
    service.chosen(options.DEFAULT)
    return http.Response({"ready": True})


def _named(request: http.Request) -> Options:
    """The model in the path, the rest from the query. Raises InvalidRequest."""
    given = Options.read(request.query)
    if given.model:
        raise InvalidRequest("the model is named in the path already", code="parameter_invalid", fix="leave out model=")
    return replace(given, model=options.name(unquote(request.path.get("model", "")), "a model"))


def _metadata(service: PredictService, request: http.Request) -> http.Response:
    active, predictor = service.chosen(_named(request))
    return http.Response(kserve.metadata(active, predictor.manifest))


def _model_ready(service: PredictService, request: http.Request) -> http.Response:
    active, _ = service.chosen(_named(request))
    return http.Response({"name": active.model, "ready": True})


def _infer(service: PredictService, request: http.Request) -> http.Response:
    asked = _named(request)
    if asked.explain or asked.coverage or asked.quantiles:
        raise InvalidRequest(
            "explain, coverage and quantiles have no place in this protocol",
            code="parameter_invalid",
            fix="ask POST /predict",
        )
    chosen = service.chosen(asked)
    body: Any = binary_tensors.read(request.headers, request.body, chosen[0].max_body_bytes)
    rows = kserve.records(body, chosen[0].max_rows)
    made = service.answer(rows, asked, _id(request), chosen)
    return _answered(kserve.response(body, made, chosen[1].manifest.classes), made)


ROUTES: Final[dict[tuple[str, str], Callable[[PredictService, http.Request], http.Response]]] = {
    ("POST", "/predict"): _predict,
    ("POST", "/invocations"): _invocations,
    ("GET", "/ping"): _ping,
    ("GET", "/v2"): _server,
    ("GET", "/v2/health/live"): _live,
    ("GET", "/v2/health/ready"): _ready,
    ("GET", "/v2/models/{model}"): _metadata,
    ("GET", "/v2/models/{model}/ready"): _model_ready,
    ("POST", "/v2/models/{model}/infer"): _infer,
}
