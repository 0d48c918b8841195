"""Jobs of several workers on one study, from message to answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dropforge.messages import TuneResult
from dropforge_training.worker import tune_job

Bench = Callable[..., Any]


def test_tuners_share_trials_and_the_last_job_makes_the_model(bench: Bench, monkeypatch: Any) -> None:
    """Two tuners run the budget's trials between them and answer with a score; the last job starts no trial and exports."""
    import mlflow

    created = bench()
    parts = {"upload": "shared", "workers": (1, 2)}
    first = created.tune(created.job(worker=1, role="tune", **parts))
    assert first == TuneResult(model="random_forest", worker=1, trials=2, best_score=first.best_score)
    second = created.tune(created.job(worker=2, role="tune", **parts))
    assert (second.trials, second.best_score) == (2, first.best_score)

    monkeypatch.setattr("dropforge_training.models.random_forest.RandomForest.train", _must_not_run)
    result = created.run(created.job(role="finish", **parts))
    run = mlflow.MlflowClient(created.tracking_uri).get_run(result.run_id)
    assert run.data.params["trials"] == "2"
    assert run.data.metrics["tuning.best_score"] == first.best_score


def test_progress_is_in_the_run_while_it_tunes(bench: Bench) -> None:
    """One step a trial: share done, best score, seconds left; told by the first tuner, in the run the last job finishes."""
    import mlflow

    created = bench()
    created.tune(created.job(upload="progress", worker=1, role="tune", workers=(1, 2)))
    client = mlflow.MlflowClient(created.tracking_uri)
    experiment = client.get_run(created.parent_run_id).info.experiment_id
    (run,) = client.search_runs([experiment], "tags.job_id = 'progress-random_forest'")
    assert run.info.status == "RUNNING"
    steps = client.get_metric_history(run.info.run_id, "tuning.progress")
    assert steps[-1].value == 1.0
    assert steps[-1].step == 2
    result = created.run(created.job(upload="progress", role="finish", workers=(1, 2)))
    assert result.run_id == run.info.run_id


def test_a_retrain_starts_where_the_last_study_ended(finished: Callable[..., Any]) -> None:
    """The first trial of the next upload's study has the parameters that were best in the last one."""
    created, _ = finished()
    stored = json.loads(created.store.get("s3://data/tuning/best/random_forest.json").body)
    created.tune(created.job(upload="later", worker=1, role="tune", workers=(1, 2)))
    entries = [
        e for o in created.store.list("s3://data/tuning/later-") for e in json.loads(created.store.get(o.uri).body)
    ]
    first = next(e["system_attrs"]["fixed_params"] for e in entries if e["op_code"] == 4)
    assert first == stored["points"][0]["params"]


def test_a_job_says_which_threads_it_may_use() -> None:
    """One thread for a few rows, however many cores there are."""
    assert tune_job.cores(100) == 1
    assert tune_job.cores(10**9) >= 1


def _must_not_run(*_: Any, **__: Any) -> None:
    raise AssertionError("a trial was started")
