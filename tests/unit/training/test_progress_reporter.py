"""Progress of a search, told while it runs."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from dropforge.errors import DropforgeError, JobFailed, Unavailable
from dropforge.messages import ModelProgress, TrainingBudget, TrainingJob
from dropforge_local.memory import MemoryStore
from dropforge_training.interruption import Interrupted
from dropforge_training.search.tuner import Progress
from dropforge_training.worker.progress_reporter import Note, Reporter

LOG = logging.getLogger("test")


class Server:
    """Takes figures when the gate is open; `away` makes it fail."""

    def __init__(self, *, away: bool = False) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.gate = threading.Event()
        self.requested = threading.Event()
        self._away = away

    def log_progress(self, trial: int, figures: dict[str, float]) -> None:
        self.requested.set()
        self.gate.wait(10)
        if self._away:
            raise Unavailable("MLflow is away")
        self.reports.append((trial, figures))


def test_the_newest_figures_arrive_and_old_ones_do_not_queue_up() -> None:
    """While the server is busy with trial 1 the search goes on to trial 9; then it hears of trial 9 alone."""
    server = Server()
    with Reporter(server, LOG) as tell:
        tell(Progress(1, 10, None, 30.0))
        server.requested.wait(10)
        for n in range(2, 10):
            tell(Progress(n, 10, 0.9, 30.0 - n))
        server.gate.set()
    assert [t for t, _ in server.reports] == [1, 9]
    assert server.reports[1][1] == {"tuning.progress": 0.9, "tuning.seconds_left": 21.0, "tuning.best_so_far": 0.9}
    assert "tuning.best_so_far" not in server.reports[0][1]


def test_a_server_that_is_away_holds_nothing_up() -> None:
    """Neither an error nor a server that never answers stops the search or its end."""
    away = Server(away=True)
    away.gate.set()
    with Reporter(away, LOG) as tell:
        tell(Progress(1, 2, 0.5, 1.0))
    deaf: Any = Server()
    with Reporter(deaf, LOG, timeout=0.01) as tell:
        tell(Progress(1, 2, 0.5, 1.0))
    assert deaf.reports == []
    deaf.gate.set()


JOB = TrainingJob(
    job_id="u-m", upload_id="u", dataset_uri="s3://d/m", settings_uri="s3://d/s", model="m",
    budget=TrainingBudget(trials=10, seconds=60), seed=1, parent_run_id="r",
)  # fmt: skip


def _noted(store: MemoryStore) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(store.get("s3://data/progress/u/m.json").body)
    return stored


def test_a_note_follows_the_job_from_its_first_trial_to_its_end() -> None:
    """Trials, seconds and best score as the search tells them; what it tells after its end changes nothing."""
    store = MemoryStore()
    with Note(store, "data", JOB, "roc_auc", LOG) as note:
        assert (_noted(store)["stage"], _noted(store)["trials"], _noted(store)["best_score"]) == ("tuning", 0, None)
        note(Progress(4, 10, 0.9, 30.0, 21.04))
        output = _noted(store)
        assert (output["trials"], output["trials_budget"], output["seconds"], output["seconds_budget"]) == (
            4,
            10,
            21.0,
            60,
        )
        assert (output["best_score"], output["metric"]) == (0.9, "roc_auc")
        note.stage("fitting")
        note(Progress(5, 10, 0.8, 20.0, 25.0))
        assert (_noted(store)["stage"], _noted(store)["trials"]) == ("fitting", 4)
    assert _noted(store)["stage"] == "trained"


@pytest.mark.parametrize(
    ("error", "stage"),
    [(JobFailed("x"), "failed"), (ValueError("x"), "failed"), (Unavailable("x"), "tuning"), (Interrupted(), "tuning")],
)
def test_only_an_end_for_good_is_noted_as_failed(error: Exception, stage: str) -> None:
    """A job that is tried again still tunes."""
    store = MemoryStore()
    with pytest.raises(type(error)), Note(store, "data", JOB, "roc_auc", LOG):
        raise error
    assert _noted(store)["stage"] == stage


def test_a_store_that_refuses_the_note_does_not_end_the_training() -> None:
    """It is logged, and the job goes on."""

    class Refusing(MemoryStore):
        def put(self, *_: Any, **__: Any) -> Any:
            raise DropforgeError("no")

    with Note(Refusing(), "data", JOB, "roc_auc", LOG) as note:
        note(Progress(1, 10, 0.9, 30.0, 2.0))


def test_progress_that_an_earlier_version_stored_is_read() -> None:
    """Its time of report had another name."""
    stored = {"model": "m", "trials_budget": 1, "seconds_budget": 1.0, "told_at": "2026-11-24T22:00:00.000+00:00"}
    assert ModelProgress.parse(stored).reported_at == "2026-11-24T22:00:00.000+00:00"
    assert "told_at" not in ModelProgress.parse(stored).json_text()
