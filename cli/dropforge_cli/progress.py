"""How far trainings are, in words: a line for each model, for `watch` and for `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropforge import metrics
from dropforge_cli.output import err
from dropforge_cli.target import Target

ModelProgress = Mapping[str, Any]  # messages.ModelProgress as GET /uploads/{upload_id} tells it


def words(p: ModelProgress) -> str:
    """`trial 3 of 8, best roc_auc 0.9201, 12 of 60 s, about 20 s left` while it searches; else the stage it is in."""
    if p["stage"] == "waiting":
        return f"waits for a worker; up to {p['trials_budget']} trials in {p['seconds_budget']:.0f} s"
    best = "" if p["best_score"] is None else f", best {p['metric']} {_best(p['metric'], p['best_score'])}"
    left = seconds_left(p)
    if left is None:
        return f"{p['stage']}, after {p['trials']} trials{best}"
    spent = f"{p['seconds']:.0f} of {p['seconds_budget']:.0f} s, about {left:.0f} s left"
    return f"trial {p['trials']} of {p['trials_budget']}{best}, {spent}"


def _best(metric: str, score: float) -> str:
    """As the metric is read: the API negates losses and errors, so that larger is better."""
    value = score if metrics.is_own(metric) or metric not in metrics.METRICS else metrics.sign(metric) * score
    size = abs(value)
    return f"{value:.4f}" if size < 10 else f"{value:,.4g}" if size < 9_999.5 else f"{value:,.0f}"


def seconds_left(p: ModelProgress) -> float | None:
    """Of the search, as of `reported_at`; None unless it goes on.

    It ends with its seconds or with its trials, whichever is used up first; the trials to come are taken to be as fast as
    those before.
    """
    if p["stage"] != "tuning":
        return None
    left = max(0.0, p["seconds_budget"] - p["seconds"])
    if not p["trials"]:
        return float(left)
    pace = p["seconds"] / p["trials"]
    return float(round(min(left, pace * max(0, p["trials_budget"] - p["trials"])), 1))


def trainings(target: Target) -> list[dict[str, Any]]:
    """Of each upload in training its id, its key and how far each model is, newest first. Raises what the API raises."""
    listed = target.api("GET", "/uploads").json()["uploads"]
    matches = [_training(target, u) for u in listed if u["state"] == "training"]
    return [f for f in matches if f["models"]]


def _training(target: Target, listed: Mapping[str, Any]) -> dict[str, Any]:
    response = target.api("GET", f"/uploads/{listed['upload_id']}").json()["progress"]  # empty when it ended meanwhile
    models = [{**p, "seconds_left": seconds_left(p)} for p in response]
    return {"upload_id": listed["upload_id"], "key": listed["key"], "models": models}


class Follower:
    """A line on stderr for each model of a training when something new is told of it."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, int]] = {}

    def tell(self, seconds: float, progress: list[dict[str, Any]]) -> None:
        """Print what is new in the progress of each model."""
        for p in progress:
            here = (p["stage"], p["trials"])
            if p["stage"] == "waiting" or self._shown.get(p["model"]) == here:
                continue
            self._shown[p["model"]] = here
            err.print(f"  {seconds:5.1f} s   {p['model']}: {words(p)}", style="dim", soft_wrap=True)
