"""Every route of the API, once: method, path, access, handler, types and words.

From this table derive dispatch (`resolver`), the OpenAPI document (`openapi`) and its page, docs/reference/api.md, the access rules
of the command line and of `dropforge serve`, and the tests that compare template.yaml with it. Handlers and types are named by text
and imported where they are used: the prediction path reads the table too, and may load neither pydantic nor control's packages.

An API key (with the usage plan's limits) is for those who use a model: predictions, what the model is, whether it is up. Everything
else is administration and requires a request signed by an IAM principal (Signature Version 4) that may `execute-api:Invoke`. That
includes reading: quarantined rows are raw data, reports and upload records describe what is in the data, and the list of
versions names what may be activated. A path that is not in the table is administration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Access = Literal["key", "iam"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter with its JSON schema; the parameters of the path follow from the path."""

    name: str
    schema: Mapping[str, Any]
    description: str = ""
    default: int | None = None  # of an integer


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    `handler` is `module.function` of `dropforge.api`; the module is the function (predict, control) that runs it. `response` (of a
    200) and `request` name a type of `dropforge.api` in the same way; an empty response is any JSON object. Every error has the type
    `Error` and one of the statuses in `errors`; any route may answer 403 (by the gateway) and 503 as well.
    """

    method: str
    path: str
    access: Access
    handler: str
    tag: str
    summary: str
    response: str = ""
    request: str = ""
    media: tuple[str, ...] = ("application/json",)
    query: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    response_media: tuple[str, ...] = ("application/json",)
    details: str = ""

    @property
    def function(self) -> str:
        """`predict` or `control`."""
        return self.handler.partition(".")[0]

    def parameter(self, name: str) -> Parameter:
        """A query parameter by its name. Raises KeyError when the route has none of that name."""
        for parameter in self.query:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


def _integer(name: str, most: int, description: str, default: int, least: int = 1) -> Parameter:
    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Parameter(name, schema, description, default)


_NAME: Final = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,127}$"}
_MODEL: Final = Parameter("model", _NAME, "registered name, or its last part")
_ALIAS: Final = Parameter("alias", _NAME, "alias of the version that predicts for this request")
_COVERAGE: Final = Parameter(
    "coverage",
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "adds a prediction set (classification) or interval (regression) of this coverage; /model_info lists the coverages of the model",
)
_QUANTILES: Final = Parameter(
    "quantiles",
    {"type": "string", "pattern": r"^[0-9.]+(,[0-9.]+){0,19}$"},
    "regression: adds these quantiles (0.1,0.9), which are ends of intervals at the model's coverages",
)
_EXPLAIN: Final = Parameter("explain", {"type": "boolean"}, "adds the contribution of each feature; at most 50 rows")
_PREDICT_QUERY: Final = (_MODEL, _ALIAS, _COVERAGE, _QUANTILES, _EXPLAIN)
_PREDICT_ERRORS: Final = (404, 409, 413, 415, 422)
_PAGE: Final = (
    _integer("limit", 200, "uploads per page", 50),
    Parameter(
        "cursor",
        {"type": "string", "pattern": "^([0-9]{13}-[0-9a-f]{20})?$"},
        "`next` of the previous page; empty for the first",
    ),
)
_ROWS: Final = ("application/json", "text/csv")
_PAGE_OR_JSON: Final = ("application/json", "text/html")

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST", "/predict", "key", "predict.predict", "predictions", "Predict rows with the active model",
        "prediction_schemas.PredictAnswer", "prediction_schemas.PredictRequest",
        media=_ROWS, query=_PREDICT_QUERY, errors=_PREDICT_ERRORS,
    ),
    Route(
        "POST", "/invocations", "key", "predict.invoke", "predictions",
        "The same in the protocol of MLflow's scoring server and SageMaker endpoints",
        "prediction_schemas.InvocationsAnswer", "prediction_schemas.PredictRequest",
        media=_ROWS, query=_PREDICT_QUERY, errors=_PREDICT_ERRORS,
        details="The word NaN in the body is read as null, because MLflow's client writes it for missing cells.",
    ),
    Route(
        "GET", "/ping", "key", "predict.ping", "predictions", "Whether a model is loaded", "prediction_schemas.Ping", errors=(409,),
    ),
    Route(
        "GET", "/v2", "key", "predict.describe_server", "predictions", "Open Inference Protocol: the server",
        "prediction_schemas.Server",
    ),
    Route(
        "GET", "/v2/health/live", "key", "predict.live", "predictions", "Open Inference Protocol: liveness", "prediction_schemas.Live",
    ),
    Route(
        "GET", "/v2/health/ready", "key", "predict.ready", "predictions", "Open Inference Protocol: readiness",
        "prediction_schemas.Ready", errors=(409,),
    ),
    Route(
        "GET", "/v2/models/{model}", "key", "predict.describe_model", "predictions", "Open Inference Protocol: the tensors of a model",
        "prediction_schemas.ModelMeta", query=(_ALIAS,), errors=(404, 409, 422),
    ),
    Route(
        "GET", "/v2/models/{model}/ready", "key", "predict.model_ready", "predictions",
        "Open Inference Protocol: readiness of a model", "prediction_schemas.ModelReady", query=(_ALIAS,), errors=(404, 409, 422),
    ),
    Route(
        "POST", "/v2/models/{model}/infer", "key", "predict.infer", "predictions", "Open Inference Protocol: predict",
        "prediction_schemas.InferAnswer", "prediction_schemas.InferRequest", query=(_ALIAS,), errors=_PREDICT_ERRORS,
        details="With its binary tensor extension, and bodies compressed by gzip or deflate, when they are sent with Content-Type: "
        "application/octet-stream; the tensors of the response are JSON.",
    ),
    Route(
        # With a key only: the caller of a prediction learns the outcome, and alone knows the prediction's id.
        "POST", "/ground_truth", "key", "control.accept_ground_truth", "predictions", "Send ground truth for earlier predictions",
        "schemas.GroundTruthAccepted", "schemas.Labels", errors=(413, 415, 422),
        details="Joined with the requests captured for monitoring (serving.capture) by prediction id. Sending a value again changes "
        "nothing; of several values for one row the last one sent counts; unknown ids are counted in GET /monitoring.",
    ),
    Route(
        "GET", "/model_info", "key", "control.show_model_info", "models", "The active model: features, metrics, data, links",
        "schemas.ModelInfo", errors=(409,),
    ),
    Route(
        "GET", "/health", "key", "control.check_health", "system", "State of store, model, MLflow, queue and the last upload",
        "schemas.Health",
    ),
    Route("GET", "/openapi.json", "key", "control.show_openapi", "system", "This document"),
    Route("GET", "/docs", "iam", "control.show_docs", "system", "This document as a page", response_media=("text/html",)),
    Route(
        "POST", "/set_model", "iam", "control.set_model", "models", "Activate the version behind an alias",
        "schemas.Switched", "schemas.SetModel", errors=(404, 409, 415, 422),
        details="`canary`, `shadow`: the version starts beside the active model, which serves the other requests.",
    ),
    Route(
        "POST", "/rollout", "iam", "control.decide_rollout", "models", "Promote or abort a canary or shadow deployment",
        "schemas.Switched", "schemas.Decision", errors=(409, 415, 422),
    ),
    Route(
        "POST", "/rollback", "iam", "control.roll_back", "models", "Activate an earlier entry of the deployment history",
        "schemas.Switched", "schemas.Rollback", errors=(404, 409, 415, 422),
    ),
    Route(
        "POST", "/aliases", "iam", "control.set_alias", "models", "Set an alias on a version",
        "schemas.AliasSet", "schemas.Label", errors=(404, 409, 415, 422),
    ),
    Route(
        "GET", "/history", "iam", "control.list_history", "models", "Deployment history, newest first", "schemas.HistoryPage",
        query=(_integer("limit", 1000, "number of entries", 100),), errors=(422,),
    ),
    Route(
        "GET", "/monitoring", "iam", "control.show_monitoring", "models",
        "Drift and score of live traffic by day and version, newest first", "schemas.Monitoring",
        query=(_integer("limit", 365, "number of windows", 30),), errors=(422,),
    ),
    Route(
        "GET", "/models", "iam", "control.list_models", "models", "Every version with its held-out score and aliases",
        "schemas.Models",
    ),
    Route(
        "GET", "/models/{name}/{version}/card", "iam", "control.show_card", "models", "The model card of a version",
        errors=(404, 409, 413, 422), response_media=_PAGE_OR_JSON,
    ),
    Route(
        "GET", "/activity", "iam", "control.show_activity", "system",
        "Calls by time and route with their latency, and the last problems of every part",
        query=(_integer("minutes", 1440, "how far back", 60),), errors=(404, 422),
    ),
    Route(
        "POST", "/upload_data", "iam", "control.create_upload_form", "data", "A presigned form for one upload of any size",
        "schemas.UploadForm", "schemas.UploadData", errors=(415, 422),
    ),
    Route(
        "GET", "/uploads", "iam", "control.list_uploads", "data", "Uploads, newest first", "schemas.Uploads",
        query=(Parameter("key", {"type": "string"}, "only uploads of this key"), *_PAGE), errors=(422,),
    ),
    Route(
        "GET", "/uploads/{upload_id}", "iam", "control.show_upload", "data", "State, rows, reason and links of an upload",
        "schemas.UploadDetail", errors=(404,),
    ),
    Route(
        "POST", "/uploads/{upload_id}", "iam", "control.decide_upload", "data", "Approve or reject an upload that waits for approval",
        "schemas.RecordedDecision", "schemas.Approval", errors=(404, 409, 415, 422),
        details="Only uploads with a finding that settings.yaml names in analysis.approve_on wait.",
    ),
    Route("GET", "/datasets", "iam", "control.list_datasets", "data", "Accepted datasets, newest first", "schemas.DatasetList"),
    Route(
        "POST", "/datasets/{dataset_id}", "iam", "control.decide_dataset", "data",
        "Revoke or restore a dataset, or make it the reference", "schemas.RecordedDecision", "schemas.DatasetAction",
        errors=(404, 409, 415, 422), details="A revoked dataset is read by no training; revoking and restoring start one.",
    ),
    Route(
        "GET", "/reports/{upload_id}", "iam", "control.show_report", "data", "The report, HTML or JSON by Accept",
        errors=(404, 413), response_media=_PAGE_OR_JSON,
    ),
    Route(
        "GET", "/quarantine", "iam", "control.list_quarantine", "data", "Uploads with quarantined rows, newest first",
        "schemas.Quarantine", query=_PAGE, errors=(422,),
    ),
    Route(
        "GET", "/quarantine/{upload_id}", "iam", "control.show_quarantine", "data",
        "Quarantined rows of an upload, with line and reason", "schemas.Quarantined", errors=(404, 422),
        query=(
            _integer("limit", 1000, "number of rows", 1000),
            _integer("offset", 999_999_999, "`next_offset` of the previous page", 0, least=0),
        ),
    ),
    Route(
        "POST", "/quarantine/{upload_id}", "iam", "control.resubmit_rows", "data", "Resubmit corrected rows",
        "schemas.Resubmitted", "schemas.Resubmission", errors=(404, 415, 422),
    ),
)  # fmt: skip

BY_METHOD: Final[dict[tuple[str, str], Route]] = {(route.method, route.path): route for route in ROUTES}
ACCESS: Final[dict[tuple[str, str], Access]] = {key: route.access for key, route in BY_METHOD.items()}
PATHS: Final = tuple(dict.fromkeys(route.path for route in ROUTES))


def path_of(url: str) -> tuple[str, dict[str, str]]:
    """The path of the table that a real one (`/uploads/0123…?key=…`) belongs to, and its parameters, quoted as they came.

    What no route has is returned as it is, without parameters.
    """
    url_path = url.partition("?")[0]
    parts = url_path.strip("/").split("/")
    for path in PATHS:
        pattern = path.strip("/").split("/")
        pairs = list(zip(pattern, parts, strict=False))
        if len(pattern) == len(parts) and all(p == part or p.startswith("{") for p, part in pairs):
            return path, {p.strip("{}"): part for p, part in pairs if p.startswith("{")}
    return url_path, {}


def required_access(method: str, url: str) -> Access:
    """What a call of a real path needs; `iam` for a path that no route has."""
    return ACCESS.get((method.upper(), path_of(url)[0]), "iam")
