"""Bodies of requests and answers as types: the one source of the OpenAPI document. Handlers do not need them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge.uploads import UploadRecord

Value = str | float | int | bool | None
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Shape(BaseModel):
    """An answer has these fields and no other."""

    model_config = ConfigDict(extra="forbid")


class Asked(BaseModel):
    """A request may have further fields; they are ignored."""

    model_config = ConfigDict(extra="allow")


class Error(Shape):
    """What every refusal says. `code` is stable; `fix` says what to do."""

    code: str
    message: str
    fix: str
    request_id: str


# --- predictions -------------------------------------------------------------------------------------------------------


class Records(Asked):
    records: list[dict[str, Value]] = Field(
        min_length=1, description="one object a row: column to value, null where unknown"
    )


class DataframeRecords(Asked):
    dataframe_records: list[dict[str, Value]] = Field(min_length=1)


class Split(Asked):
    columns: list[str]
    data: list[list[Value]]


class DataframeSplit(Asked):
    dataframe_split: Split


class Inputs(Asked):
    inputs: list[dict[str, Value]] | dict[str, list[Value]] = Field(
        description="rows, or a list of values for each column"
    )


class Instances(Asked):
    instances: list[dict[str, Value]] = Field(min_length=1)


PredictRequest = Records | DataframeRecords | DataframeSplit | Inputs | Instances


class Identity(Shape):
    name: str
    version: str
    alias: str
    run_id: str


class Warned(Shape):
    code: Literal["extra_column", "missing", "out_of_range", "unseen_category"]
    message: str
    field: str
    row: Count | None = None


class PredictionSet(Shape):
    coverage: Share
    labels: list[str]


class Explained(Shape):
    """base + Σ contributions = output, of `class`, before calibration."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    class_: str = Field(alias="class")
    space: Literal["log_odds", "probability", "score"]
    base: float
    output: float
    contributions: dict[str, float]


class OnePrediction(Shape):
    label: str
    probabilities: dict[str, Share]
    prediction_set: PredictionSet | None = None
    explanation: Explained | None = None


class PredictAnswer(Shape):
    predictions: list[OnePrediction]
    model: Identity
    threshold: Share | None
    warnings: list[Warned]
    prediction_id: str
    request_id: str


class InvocationsAnswer(Shape):
    predictions: list[str]
    probabilities: list[dict[str, Share]]
    prediction_set: list[PredictionSet] | None = None
    explanation: list[Explained] | None = None
    model: Identity
    threshold: Share | None
    warnings: list[Warned]
    prediction_id: str


class Ping(Shape):
    status: Literal["ok"]
    model: Identity


class Server(Shape):
    name: str
    version: str
    extensions: list[str]


class Live(Shape):
    live: bool


class Ready(Shape):
    ready: bool


class ModelReady(Shape):
    name: str
    ready: bool


class TensorMeta(Shape):
    name: str
    datatype: str
    shape: list[int]


class ModelMeta(Shape):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMeta]
    outputs: list[TensorMeta]


class InputTensor(Asked):
    name: str
    datatype: str
    shape: list[int]
    data: list[Value]


class InferRequest(Asked):
    inputs: list[InputTensor] = Field(min_length=1, description="one tensor a feature, one value a row")


class OutputTensor(Shape):
    name: str
    datatype: str
    shape: list[int]
    data: list[str | float]


class InferAnswer(Shape):
    id: str | None = None
    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any]


# --- models ------------------------------------------------------------------------------------------------------------


class SetModel(Asked):
    alias: str = Field("", description="settings.yaml's serving.alias when empty")
    model: str = Field("", description="needed when several models carry the alias")
    why: str = ""


class Rollback(Asked):
    to: int | None = Field(None, description="entry of the ledger; the model before the active one when left out")
    why: str = ""


class Switched(Shape):
    model: Identity
    previous: Identity | None
    set_at: str
    number: int
    action: str


class Label(Asked):
    alias: str
    model: str
    version: str = ""


class NameVersion(Shape):
    name: str
    version: str


class Labelled(NameVersion):
    alias: str
    previous: NameVersion | None


class LedgerEntry(Shape):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    number: int
    at: str
    by: str
    action: str
    why: str
    from_: Identity | None = Field(alias="from")
    to: Identity | None
    candidate: dict[str, Any] | None
    evidence: dict[str, Any]
    restores: int | None
    previous_sha256: str
    sha256: str


class Verified(Shape):
    first: int
    last: int
    ok: bool
    problems: list[str]


class LedgerAnswer(Shape):
    entries: list[LedgerEntry]
    active: int
    complete: bool
    verified: Verified


class ModelVersion(Shape):
    name: str
    version: str
    aliases: list[str]
    run_id: str
    dataset_id: str
    upload_id: str
    heldout: dict[str, float]


class Models(Shape):
    models: list[ModelVersion]


class ModelInfo(BaseModel):
    """The active model, whole."""

    model: Identity
    set_at: str
    set_by: str
    target: str
    classes: list[str]
    positive_class: str | None
    threshold: Share | None
    features: list[dict[str, Any]] = Field(
        description="name, kind, categories, range and missing markers of each column"
    )
    metrics: dict[str, float]
    dataset_id: str
    trained_at: str
    parity: dict[str, float]
    example: dict[str, Value]
    links: dict[str, str]


class Health(BaseModel):
    """`live`: this process answers. `ready`: what predictions need is there; the model's hashes were checked."""

    status: Literal["ok", "degraded", "not_ready"]
    live: bool
    ready: bool
    parts: dict[str, dict[str, Any]]


# --- data --------------------------------------------------------------------------------------------------------------


class UploadData(Asked):
    filename: str = Field(min_length=1)


class UploadForm(BaseModel):
    url: str
    fields: dict[str, str]
    key: str
    max_bytes: int
    expires_in_seconds: int
    next: str


class UploadLine(BaseModel):
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


class Uploads(Shape):
    uploads: list[UploadLine]


class UploadDetail(UploadRecord):
    links: dict[str, str]


class QuarantineLine(Shape):
    upload_id: str
    key: str
    rows_quarantined: Count
    state: str


class Quarantine(Shape):
    uploads: list[QuarantineLine]


class QuarantinedRow(BaseModel):
    line: int
    column: str
    reason: str
    raw: str


class Quarantined(Shape):
    upload_id: str
    header: list[str]
    delimiter: str
    rows_quarantined: Count
    rows: list[QuarantinedRow]


class MendedRow(Asked):
    line: int
    raw: str


class Mend(Asked):
    rows: list[MendedRow]


class Mended(Shape):
    key: str
    rows: Count
    next: str
