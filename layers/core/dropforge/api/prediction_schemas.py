"""Bodies of the prediction routes as types, and what all bodies share. A source of the OpenAPI document; handlers do not need them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Value = str | float | int | bool | None
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ResponseModel(BaseModel):
    """An answer has these fields and no other."""

    model_config = ConfigDict(extra="forbid")


class RequestModel(BaseModel):
    """A request may have further fields; they are ignored."""

    model_config = ConfigDict(extra="allow")


class Error(ResponseModel):
    """What every refusal says. `code` is stable; `fix` says what to do."""

    code: str
    message: str
    fix: str
    request_id: str


class InferError(Error):
    """The same, with the field that the Open Inference Protocol names."""

    error: str = Field(description="the message again")


class Records(RequestModel):
    """One object a row."""

    records: list[dict[str, Value]] = Field(
        min_length=1, description="one object a row: column to value, null where unknown"
    )


class DataframeRecords(RequestModel):
    """One object a row, as MLflow names it."""

    dataframe_records: list[dict[str, Value]] = Field(min_length=1)


class Split(RequestModel):
    """Column names once, then rows of values."""

    columns: list[str]
    data: list[list[Value]]


class DataframeSplit(RequestModel):
    """Column names once, then rows of values, as MLflow names it."""

    dataframe_split: Split


class Inputs(RequestModel):
    """Rows or columns, as MLflow names them."""

    inputs: list[dict[str, Value]] | dict[str, list[Value]] = Field(
        description="rows, or a list of values for each column"
    )


class Instances(RequestModel):
    """One object a row, as TensorFlow Serving names it."""

    instances: list[dict[str, Value]] = Field(min_length=1)


PredictRequest = Records | DataframeRecords | DataframeSplit | Inputs | Instances


class Identity(ResponseModel):
    """A model version and the alias it was found by."""

    name: str
    version: str
    alias: str
    run_id: str


class Warned(ResponseModel):
    """One for each code and column, at most 1,000; `more_warnings` tells how many others there are."""

    code: Literal["extra_column", "missing", "more_warnings", "out_of_range", "rule_violated", "unseen_category"]
    message: str = Field(description="of the first row")
    field: str
    row: Count | None = Field(None, description="the first row it holds for")
    rows: Count | None = Field(None, description="how many rows it holds for")


class PredictionSet(ResponseModel):
    """The classes that cannot be ruled out at the requested coverage."""

    coverage: Share
    labels: list[str]


class Interval(ResponseModel):
    """Holds the number that turns out with this probability."""

    coverage: Share
    low: float
    high: float


class Explained(ResponseModel):
    """base + Σ contributions = output, of `class`, before calibration; of a regression the number, before the inverse transform."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    class_: str | None = Field(None, alias="class", description="none for a regression")
    space: Literal["log_odds", "probability", "score", "prediction", "log1p"]
    base: float
    output: float
    contributions: dict[str, float]


class OnePrediction(ResponseModel):
    """The prediction of one row."""

    label: str
    probabilities: dict[str, Share]
    prediction_set: PredictionSet | None = None
    explanation: Explained | None = None


class OneNumber(ResponseModel):
    """Of a regression."""

    prediction: float
    interval: Interval | None = None
    quantiles: dict[str, float] | None = Field(
        None, description="by quantile the number that is not exceeded with this probability"
    )
    explanation: Explained | None = None


class PredictAnswer(ResponseModel):
    """Predictions in the order of the rows, with the version that made them."""

    predictions: list[OnePrediction] | list[OneNumber]
    model: Identity
    threshold: Share | None
    warnings: list[Warned]
    prediction_id: str
    request_id: str


class InvocationsAnswer(ResponseModel):
    """Predictions as MLflow's scoring server writes them."""

    predictions: list[str] | list[float]
    probabilities: list[dict[str, Share]] | None = Field(None, description="of a classification")
    prediction_set: list[PredictionSet] | None = None
    interval: list[Interval] | None = Field(None, description="of a regression")
    quantiles: list[dict[str, float]] | None = Field(None, description="of a regression")
    explanation: list[Explained] | None = None
    model: Identity
    threshold: Share | None
    warnings: list[Warned]
    prediction_id: str


class Ping(ResponseModel):
    """Whether a model is loaded."""

    status: Literal["ok"]
    model: Identity


class Server(ResponseModel):
    """Name, version and extensions of the server."""

    name: str
    version: str
    extensions: list[str]


class Live(ResponseModel):
    """Whether the process answers."""

    live: bool


class Ready(ResponseModel):
    """Whether the active model is loaded."""

    ready: bool


class ModelReady(ResponseModel):
    """Whether this model is loaded."""

    name: str
    ready: bool


class TensorMeta(ResponseModel):
    """Name, type and shape of a tensor."""

    name: str
    datatype: str
    shape: list[int]


class ModelMeta(ResponseModel):
    """Tensors that a model reads and writes."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMeta]
    outputs: list[TensorMeta]


class InputTensor(RequestModel):
    """Values of one feature for all rows."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Value]


class InferRequest(RequestModel):
    """One tensor a feature."""

    inputs: list[InputTensor] = Field(min_length=1, description="one tensor a feature, one value a row")


class OutputTensor(ResponseModel):
    """Values of one output for all rows."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str | float]


class InferAnswer(ResponseModel):
    """One tensor an output."""

    id: str | None = None
    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any]
