"""How far a training is: the same words for `watch` and for `status`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from dropforge.errors import Unavailable
from dropforge.messages import ModelProgress
from dropforge_cli import deployed, progress
from dropforge_cli.main import app
from dropforge_cli.target import Target


def _upload(**known: Any) -> dict[str, Any]:
    plan = ModelProgress(model="xgboost", trials_budget=8, seconds_budget=60.0, metric="roc_auc")
    return {**plan.model_dump(mode="json"), **known}


class _Answer:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def json(self) -> Any:
        return self.answer


SEARCHING = _upload(stage="tuning", trials=3, seconds=12.0, best_score=0.92014)
UPLOADS = {
    "/uploads": {
        "uploads": [
            {"upload_id": "new", "key": "incoming/new.csv", "state": "training"},
            {"upload_id": "just-ended", "key": "incoming/b.csv", "state": "training"},
            {"upload_id": "old", "key": "incoming/old.csv", "state": "concluded"},
        ]
    },
    "/uploads/new": {"progress": [SEARCHING, _upload(model="random_forest")]},
    "/uploads/just-ended": {"progress": []},
}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` of a stack whose parts all run, with one upload in training."""
    monkeypatch.setenv("DROPFORGE_STACK", "somewhere")
    monkeypatch.setattr(Target, "find", classmethod(lambda cls: cls({})))
    monkeypatch.setattr(Target, "api", lambda _self, _method, path: _Answer(UPLOADS[path]))
    monkeypatch.setattr(deployed, "parts", lambda _target: {"stack": "CREATE_COMPLETE", "api": "ok"})


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "waits for a worker; up to 8 trials in 60 s"),
        ({"stage": "tuning"}, "trial 0 of 8, 0 of 60 s, about 60 s left"),
        (SEARCHING, "trial 3 of 8, best roc_auc 0.9201, 12 of 60 s, about 20 s left"),
        ({**SEARCHING, "seconds": 50.0}, "trial 3 of 8, best roc_auc 0.9201, 50 of 60 s, about 10 s left"),
        ({**SEARCHING, "seconds": 63.0}, "trial 3 of 8, best roc_auc 0.9201, 63 of 60 s, about 0 s left"),
        (
            {**SEARCHING, "metric": "rmse", "best_score": -48_972.3618},
            "trial 3 of 8, best rmse 48,972, 12 of 60 s, about 20 s left",
        ),
        ({**SEARCHING, "stage": "fitting"}, "fitting, after 3 trials, best roc_auc 0.9201"),
    ],
)
def test_a_search_tells_its_trial_its_best_score_and_the_time_left(known: dict[str, Any], words: str) -> None:
    """The time left is that of whichever budget is used up first, at the pace so far, and never below nothing."""
    assert progress.words(_upload(**known)) == words


def test_a_follower_tells_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of a model that waits, one line for a trial however often it is asked, and another for the next one."""
    follower = progress.Follower()
    follower.tell(1.0, [_upload(), SEARCHING])
    follower.tell(2.0, [_upload(), SEARCHING])
    follower.tell(3.0, [{**SEARCHING, "trials": 4}])
    output = capsys.readouterr().err
    assert (output.count("trial 3 of 8"), output.count("trial 4 of 8"), output.count("waits")) == (1, 1, 0)


def test_status_tells_how_far_each_training_is(answering: None) -> None:
    """Every model of every upload in training, in words; an upload that has just ended is none."""
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 0, result.output
    assert "trainings  1\n\nnew  new.csv\n" in result.stdout
    assert "  xgboost: trial 3 of 8, best roc_auc 0.9201, 12 of 60 s, about 20 s left\n" in result.stdout
    assert "  random_forest: waits for a worker; up to 8 trials in 60 s\n" in result.stdout
    assert "old" not in result.stdout


def test_status_tells_programs_the_same(answering: None) -> None:
    """`--json` has each model's progress as the API tells it, and the seconds left, null while it does not search."""
    result = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert (result["stack"], [t["upload_id"] for t in result["trainings"]]) == ("CREATE_COMPLETE", ["new"])
    searching, waiting = result["trainings"][0]["models"]
    assert {k: searching[k] for k in SEARCHING} == SEARCHING
    assert (searching["seconds_left"], waiting["seconds_left"]) == (20.0, None)


def test_status_without_an_answer_tells_the_parts_all_the_same(
    answering: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API that does not answer leaves the trainings unknown, and nothing else."""

    def silent(_self: Target, _method: str, _path: str) -> None:
        raise Unavailable("the API does not answer", code="api_unreachable", fix="")

    monkeypatch.setattr(Target, "api", silent)
    result = CliRunner().invoke(app, ["status"])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "trainings  unknown")
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["trainings"] is None
