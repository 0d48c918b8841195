"""How far the training of an upload is: one small object for each model, written by its worker, read by the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge.errors import NotFound
from dropforge.ports import ObjectStore
from dropforge.uris import join

Stage = Literal["waiting", "tuning", "fitting", "trained", "failed"]


class ModelProgress(BaseModel):
    """One model of a training that runs. Trials are of the whole study; seconds are of one worker."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    stage: Stage = Field("waiting", description="fitting: the search is over, the last fit and its checks are not")
    trials: int = Field(0, description="finished or pruned")
    trials_budget: int
    seconds: float = Field(0.0, description="spent on the search, as of `told_at`; those of earlier attempts included")
    seconds_budget: float
    metric: str = ""
    best_score: float | None = Field(None, description="so far; larger is better (a loss is negated)")
    told_at: str = Field("", description="when the worker last said so; empty while the model waits for one")


def uri(bucket: str, upload_id: str, model: str) -> str:
    """Where a model's progress is kept."""
    return join(f"s3://{bucket}", "progress", upload_id, f"{model}.json")


def keep(store: ObjectStore, bucket: str, upload_id: str, now: ModelProgress) -> None:
    """Replace what was told of the model before."""
    body = now.model_dump_json().encode()
    store.put(uri(bucket, upload_id, now.model), body, content_type="application/json")


def read(store: ObjectStore, bucket: str, upload_id: str, planned: Iterable[ModelProgress]) -> list[ModelProgress]:
    """Of each planned model what its worker said last, or the plan while no worker has said anything. One request each."""
    found = []
    for plan in planned:
        try:
            body = store.get(uri(bucket, upload_id, plan.model)).body
        except NotFound:
            found.append(plan)
        else:
            found.append(ModelProgress.model_validate_json(body))
    return found
