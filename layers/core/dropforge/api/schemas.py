"""Bodies of all other routes as types. A source of the OpenAPI document; handlers do not need them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge.api.prediction_schemas import Count, Identity, RequestModel, ResponseModel, Share, Value
from dropforge.messages import ModelProgress
from dropforge.uploads.upload_repository import UploadRecord


class SetModel(RequestModel):
    """Which version to activate, or to start as canary or shadow."""

    alias: str = Field("", description="settings.yaml's serving.alias when empty")
    model: str = Field("", description="needed when several models carry the alias")
    canary: float | None = Field(None, gt=0, lt=1, description="canary: fraction of requests that this version answers")
    shadow: bool = Field(False, description="score it on every request after the active model has answered")
    reason: str = ""


class Rollback(RequestModel):
    """Which entry of the deployment history to go back to."""

    to: int | None = Field(
        None, description="entry of the deployment history; the model before the active one when left out"
    )
    reason: str = ""


class Beside(Identity):
    """The candidate beside the active model."""

    weight: Share = Field(description="of requests that it answers")
    shadow: bool = Field(description="whether it is scored on the others too, after the answer")


class Decision(RequestModel):
    """What becomes of the canary or shadow deployment."""

    action: Literal["promote", "abort"]
    reason: str = ""


class Switched(ResponseModel):
    """The active model after a change, and the one before it."""

    candidate: Beside | None
    model: Identity
    previous: Identity | None
    set_at: str
    number: int
    action: str


class Label(RequestModel):
    """An alias and the version it is set on."""

    alias: str
    model: str
    version: str = ""


class NameVersion(ResponseModel):
    """A registered model and one of its versions."""

    name: str
    version: str


class AliasSet(NameVersion):
    """The alias and the version it is on now."""

    alias: str
    previous: NameVersion | None


class GroundTruthRow(RequestModel):
    """The observed value of one predicted row."""

    prediction_id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._:=-]{0,127}$", description="of the answer")
    row: int = Field(0, ge=0, lt=1_000_000, description="place of the record in its request")
    label: str | int | float = Field(description="the class, or the number, that turned out")


class Labels(RequestModel):
    """Ground truth for rows of earlier predictions."""

    labels: list[GroundTruthRow] = Field(min_length=1, max_length=10_000)


class GroundTruthAccepted(ResponseModel):
    """How many values were stored."""

    accepted: Count
    next: str


class LiveColumn(ResponseModel):
    """One column of live traffic; `predicted` has the columns `prediction` and `probability`."""

    name: str
    outcome: Literal["drift", "no_drift", "insufficient_data", "not_compared"]
    effect: float | None = Field(description="beyond what is expected by chance; standard deviations, or share of rows")
    p_value: float | None
    psi: float | None
    missing_share: Share
    missing_share_reference: Share | None


class LiveFinding(ResponseModel):
    """A finding about live traffic."""

    kind: str
    severity: Literal["info", "warn", "critical"]
    title: str
    evidence: str


class LiveVerdict(ResponseModel):
    """Verdict about a window of live traffic."""

    word: Literal["pass", "warn", "block"]
    reasons: list[str]


class LiveScore(ResponseModel):
    """Score of a window on its rows with ground truth."""

    rows: Count = Field(description="with a label")
    accuracy: Share | None = Field(None, description="of a classification")
    roc_auc: Share | None = Field(None, description="null for several classes, or while one class is absent")
    rmse: float | None = Field(None, description="root mean squared error, of a regression")
    mae: float | None = Field(None, description="mean absolute error, of a regression")


class LiveModel(ResponseModel):
    """The version that a window is about."""

    name: str
    version: str


class LiveWindow(ResponseModel):
    """One day (UTC) of one model version, of the requests that were kept."""

    day: str
    model: LiveModel
    rows: Count
    requests: Count
    first_at: str | None
    last_at: str | None
    predictions: dict[str, Count] = Field(description="rows by predicted class")
    shadow_rows: Count = Field(description="scored after the active model had answered")
    labelled: Count
    labels_of_no_class: Count
    verdict: LiveVerdict
    features: list[LiveColumn] = Field(description="against the reference; the target too once labels are there")
    predicted: list[LiveColumn] = Field(description="against the model's predictions of its held-out rows")
    findings: list[LiveFinding]
    score: LiveScore | None
    heldout: dict[str, float] = Field(description="the same figures on held-out rows, when the model was trained")
    problem: str = Field(description="why nothing could be found out; empty when all is well")
    bundle_uri: str
    rows_uri: str
    reference_id: str
    settings_sha256: str
    computed_at: str


class Monitoring(ResponseModel):
    """Windows of live traffic, newest first."""

    windows: list[LiveWindow]
    checked_at: str | None
    labels: Count
    labels_unmatched: Count = Field(description="whose prediction id is not among the captured rows")


class HistoryEntry(ResponseModel):
    """One change of the active model."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    number: int
    at: str
    by: str
    action: str
    reason: str
    from_: Identity | None = Field(alias="from")
    to: Identity | None
    candidate: dict[str, Any] | None
    evidence: dict[str, Any]
    restores: int | None
    previous_sha256: str
    sha256: str


class Verified(ResponseModel):
    """Whether the entries form an unbroken chain."""

    first: int
    last: int
    ok: bool
    problems: list[str]
    key: bool = Field(description="whether entries are verified by the key of the history")
    keyed: int = Field(description="entries whose MAC the key made")
    unkeyed: int = Field(description="entries without a MAC")


class HistoryPage(ResponseModel):
    """Entries of the deployment history, newest first."""

    entries: list[HistoryEntry]
    active: int
    complete: bool
    verified: Verified


class ModelVersion(ResponseModel):
    """A registered version with its scores and aliases."""

    name: str
    version: str
    aliases: list[str]
    run_id: str
    dataset_id: str
    upload_id: str
    recorded: bool = Field(description="concluded by this system or adopted; no other version can be activated")
    heldout: dict[str, float]
    interval: dict[str, list[float]] = Field(description="by metric, on held-out rows: value, and its 95 % interval")
    cross_validated: dict[str, list[float]] = Field(
        description="the same on folds of the training rows; what decides where held-out rows are few"
    )
    warning: str = Field(description="what to know before reading the scores; empty when there are rows enough")


class Models(ResponseModel):
    """Every version of the project's models."""

    models: list[ModelVersion]


class PredictionSets(ResponseModel):
    """What `coverage` of /predict may be, and what it promises: the true class is in the set at least that often."""

    coverages: list[float]
    method: str = Field(description="how the limits were calibrated; empty: a model older than this field")
    calibration_rows: dict[str, Count] = Field(
        description="of each class; with n of them a coverage of c is promised, and no more than c + 1/(n + 1) expected"
    )


class ModelInfo(BaseModel):
    """The active model, whole."""

    model: Identity
    candidate: Beside | None
    set_at: str
    set_by: str
    target: str
    task: Literal["classification", "regression"]
    classes: list[str] = Field(description="empty for a regression")
    coverages: list[str] = Field(description="what `coverage` of POST /predict may be")
    positive_class: str | None
    threshold: Share | None
    features: list[dict[str, Any]] = Field(
        description="name, kind, categories, range and missing markers of each column"
    )
    prediction_sets: PredictionSets
    metrics: dict[str, float]
    dataset_id: str
    trained_at: str
    parity: dict[str, float]
    example: dict[str, Value]


class Health(BaseModel):
    """`live`: this process answers. `ready`: what predictions need is there; the model's hashes were checked."""

    status: Literal["ok", "degraded", "not_ready"]
    live: bool
    ready: bool
    parts: dict[str, dict[str, Any]]


# --- data --------------------------------------------------------------------------------------------------------------


class UploadData(RequestModel):
    """Name and purpose of a file to upload."""

    filename: str = Field(min_length=1)


class UploadForm(BaseModel):
    """A presigned POST form."""

    url: str
    fields: dict[str, str]
    key: str
    max_bytes: int
    expires_in_seconds: int
    next: str


class UploadLine(BaseModel):
    """An upload in a list."""

    upload_id: str
    key: str
    state: str
    verdict: str
    rows_in: Count
    rows_used: Count
    rows_quarantined: Count
    dataset_id: str
    challenger: Any
    received_at: str
    reason: str
    trained_by: str


class Uploads(ResponseModel):
    """A page of uploads."""

    uploads: list[UploadLine]
    next: str = Field(description="cursor of the next page; empty on the last")


class UploadDetail(UploadRecord):
    """An upload with its progress and links."""

    links: dict[str, str]
    progress: list[ModelProgress] = Field(description="of each model, while the state is training; else empty")


class Approval(RequestModel):
    """Whether a waiting upload is approved or rejected."""

    action: Literal["approve", "reject"]
    reason: str = ""


class DatasetAction(RequestModel):
    """What becomes of an accepted dataset."""

    action: Literal["revoke", "restore", "set_reference"]
    reason: str = ""


class RecordedDecision(ResponseModel):
    """A decision as it is stored; it is carried out within seconds."""

    action: str
    subject: str = Field(description="the upload's or dataset's id")
    by: str
    at: str
    reason: str


class DatasetLine(ResponseModel):
    """A dataset in a list."""

    dataset_id: str
    upload_id: str
    accepted_at: str
    revoked: str = Field(description="when, by whom and why; empty while it is in use")
    reference: bool = Field(description="whether uploads are compared with it")


class DatasetList(ResponseModel):
    """Accepted datasets, newest first."""

    datasets: list[DatasetLine]


class QuarantineLine(ResponseModel):
    """An upload with quarantined rows in a list."""

    upload_id: str
    key: str
    rows_quarantined: Count
    state: str


class Quarantine(ResponseModel):
    """A page of uploads with quarantined rows."""

    uploads: list[QuarantineLine]
    next: str = Field(description="cursor of the next page; empty on the last")


class QuarantinedRow(BaseModel):
    """A row with its line and the reason."""

    line: int
    column: str
    reason: str
    raw: str
    truncated: bool = Field(description="whether raw or reason is longer than shown here")


class Quarantined(ResponseModel):
    """A page of quarantined rows of one upload."""

    upload_id: str
    header: list[str]
    delimiter: str
    rows_quarantined: Count
    rows: list[QuarantinedRow]
    next_offset: Count | None = Field(description="offset of the next page; null after the last row")
    links: dict[str, str] = Field(description="rows_csv: all rows as a file, for an hour")


class CorrectedRow(RequestModel):
    """The text of a corrected row."""

    line: int
    raw: str


class Resubmission(RequestModel):
    """Corrected rows by line."""

    rows: list[CorrectedRow]


class Resubmitted(ResponseModel):
    """The upload that the corrected rows became."""

    key: str
    rows: Count
    next: str
