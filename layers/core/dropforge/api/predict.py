"""The routes of those who use a model: what the request asks, from the prediction service, in the dialect it was asked in."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from dropforge import __version__
from dropforge.api import proxy_event
from dropforge.errors import InvalidRequest
from dropforge.serving import binary_tensors, open_inference_protocol, query_options
from dropforge.serving.prediction_service import PredictService
from dropforge.serving.query_options import Options

_MOST_BYTES: Final = 6_291_456  # Lambda's own limit; the model's is looked at later
SETTLE_SECONDS: Final = 2.0  # the most that an answer waits for a sample to be written
_RESERVE_SECONDS: Final = 3.0  # of the invocation, for the answer itself


def settled(response: proxy_event.Response, service: PredictService, left: float) -> proxy_event.Response:
    """The response, once due samples are written; what stays in memory is counted with it. `left`: seconds of the invocation."""
    current = service.settle(min(SETTLE_SECONDS, left - _RESERVE_SECONDS))
    return replace(response, metrics={**response.metrics, "CapturePending": current}) if current else response


def _id(request: proxy_event.Request) -> str:
    return request.request_id or str(uuid.uuid4())


def _body(request: proxy_event.Request) -> bytes:
    """As it was before it was compressed. Raises InvalidRequest."""
    return binary_tensors.decompressed(request.body, request.headers.get("content-encoding", ""), _MOST_BYTES)


def _response(body: dict[str, Any], prediction: dict[str, Any]) -> proxy_event.Response:
    unseen = sum(w["rows"] for w in prediction["warnings"] if w["code"] == "unseen_category")
    return proxy_event.Response(body, metrics={"UnseenCategory": unseen} if unseen else {})


def predict(service: PredictService, request: proxy_event.Request) -> proxy_event.Response:
    """Predict rows, in the product's own protocol."""
    created = service.predict(_body(request), request.content_type, Options.read(request.query), _id(request))
    created["request_id"] = request.request_id
    return _response(created, created)


def invoke(service: PredictService, request: proxy_event.Request) -> proxy_event.Response:
    """As MLflow's scoring server and SageMaker: `predictions` is a list of labels, or numbers. The rest stands beside it."""
    created = service.predict(
        _body(request), request.content_type, Options.read(request.query), _id(request), nan_is_missing=True
    )
    rows = created.pop("predictions")
    answer = "label" if "label" in rows[0] else "prediction"
    beside = {key: [r[key] for r in rows] for key in rows[0] if key != answer}
    return _response({"predictions": [r[answer] for r in rows], **beside, **created}, created)


def ping(service: PredictService, _request: proxy_event.Request) -> proxy_event.Response:
    """Whether a model is loaded."""
    """200 when a model is loaded and its hashes are right."""
    active, _ = service.chosen(query_options.DEFAULT)
    return proxy_event.Response({"status": "ok", "model": active.identity()})


def describe_server(_service: PredictService, _request: proxy_event.Request) -> proxy_event.Response:
    """Name, version and extensions of the server."""
    return proxy_event.Response({"name": "dropforge", "version": __version__, "extensions": ["binary_tensor_data"]})


def live(_service: PredictService, _request: proxy_event.Request) -> proxy_event.Response:
    """This process answers."""
    return proxy_event.Response({"live": True})


def ready(service: PredictService, _request: proxy_event.Request) -> proxy_event.Response:
    """The active model can be loaded."""
    service.chosen(query_options.DEFAULT)
    return proxy_event.Response({"ready": True})


def _named(request: proxy_event.Request) -> Options:
    """The model in the path, the rest from the query. Raises InvalidRequest."""
    given = Options.read(request.query)
    if given.model:
        raise InvalidRequest("the model is named in the path already", code="parameter_invalid", fix="leave out model=")
    return replace(given, model=query_options.name(unquote(request.path.get("model", "")), "a model"))


def describe_model(service: PredictService, request: proxy_event.Request) -> proxy_event.Response:
    """Tensors of a model."""
    active, predictor = service.chosen(_named(request))
    return proxy_event.Response(open_inference_protocol.metadata(active, predictor.manifest))


def model_ready(service: PredictService, request: proxy_event.Request) -> proxy_event.Response:
    """The model can be loaded."""
    active, _ = service.chosen(_named(request))
    return proxy_event.Response({"name": active.model, "ready": True})


def infer(service: PredictService, request: proxy_event.Request) -> proxy_event.Response:
    """Predict tensors."""
    requested = _named(request)
    if requested.explain or requested.coverage or requested.quantiles:
        raise InvalidRequest(
            "explain, coverage and quantiles have no place in this protocol",
            code="parameter_invalid",
            fix="ask POST /predict",
        )
    chosen = service.chosen(requested)
    body: Any = binary_tensors.read(request.headers, request.body, chosen[0].max_body_bytes)
    rows = open_inference_protocol.records(body, chosen[0].max_rows)
    created = service.answer(rows, requested, _id(request), chosen)
    return _response(open_inference_protocol.response(body, created, chosen[1].manifest.classes), created)
