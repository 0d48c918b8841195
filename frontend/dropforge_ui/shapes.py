"""What the API answers, as far as the page reads it. `total=False`: an older or newer API may say less or more."""

from __future__ import annotations

from typing import Any, TypedDict


class Identity(TypedDict, total=False):
    """A model version."""

    name: str
    version: str
    alias: str
    run_id: str


class Beside(Identity, total=False):
    """The candidate beside the active model: the share of requests it answers, and whether it is scored in the shadow."""

    weight: float
    shadow: bool


class Feature(TypedDict, total=False):
    """A column that a caller sends."""

    name: str
    kind: str  # integer, number, boolean, datetime, category, text
    categories: list[str]
    minimum: float | None
    maximum: float | None


class ModelInfo(TypedDict, total=False):
    """The active model."""

    model: Identity
    candidate: Beside | None
    set_at: str
    set_by: str
    target: str
    task: str  # classification, regression; an older API does not say
    classes: list[str]
    positive_class: str | None
    threshold: float | None
    features: list[Feature]
    metrics: dict[str, float]
    dataset_id: str
    trained_at: str
    example: dict[str, Any]


class Prediction(TypedDict, total=False):
    """Predictions of rows."""

    predictions: list[dict[str, Any]]  # label, probabilities, or of a regression prediction; what was asked for besides
    model: Identity
    threshold: float | None
    warnings: list[dict[str, Any]]


class UploadLine(TypedDict, total=False):
    """An upload in a list."""

    upload_id: str
    key: str
    state: str
    verdict: str
    rows_in: int
    rows_used: int
    rows_quarantined: int
    dataset_id: str
    challenger: str
    received_at: str
    reason: str


class ModelProgress(TypedDict, total=False):
    """One model while its upload is in training. Stages: waiting, tuning, fitting, trained, failed."""

    model: str
    stage: str
    trials: int
    trials_budget: int
    seconds: float
    seconds_budget: float
    metric: str
    best_score: float | None
    reported_at: str


class Upload(TypedDict, total=False):
    """One upload."""

    upload_id: str
    key: str
    size: int
    state: str
    history: list[dict[str, str]]
    reason: dict[str, str] | None
    rows_in: int
    rows_used: int
    rows_quarantined: int
    dataset_id: str
    verdict: str
    report_uri: str
    models: list[dict[str, Any]]
    progress: list[ModelProgress]
    challenger: str
    run_url: str


class DatasetLine(TypedDict, total=False):
    """A dataset in a list."""

    dataset_id: str
    upload_id: str
    accepted_at: str
    revoked: str
    reference: bool


class QuarantinedRow(TypedDict, total=False):
    """A quarantined row."""

    line: int
    column: str
    code: str
    reason: str
    raw: str


class Quarantined(TypedDict, total=False):
    """Quarantined rows of an upload."""

    upload_id: str
    header: list[str]
    delimiter: str
    rows_quarantined: int
    rows: list[QuarantinedRow]


class Version(TypedDict, total=False):
    """A registered version."""

    name: str
    version: str
    aliases: list[str]
    run_id: str
    dataset_id: str
    upload_id: str
    heldout: dict[str, float]
    interval: dict[str, list[float]]
    cross_validated: dict[str, list[float]]
    warning: str


HistoryEntry = TypedDict(
    "HistoryEntry",
    {
        "number": int,
        "at": str,
        "by": str,
        "action": str,
        "reason": str,
        "from": Identity | None,
        "to": Identity,
        "restores": int | None,
    },
    total=False,
)


class DeploymentHistory(TypedDict, total=False):
    """Entries of the deployment history."""

    entries: list[HistoryEntry]
    active: int
    complete: bool
    verified: dict[str, Any]


class Health(TypedDict, total=False):
    """State of every part."""

    status: str
    live: bool
    ready: bool
    parts: dict[str, dict[str, Any]]


class Activity(TypedDict, total=False):
    """Calls and problems."""

    minutes: int
    complete: bool
    traffic: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    problems: list[dict[str, Any]]


class LiveWindow(TypedDict, total=False):
    """One day (UTC) of one model version."""

    day: str
    model: Identity
    rows: int
    labelled: int
    verdict: dict[str, Any]
    features: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    score: dict[str, float | None] | None
    heldout: dict[str, float]
    problem: str


class Monitoring(TypedDict, total=False):
    """Windows of live traffic."""

    windows: list[LiveWindow]
    checked_at: str | None
    labels: int
    labels_unmatched: int
