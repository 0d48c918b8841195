"""What runs of a stack on AWS, asked of the services themselves and of its API."""

from __future__ import annotations

from typing import Any

from dropforge.errors import Unavailable
from dropforge_cli.target import Target

_QUEUE = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def parts(target: Target) -> dict[str, str]:
    """One word or figure for each part; `stopped` or `unknown` where it does not answer."""
    described = target.client("cloudformation").describe_stacks(StackName=target.outputs["StackName"])["Stacks"][0]
    waiting, under_way = _lengths(target, "TrainingQueueUrl")
    dead = sum(sum(_lengths(target, key)) for key in ("TrainingDeadLetterQueueUrl", "FailedEventsQueueUrl"))
    return {
        "stack": str(described["StackStatus"]),
        **_health(target),
        "training": f"{waiting} jobs waiting, {under_way} under way",
        "dead letters": str(dead),
    }


def _health(target: Target) -> dict[str, str]:
    try:
        response: dict[str, Any] = target.call("GET", "/health").json()
    except (Unavailable, ValueError):
        return {"api": "stopped", "mlflow": "unknown", "model": "unknown"}
    requested = response.get("parts", {})
    if not requested:  # it refused: no key, or another API
        return {"api": "unknown", "mlflow": "unknown", "model": "unknown"}
    model = requested["active_model"]
    return {
        "api": str(response["status"]),
        "mlflow": "stopped" if "error" in requested["mlflow"] else "running",
        "model": "none" if "error" in model else f"{model['name']}/{model['version']}",
    }


def _lengths(target: Target, output: str) -> tuple[int, int]:
    """Messages of a queue: that wait, that somebody has taken."""
    result = target.client("sqs").get_queue_attributes(QueueUrl=target.outputs[output], AttributeNames=list(_QUEUE))
    waiting, taken = (int(result["Attributes"][name]) for name in _QUEUE)
    return waiting, taken
