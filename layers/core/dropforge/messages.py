"""What the stages say to each other. References, never data; one golden JSON of each stands under tests/contracts/golden.

A new field needs a default. Anything else is a new `schema_version`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dropforge.errors import InvalidRequest

# What a training job is to do. all: tune, fit and export. tune: trials of a study shared with other workers, no more.
# finish: fit and export what the study found.
Role = Literal["all", "tune", "finish"]
THIN = 30  # held-out rows of a class from which on they rank models
Stage = Literal["waiting", "tuning", "fitting", "trained", "failed"]


class Message(BaseModel):
    """Frozen, versioned, strict about unknown fields being harmless: a newer producer may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    schema_version: Literal[1] = 1

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From a dict or JSON text. Raises InvalidRequest naming the fields that are wrong."""
        try:
            return cls.model_validate_json(value) if isinstance(value, str | bytes) else cls.model_validate(value)
        except ValueError as error:
            raise InvalidRequest(
                f"not a valid {cls.__name__} message: {error}",
                code="message_invalid",
                fix=f"send what tests/contracts/golden/{cls.__name__}.json shows",
            ) from None

    def json_text(self) -> str:
        """The message as JSON."""
        return self.model_dump_json()


class UploadEvent(Message):
    """One object version that arrived under `incoming/` or `batch/`."""

    bucket: str
    key: str
    version: str = Field(description="S3 version id; the etag where the bucket has no versions")
    sequencer: str = ""
    size: int = 0


class TrainingBudget(Message):
    """Tuning ends at whichever comes first. Trials and money are of the study, seconds of each worker."""

    trials: int
    seconds: float
    money: float | None = Field(default=None, description="in the currency of settings' `cost`; null: no limit")


class TrainingJob(Message):
    """One model to tune and train on one dataset: the queue body and the container variable `JOB`."""

    task_token: str = Field(default="", description="Step Functions token to answer; empty in a dry run")
    job_id: str
    upload_id: str
    dataset_uri: str = Field(description="s3 URI of the training manifest (list of Parquet parts)")
    settings_uri: str = Field(description="s3 URI of the settings text in force, named by its sha256")
    model: str = Field(description="name of the model in settings.yaml")
    budget: TrainingBudget
    seed: int
    parent_run_id: str = Field(description="MLflow run of the analysis")
    role: Role = "all"
    worker: int = Field(
        default=0, description="which of the workers of one study, from 1; 0: the only one, or the last"
    )
    workers: tuple[int, ...] = Field(default=(), description="numbers of the workers that tune together; empty: one")


class PullJob(Message):
    """One source to pull: the container variable `JOB` of a worker that pulls instead of training."""

    role: Literal["pull"]
    job_id: str = Field(description="names the result of this pull", pattern=r"^[0-9a-f]{1,64}$")
    source: str = Field(description="its name in `sources` of settings.yaml", pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    settings_uri: str = Field(description="s3 URI of the settings text in force, named by its sha256")
    whole: bool = Field(default=False, description="everything again, not only what is new")


class PullResult(Message):
    """What a pull brought, or why it brought nothing."""

    source: str
    rows: int = Field(default=0, description="new rows; 0: there was nothing new, and no upload")
    upload_id: str = ""
    remarks: tuple[str, ...] = Field(default=(), description="for people: what was read again, what it cost")
    error: str = Field(default="", description="why it failed; empty: it did not")
    code: str = ""
    fix: str = ""


class TuneResult(Message):
    """What a job of the role `tune` answers."""

    model: str
    worker: int
    trials: int = Field(description="of the whole study, as far as this worker saw")
    best_score: float | None = Field(default=None, description="null when no trial had ended yet")


class ModelProgress(Message):
    """One model of a training that runs. Trials are of the whole study; seconds are of one worker."""

    model: str
    stage: Stage = Field("waiting", description="fitting: the search is over, the last fit and its checks are not")
    trials: int = Field(0, description="finished or pruned")
    trials_budget: int
    seconds: float = Field(
        0.0, description="spent on the search, as of `reported_at`; those of earlier attempts included"
    )
    seconds_budget: float
    metric: str = ""
    best_score: float | None = Field(None, description="so far; larger is better (a loss is negated)")
    reported_at: str = Field("", description="when the worker last reported; empty while the model waits for one")

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, value: Any) -> Any:
        """Documents stored by an earlier version call it `told_at`."""
        if isinstance(value, dict) and "told_at" in value:
            return {"reported_at": value["told_at"], **value}
        return value


class Estimate(BaseModel):
    """A score with its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    value: float
    low: float
    high: float


class Evidence(BaseModel):
    """How well a model's scores are known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rarest_class_rows: int | None = Field(
        default=None, description="held-out rows of the rarest class; null: a job older than the field"
    )
    heldout: dict[str, Estimate] = Field(default_factory=dict, description="by metric, on held-out rows")
    cross_validated: dict[str, Estimate] = Field(
        default_factory=dict, description="by metric, on out-of-fold rows of the training data"
    )

    @property
    def thin(self) -> bool:
        """Whether the held-out rows of some class are too few to rank models by: their scores are mostly chance."""
        return self.rarest_class_rows is not None and self.rarest_class_rows < THIN

    @property
    def warning(self) -> str:
        """What a reader of the held-out scores must know; empty when there are rows enough."""
        if not self.thin:
            return ""
        return (
            f"only {self.rarest_class_rows} held-out rows (of the rarest class, where the target is one): held-out scores are "
            "mostly chance, read the cross-validated ones with their intervals"
        )


class JobResult(Message):
    """What a finished training job answers."""

    model: str
    run_id: str
    model_source: str = Field(description="MLflow model URI to register")
    bundle_uri: str = Field(description="s3 URI of the serving bundle's folder")
    bundle_sha256: str = Field(description="sha256 of the bundle's manifest.json, which names the sha256 of model.onnx")
    predictions_uri: str = Field(description="s3 URI of the held-out predictions (Parquet)")
    comparison_uri: str = Field(default="", description="s3 URI of the comparison with the served model (JSON)")
    metrics: dict[str, float]
    evidence: Evidence = Evidence()


class JobOutcome(Message):
    """One branch of the fan-out: either a result or the error that ended it."""

    model: str
    result: JobResult | None = None
    error: str = ""
    cause: str = ""


class TrainingRequest(Message):
    """Input of the training state machine."""

    upload_id: str
    dataset_id: str
    dataset_uri: str
    settings_uri: str
    parent_run_id: str
    jobs: tuple[TrainingJob, ...]


class ConcludeRequest(Message):
    """Input of `conclude`: the request and one outcome for every job, or the error that ended the fan-out."""

    request: TrainingRequest
    outcomes: tuple[JobOutcome, ...] = ()
    error: str = ""
    cause: str = ""


class ModelVersion(Message):
    """A registered version as the registry knows it."""

    name: str
    version: str
    run_id: str
    source: str = ""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)


class Conclusion(Message):
    """What `conclude` decided."""

    upload_id: str
    registered: tuple[ModelVersion, ...] = ()
    challenger: ModelVersion | None = None
    reasons: tuple[str, ...] = ()
    failed: dict[str, str] = Field(default_factory=dict)
