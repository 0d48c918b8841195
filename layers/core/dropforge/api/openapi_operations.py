"""Every route of the API with its words and types: what the OpenAPI document is made of. Access is decided in access.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from dropforge.api import prediction_schemas as p
from dropforge.api import schemas as t
from dropforge.api.routes import needed


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter; those of the path follow from it."""

    name: str
    schema: dict[str, Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """`answer` is the type of a 200; every refusal is `Error` with one of the statuses in `refuses`."""

    method: str
    path: str
    tag: str
    summary: str
    answer: Any
    request: Any = None
    media: tuple[str, ...] = ("application/json",)
    query: tuple[Parameter, ...] = ()
    refuses: tuple[int, ...] = ()
    answer_media: tuple[str, ...] = ("application/json",)
    details: str = field(default="")

    @property
    def access(self) -> str:
        return needed(self.method, self.path)


_TEXT = {"type": "string"}
_NAME = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,127}$"}
_MODEL = Parameter("model", _NAME, "registered name, or its last part")
_ALIAS = Parameter("alias", _NAME, "label of the version that shall answer this one request")
_COVERAGE = Parameter(
    "coverage",
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "adds the labels that cannot be ruled out at this confidence; /model_info says which the model states",
)
_QUANTILES = Parameter(
    "quantiles",
    {"type": "string", "pattern": r"^[0-9.]+(,[0-9.]+){0,19}$"},
    "of a regression: adds these quantiles (0.1,0.9); those at the ends of the coverages that the model states",
)
_EXPLAIN = Parameter("explain", {"type": "boolean"}, "adds what each feature contributed; at most 50 rows")
_PAGE = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "uploads of a page; 50"),
    Parameter("cursor", {"type": "string", "pattern": "^[0-9]{13}-[0-9a-f]{20}$"}, "`next` of the page before"),
)
_PREDICTING = (404, 409, 413, 415, 422)
_BOTH = ("application/json", "text/csv")

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST", "/predict", "predictions", "Predict rows with the active model", p.PredictAnswer, p.PredictRequest,
        media=_BOTH, query=(_MODEL, _ALIAS, _COVERAGE, _QUANTILES, _EXPLAIN), refuses=_PREDICTING,
    ),
    Route(
        "POST", "/invocations", "predictions", "The same as MLflow's scoring server and SageMaker speak it",
        p.InvocationsAnswer, p.PredictRequest, media=_BOTH, query=(_MODEL, _ALIAS, _COVERAGE, _QUANTILES, _EXPLAIN),
        refuses=_PREDICTING,
        details="The word NaN in the body is read as null, because MLflow's client writes it for missing cells.",
    ),
    Route("GET", "/ping", "predictions", "Whether a model is loaded", p.Ping, refuses=(409,)),
    Route("GET", "/v2", "predictions", "Open Inference Protocol: the server", p.Server),
    Route("GET", "/v2/health/live", "predictions", "Open Inference Protocol: liveness", p.Live),
    Route("GET", "/v2/health/ready", "predictions", "Open Inference Protocol: readiness", p.Ready, refuses=(409,)),
    Route(
        "GET", "/v2/models/{model}", "predictions", "Open Inference Protocol: a model's tensors", p.ModelMeta,
        query=(_ALIAS,), refuses=(404, 409, 422),
    ),
    Route(
        "GET", "/v2/models/{model}/ready", "predictions", "Open Inference Protocol: whether a model answers", p.ModelReady,
        query=(_ALIAS,), refuses=(404, 409, 422),
    ),
    Route(
        "POST", "/v2/models/{model}/infer", "predictions", "Open Inference Protocol: predict", p.InferAnswer, p.InferRequest,
        query=(_ALIAS,), refuses=_PREDICTING,
        details="With its binary tensor extension, and bodies compressed by gzip or deflate, when they are sent with Content-Type: "
        "application/octet-stream; the answer's tensors are JSON.",
    ),
    Route("GET", "/model_info", "models", "The active model: features, metrics, data, links", t.ModelInfo, refuses=(409,)),
    Route("GET", "/health", "system", "Every part asked: store, model, MLflow, queue, last upload", t.Health),
    Route(
        "POST", "/set_model", "models", "Activate the version behind an alias", t.Switched, t.SetModel,
        refuses=(404, 409, 415, 422),
        details="With canary or shadow it becomes the candidate beside the active model, which goes on answering the others.",
    ),
    Route(
        "POST", "/rollout", "models", "Promote or abort a canary or shadow deployment", t.Switched, t.Decision,
        refuses=(409, 415, 422),
    ),
    Route(
        "POST", "/rollback", "models", "Make an earlier model the one that answers", t.Switched, t.Rollback,
        refuses=(404, 409, 415, 422),
    ),
    Route(
        "POST", "/aliases", "models", "Set an alias on a version", t.AliasSet, t.Label, refuses=(404, 409, 415, 422),
    ),
    Route(
        "GET", "/history", "models", "Changes of the active model, newest first", t.HistoryPage,
        query=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "entries at most; 100"),), refuses=(422,),
    ),
    Route(
        "POST", "/ground_truth", "predictions", "Send ground truth for earlier predictions", t.GroundTruthAccepted, t.Labels,
        refuses=(413, 415, 422),
        details="Joined with the requests kept for monitoring (serving.capture) by prediction id. Sending them again changes "
        "nothing; of several labels for one row the last one sent counts; ids that are not known are counted in GET /monitoring.",
    ),
    Route(
        "GET", "/monitoring", "models", "What live traffic looks like: drift and score by day and version, newest first", t.Monitoring,
        query=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 365}),), refuses=(422,),
    ),
    Route("GET", "/models", "models", "Every version with its held-out score and labels", t.Models),
    Route(
        "POST", "/upload_data", "data", "A form for one upload of any size", t.UploadForm, t.UploadData, refuses=(415, 422)
    ),
    Route(
        "GET", "/uploads", "data", "Uploads, newest first", t.Uploads,
        query=(Parameter("key", _TEXT, "of this key only"), *_PAGE), refuses=(422,),
    ),
    Route("GET", "/uploads/{upload_id}", "data", "State, rows, reason and links of an upload", t.UploadDetail, refuses=(404,)),
    Route(
        "POST", "/uploads/{upload_id}", "data", "Approve or reject an upload that waits for approval", t.RecordedDecision,
        t.Approval, refuses=(404, 409, 415, 422), details="Only what settings.yaml names in analysis.approve_on waits.",
    ),
    Route("GET", "/datasets", "data", "Accepted datasets, newest first", t.DatasetList),
    Route(
        "POST", "/datasets/{dataset_id}", "data", "Revoke or restore a dataset, or make it the reference", t.RecordedDecision,
        t.DatasetAction, refuses=(404, 409, 415, 422),
        details="A revoked dataset is read by no training; revoking and restoring start one.",
    ),
    Route(
        "GET", "/reports/{upload_id}", "data", "The report, HTML or JSON by Accept", dict[str, Any], refuses=(404, 413),
        answer_media=("application/json", "text/html"),
    ),
    Route("GET", "/quarantine", "data", "Uploads with quarantined rows, newest first", t.Quarantine, query=_PAGE, refuses=(422,)),
    Route("GET", "/quarantine/{upload_id}", "data", "A page of the rows quarantined, with line and reason", t.Quarantined,
        query=(
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "rows at most; 1000"),
            Parameter("offset", {"type": "integer", "minimum": 0, "maximum": 999_999_999}, "`next_offset` of the page before; 0"),
        ), refuses=(404, 422),
    ),
    Route(
        "POST", "/quarantine/{upload_id}", "data", "Resubmit corrected rows", t.Resubmitted, t.Resubmission, refuses=(404, 415, 422)
    ),
    Route(
        "GET", "/activity", "system", "Calls by time and route with their latency, and the last problems of every part",
        dict[str, Any], query=(Parameter("minutes", {"type": "integer", "minimum": 1, "maximum": 1440}, "how far back; 60"),),
        refuses=(404, 422),
    ),
    Route(
        "GET", "/models/{name}/{version}/card", "models", "The model card of a version", dict[str, Any],
        refuses=(404, 409, 413, 422), answer_media=("application/json", "text/html"),
    ),
    Route("GET", "/openapi.json", "system", "This document", dict[str, Any]),
    Route("GET", "/docs", "system", "This document as a page", str, answer_media=("text/html",)),
)  # fmt: skip
