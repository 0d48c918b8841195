"""The search: budgets, pruning, resuming, several workers on one study."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.tree import DecisionTreeClassifier

from dropforge.errors import JobFailed
from dropforge.messages import Role
from dropforge.ports import StoredObject
from dropforge_local.memory import MemoryStore
from dropforge_training.interruption import Interrupted
from dropforge_training.models.model_spec import Fold, ModelSpec, Trained, TrialFit
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.search import ensemble_size, pruning, study, tuner
from dropforge_training.search import search_space as search
from dropforge_training.search.study_budget import TuningBudget
from dropforge_training.search.study_journal import Journal
from dropforge_training.worker import deadline
from dropforge_training.worker.deadline import Deadline, Member, Shares

FOLDER = "s3://data/tuning/study"


def fold(rows: int = 400, seed: int = 3) -> Fold:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = ((x[:, 0] + x[:, 1] ** 2 + rng.normal(0, 0.7, rows)) > 0.8).astype(np.int64)
    cut = rows * 3 // 4
    return Fold(x[:cut], y[:cut], x[cut:], y[cut:])


def _auc(y: np.ndarray, shown: np.ndarray) -> float:
    """The area under the ROC curve of scores without ties: the rank sum of the positive rows. scikit-learn's takes milliseconds."""
    ranks = shown.argsort().argsort() + 1
    positive = int(y.sum())
    return float((ranks[y == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive)))


class Stepwise(ModelSpec):
    """Takes ten steps a fit, each `pause` long, and gets better with every step; `good` says how good."""

    rounds = "steps"

    def __init__(self, pause: float = 0.0, die_at: int = 0, setup: float = 0.0) -> None:
        self.pause = pause
        self.setup = setup  # before the first step of the first fit
        self.die_at = die_at
        self.steps: list[int] = []

    def search_space(self, trial: Any) -> dict[str, Any]:
        return {"good": trial.suggest_float("good", 0.0, 1.0)}

    def estimator(self, _params: dict[str, Any], **_: Any) -> Any:
        return DecisionTreeClassifier(max_depth=2)

    def train(self, fit: TrialFit) -> Trained:
        params, fold = fit.params, fit.fold
        self.steps.append(0)
        if len(self.steps) == self.die_at:
            raise Interrupted
        shown = np.zeros(len(fold.y_valid))
        time.sleep(self.setup if len(self.steps) == 1 else 0.0)
        for step in range(1, 11):
            time.sleep(self.pause)
            self.steps[-1] = step
            noise = np.random.default_rng(int(params["good"] * 1e6)).normal(0, 1.4 - params["good"], len(shown))
            shown = fold.y_valid + noise * (11 - step)
            if fit.callback(float(step), _auc(fold.y_valid, shown)):
                break
        p = 1 / (1 + np.exp(-shown))
        return Trained(np.column_stack([1 - p, p]), self.steps[-1])


@pytest.fixture
def wanted() -> Callable[..., tuner.Search]:
    """A search of the step-wise candidate; what a test says is changed."""

    def make(
        candidate: ModelSpec | None = None,
        trials: int = 6,
        seconds: float = 60,
        money: float | None = None,
        price: float = 0.0,
        workers: int = 1,
        **changes: Any,
    ) -> tuner.Search:
        facts: dict[str, Any] = {
            "candidate": candidate or Stepwise(),
            "model": "m",
            "metric": "roc_auc",
            "classes": 2,
            "positive": 1,
            "seed": 5,
            "jobs": 1,
            "ranges": {},
            "allowance": TuningBudget(trials, seconds, money, price, workers),
        }
        return tuner.Search(**(facts | changes))

    return make


def run(
    what: tuner.Search, store: MemoryStore, folds: list[Fold] | None = None, stop: Callable[[], bool] = lambda: False
) -> tuner.Tuned:
    log = logging.getLogger("test")
    return tuner.tune(what, folds or [fold()], Journal(store, FOLDER), "study", tuner.Observer(log, stop))


def trials(store: MemoryStore) -> list[optuna.trial.FrozenTrial]:
    return study.SharedStudy(Journal(store, FOLDER), "study", seed=0, worker=9, workers=1).trials()


def test_trials_end_the_search(wanted: Callable[..., tuner.Search]) -> None:
    """Exactly as many trials as the budget has, over all attempts."""
    store = MemoryStore()
    assert run(wanted(trials=4), store).trials == 4
    assert run(wanted(trials=4), store).trials == 4
    assert run(wanted(trials=6), store).trials == 6
    assert len(trials(store)) == 6


def test_the_curve_tells_when_the_best_score_rose(wanted: Callable[..., tuner.Search]) -> None:
    """Scores rise from point to point over all attempts, seconds too; the last point is the end of the last trial."""
    store = MemoryStore()
    run(wanted(trials=4), store)
    tuned = run(wanted(trials=8), store)
    ended = [t for t in trials(store) if t.datetime_complete]
    seconds = max(t.datetime_complete for t in ended) - min(t.datetime_start for t in ended)
    assert [s for _, s in tuned.curve] == sorted(s for _, s in tuned.curve)
    assert tuned.curve[-1] == (round(seconds.total_seconds(), 2), max(t.value for t in ended))
    assert tuned.curve[0][0] < tuned.curve[-1][0]


def test_a_trial_in_flight_ends_with_the_seconds(wanted: Callable[..., tuner.Search]) -> None:
    """A fit that would take ten times the budget is cut between two rounds and counts with the rounds it had."""
    slow = Stepwise(pause=0.1)
    tuned = run(wanted(slow, trials=50, seconds=0.25), MemoryStore())
    assert tuned.trials == 1
    assert slow.steps[0] < 10
    assert 0.5 < tuned.score <= 1


def test_making_rows_ready_is_no_round(wanted: Callable[..., tuner.Search], simulated: _Time) -> None:
    """Binning many rows takes seconds before the first round of a trial, which are not expected of every round after it."""
    slow = Stepwise(pause=0.1, setup=3)
    deadline = Deadline(30, simulated.monotonic)
    run(wanted(slow, trials=2, seconds=30, deadline=deadline), MemoryStore())
    assert slow.steps[0] == 10


def test_money_ends_the_search(wanted: Callable[..., tuner.Search]) -> None:
    """Money that buys a quarter of a second stops a fit as the seconds would; what was spent is told."""
    slow = Stepwise(pause=0.1)
    tuned = run(wanted(slow, trials=50, seconds=600, money=0.25, price=3600.0), MemoryStore())
    assert slow.steps[0] < 10
    assert tuned.money == pytest.approx(tuned.seconds)


class _Time:
    """A clock that stands still between the steps of a candidate."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> _Time:
    """Time passes while a candidate pauses, and at no other moment."""
    clock = _Time()
    for module in (tuner, pruning):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(f"{__name__}.time", clock)
    return clock


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("pause", [0.01, 0.2, 1.0])
def test_the_search_leaves_what_follows_it(
    wanted: Callable[..., tuner.Search], simulated: _Time, pause: float, members: int, folds: int
) -> None:
    """Quick or slow: two trials at least, and then all the time that an out-of-fold fit, the last fit and the export need."""
    after = Shares(members, 3, 2 / 3)
    deadline = Deadline(60, simulated.monotonic)
    slow = Stepwise(pause=pause)
    requested = wanted(slow, trials=12, seconds=60, bag=members, after=after, deadline=deadline)
    tuned = run(requested, MemoryStore(), [fold(seed=s) for s in range(folds)])
    assert tuned.trials >= 2
    assert min(slow.steps) >= 1
    allowed = after.affordable(tuned.member, 60, deadline.left())
    assert allowed.folds >= 1
    assert after.seconds(tuned.member, 60, members=allowed.members, folds=allowed.folds) <= deadline.left()


def test_time_before_the_search_counts(wanted: Callable[..., tuner.Search], simulated: _Time) -> None:
    """What loading the rows took is gone for the search."""
    deadline = Deadline(60, simulated.monotonic)
    simulated.sleep(50)
    run(wanted(Stepwise(pause=0.1), trials=12, seconds=60, deadline=deadline), MemoryStore())
    assert deadline.elapsed() < 60


def test_points_to_start_with_are_added_once_whoever_is_first(wanted: Callable[..., tuner.Search]) -> None:
    """Worker 2 comes first and runs the default trial; worker 1 finds the other points in line and adds none again."""
    store, start = MemoryStore(), [{"good": 0.9}, {"good": 0.8}, {"good": 0.7}]
    run(wanted(trials=1, workers=2, worker=2, role="tune", start=start), store)
    assert [t.params["good"] for t in trials(store) if t.state in study.FINISHED] == [0.9]
    run(wanted(trials=4, workers=2, worker=1, role="tune", start=start), store)
    done = [t.params["good"] for t in trials(store) if t.state in study.FINISHED]
    assert done[:3] == [0.9, 0.8, 0.7]
    assert len(set(done)) == 4


def test_points_of_a_worker_that_died_are_added_by_its_successor(wanted: Callable[..., tuner.Search]) -> None:
    """Killed between its claim and its first trial; the last job adds them where none of the workers came back."""
    for worker, role in ((2, "tune"), (0, "finish")):
        store = MemoryStore()
        Journal(store, FOLDER).claim("start", {"worker": 2, "points": [{"good": 0.9}]})
        run(wanted(trials=1, workers=2, worker=worker, role=role, start=[{"good": 0.9}]), store)
        assert trials(store)[0].params == {"good": 0.9}


def test_hopeless_trials_end_early(wanted: Callable[..., tuner.Search]) -> None:
    """A trial below the median of its predecessors at the same progress is pruned and is never the best."""
    steps = Stepwise()
    start = [{"good": g} for g in (0.95, 0.9, 0.92, 0.94, 0.0, 0.05)]
    tuned = run(wanted(steps, trials=6, start=start), MemoryStore())
    assert steps.steps[:4] == [10, 10, 10, 10]
    assert max(steps.steps[4:]) < 10
    assert tuned.params["good"] >= 0.9
    assert tuned.trials == 6


def test_folds_are_averaged_and_prune_too(wanted: Callable[..., tuner.Search]) -> None:
    """With three folds the score is their mean, and a bad trial is spared the later folds."""
    steps = Stepwise()
    start = [{"good": g} for g in (0.95, 0.9, 0.92, 0.94, 0.0)]
    three = [fold(seed=s) for s in (1, 2, 3)]
    run(wanted(steps, trials=5, start=start), store := MemoryStore(), three)
    assert len(steps.steps) == 4 * 3 + 1
    done = trials(store)
    assert done[0].intermediate_values[100] != done[0].value
    assert done[4].state == optuna.trial.TrialState.PRUNED


def test_a_killed_workers_trial_is_run_again(wanted: Callable[..., tuner.Search]) -> None:
    """What a worker left running is run again with the same parameters by its successor; finished trials are not."""
    store = MemoryStore()
    with pytest.raises(Interrupted):
        run(wanted(Stepwise(die_at=3), trials=5), store)
    left = [t for t in trials(store) if t.state == optuna.trial.TrialState.RUNNING]
    assert len(left) == 1
    successor = Stepwise()
    assert run(wanted(successor, trials=5), store).trials == 5
    assert len(successor.steps) == 3
    again = [t for t in trials(store) if t.params == left[0].params and t.state == optuna.trial.TrialState.COMPLETE]
    assert len(again) == 1


def test_a_trial_that_always_kills_is_given_up(wanted: Callable[..., tuner.Search]) -> None:
    """The same parameters are not tried for ever: after two retries the sampler draws others."""
    store = MemoryStore()
    for _ in range(4):
        with pytest.raises(Interrupted):
            run(wanted(Stepwise(die_at=1), trials=5), store)
    drawn = [t.params["good"] for t in trials(store)]
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


def test_workers_share_one_study(wanted: Callable[..., tuner.Search]) -> None:
    """Two workers run the budget's trials between them, none twice; the last job runs none and picks the best of all."""
    import threading

    store = MemoryStore()

    def work(number: int) -> None:
        run(wanted(Stepwise(pause=0.005), trials=12, workers=2, worker=number, role="tune"), store)

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    done = [t for t in trials(store) if t.state in study.FINISHED]
    assert len(done) == 12
    assert {t.user_attrs[study.WORKER] for t in done} == {1, 2}
    assert len({t.params["good"] for t in done}) == 12
    idle = Stepwise()
    tuned = run(wanted(idle, trials=12, workers=2, role="finish"), store)
    assert idle.steps == []
    assert tuned.trials == 12
    assert tuned.score == max(t.value for t in done if t.state == optuna.trial.TrialState.COMPLETE)


@pytest.mark.parametrize("role", ["all", "finish"])
def test_a_study_without_a_score_gets_one_trial(wanted: Callable[..., tuner.Search], role: Role) -> None:
    """Whatever became of the workers, the job that fits the model has a trial to fit it by."""
    assert run(wanted(seconds=1e-6, role=role), MemoryStore()).trials == 1


def test_no_finite_score_is_a_permanent_failure(wanted: Callable[..., tuner.Search]) -> None:
    """Three trials without a number end the search with the way out."""
    nothing = fold()
    nothing.y_valid[:] = 1  # one class: no AUC
    with pytest.raises(JobFailed, match="no finite roc_auc") as failure:
        run(wanted(XGBoost()), MemoryStore(), [nothing])
    assert "metric" in failure.value.fix


def test_a_trial_costs_few_requests(wanted: Callable[..., tuner.Search]) -> None:
    """Three writes a trial and no read, however many parameters and reports it has."""
    store = MemoryStore()
    reads: list[str] = []
    real = store.get

    def counted(uri: str, version: str = "") -> StoredObject:
        reads.append(uri)
        return real(uri, version)

    store.get = counted  # type: ignore[method-assign]
    run(wanted(XGBoost(), trials=5), store)
    written = list(store.list(FOLDER + "/"))
    assert len(written) <= 2 + 3 * 5
    assert len(reads) <= 4


def test_a_new_study_starts_where_the_last_one_ended(wanted: Callable[..., tuner.Search]) -> None:
    """The best points of the model's last study are its first trials; what today's ranges forbid is moved into them."""
    store = MemoryStore()
    uri = study.points_uri("data", "m")
    assert study.read_points(store, uri) == []
    study.store_warm_start(store, uri, "old", "roc_auc", [study.Point({"good": 0.9, "gone": 1}, 0.8)])
    known = study.read_points(store, uri)
    run(wanted(trials=2, start=known), store)
    assert trials(store)[0].params == {"good": 0.9}
    assert search.within(Stepwise(), {"good": [0.1, 0.5]}, str, known) == [{"good": 0.5}]


@pytest.mark.parametrize(("classes", "members"), [(0, 8), (2, 8), (3, 8), (26, 2), (100, 1)])
def test_an_ensemble_of_many_classes_has_fewer_members(classes: int, members: int) -> None:
    """A round has a tree for each class: eight members of 26 classes would be a bundle that no function can load."""
    assert ensemble_size.members([400.0] * 8, [0.0] * 8, classes) == members


def test_an_ensemble_of_large_trees_has_fewer_members() -> None:
    """Every node is converted, blended, exported, checked and loaded by the function that serves."""
    assert ensemble_size.members([400.0] * 8, [250_000.0] * 8, 2) == 4
    assert ensemble_size.members([400.0] * 8, [5e6] * 8, 2) == 1


def test_an_ensemble_has_the_members_that_a_row_has_time_for() -> None:
    """By serving.max_milliseconds the first members stay, one at least; each tree that a row walks through counts once."""
    one = ensemble_size.estimated_milliseconds(1000, 31_000)
    assert ensemble_size.within([one] * 8, 3.5 * one) == 3
    assert ensemble_size.within([one] * 8, 0.1 * one) == 1
    assert ensemble_size.within([one] * 8, None) == 8
    assert ensemble_size.estimated_milliseconds(4000, 124_000) == pytest.approx(4 * one)


def test_what_export_takes_is_left_by_the_members(wanted: Callable[..., tuner.Search]) -> None:
    """Members quick to fit whose trees are large are as few as the seconds after the search can export."""
    after = Shares(8, 0)
    unit = Member.of(0.01, nodes=100_000)
    allowed = after.affordable(unit, 20, 15)
    assert 1 <= allowed.members < 8
    assert after.seconds(unit, 20, members=allowed.members) <= 15
    assert after.affordable(Member.of(0.01, nodes=1_000), 20, 15).members == 8


def test_a_slow_machine_leaves_more_for_what_follows_the_search() -> None:
    """At a third of the pace what follows takes three times as long, and fewer members are exported within the same seconds."""
    quick = Shares(8, 0)
    slow = replace(quick, pace=3.0)
    members = [s.affordable(Member.of(0.1, nodes=40_000, pace=s.pace), 60, 20).members for s in (quick, slow)]
    assert members[1] < members[0]
    assert slow.base(600) == 3 * quick.base(600)


def test_the_pace_is_read_off_a_clock() -> None:
    """Half a second for each reading is slower than what is reckoned with; no clock makes it less than 1."""
    ticks = iter(range(100))
    assert deadline.pace(lambda: next(ticks) / 2) == deadline._SLOWEST
    assert deadline.pace(lambda: 0.0) == 1.0
    ticks = iter(range(100))
    assert deadline.pace(lambda: next(ticks) * 0.005) == pytest.approx(2.0)  # five readings: 25 ms


class _Guess(Stepwise):
    """Predicts what `outputs` says of a parameter: codes with an error that another parameter's cancels, or chance."""

    def __init__(self, output: Callable[[float, np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.output = output

    def train(self, fit: TrialFit) -> Trained:
        p = np.clip(self.output(fit.params["good"], fit.fold.y_valid), 0.0, 1.0)
        return Trained(np.column_stack([1 - p, p]), 1)


def _opposite(good: float, y: np.ndarray) -> np.ndarray:
    error = np.where(np.arange(len(y)) % 4 < 2, 0.4, -0.4)
    return 0.5 + 0.1 * (2 * y - 1) + (error if good < 0.5 else -error)


def _chance(good: float, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.random.default_rng(round(good * 1e6)).uniform(size=len(y)))


@pytest.mark.parametrize("folds", [1, 4])
def test_the_score_is_that_of_the_ensemble(wanted: Callable[..., tuner.Search], folds: int) -> None:
    """Two trials with an AUC near a half, whose errors cancel: what is served ranks without a fault, and is scored so."""
    what = wanted(_Guess(_opposite), trials=2, bag=2, start=[{"good": 0.2}, {"good": 0.8}])
    store = MemoryStore()
    tuned = run(what, store, [fold(seed=s) for s in range(folds)])
    assert max(t.value or 0.0 for t in trials(store)) < 0.8
    assert tuned.score > 0.99


@pytest.mark.parametrize("bag", [1, 4])
@pytest.mark.parametrize("folds", [1, 4])
def test_trials_of_chance_are_scored_as_chance(wanted: Callable[..., tuner.Search], bag: int, folds: int) -> None:
    """The best of twelve guesses looks good on the rows that chose it; on rows that did not it is a guess."""
    best, scores = [], []
    for seed in range(5):
        store = MemoryStore()
        tuned = run(wanted(_Guess(_chance), trials=12, bag=bag, seed=seed), store, [fold(seed=s) for s in range(folds)])
        best.append(max(t.value or 0.0 for t in trials(store)))
        scores.append(tuned.score)
    assert np.mean(best) > 0.54
    assert abs(np.mean(scores) - 0.5) < np.mean(best) - 0.52


class _Lucky(_Guess):
    """Ranks without a fault on the folds that are drawn first and the wrong way on others; its rival makes mistakes on all alike."""

    def __init__(self) -> None:
        super().__init__(_chance)

    def train(self, fit: TrialFit) -> Trained:
        y, drawn_anew = fit.fold.y_valid, fit.fold.center
        steady = np.where(np.arange(len(y)) % 10 == 0, 1 - y, y)
        lucky = 1 - y if drawn_anew else y
        p = steady if fit.params["good"] < 0.5 else lucky
        return Trained(np.column_stack([1 - p, p]), 1)


def test_a_lucky_trial_is_found_out_on_folds_drawn_anew(wanted: Callable[..., tuner.Search]) -> None:
    """Perfect by one draw of the folds and wrong by another: the trial that is good by both leads the ensemble."""
    folds, start = [fold(seed=s) for s in range(4)], [{"good": g / 12} for g in range(12)]
    assert run(wanted(_Lucky(), trials=12, bag=2, start=start), MemoryStore(), folds).params["good"] >= 0.5
    drawn = [replace(fold(seed=s), center=1.0) for s in range(4, 8)]
    what = wanted(_Lucky(), trials=12, bag=2, start=start, again=lambda: drawn)
    assert run(what, MemoryStore(), folds).params["good"] < 0.5


def test_repeats_take_no_time_that_follows_the_search(wanted: Callable[..., tuner.Search], simulated: _Time) -> None:
    """However many trials would be repeated: an out-of-fold fit, the last fit and the export have theirs."""
    after, deadline = Shares(3, 3, 2 / 3), Deadline(60, simulated.monotonic)
    what = wanted(
        Stepwise(pause=0.05), trials=50, seconds=60, bag=3, after=after, deadline=deadline,
        again=lambda: [fold(seed=s) for s in (7, 8, 9)],
    )  # fmt: skip
    tuned = run(what, MemoryStore(), [fold(seed=s) for s in range(3)])
    allowed = after.affordable(tuned.member, 60, deadline.left())
    assert after.seconds(tuned.member, 60, members=allowed.members, folds=allowed.folds) <= deadline.left()


def test_a_worker_that_only_tunes_sets_no_time_aside(wanted: Callable[..., tuner.Search], simulated: _Time) -> None:
    """It repeats nothing: its trials are as many as without folds to repeat on; whoever chooses the ensemble has fewer."""
    folds, counts = [fold(seed=s) for s in range(3)], []
    for role, again in (("tune", None), ("tune", lambda: folds), ("all", lambda: folds)):
        clock = Deadline(100, simulated.monotonic)
        what = wanted(Stepwise(pause=0.1), trials=999, seconds=100, bag=3, deadline=clock, again=again, role=role)
        run(what, store := MemoryStore(), folds)
        counts.append(len(trials(store)))
    assert counts[0] == counts[1] > counts[2]


def test_validation_rows_have_their_places_and_predictions(wanted: Callable[..., tuner.Search]) -> None:
    """Once each, with what the chosen trial said of them."""
    made = [replace(fold(seed=s), places=np.arange(100) + 100 * s) for s in range(4)]
    tuned = run(wanted(_Guess(lambda _, y: 0.2 + 0.6 * y), trials=2), MemoryStore(), made)
    assert tuned.validated is not None
    places, output = tuned.validated
    assert list(places) == list(range(400))
    assert np.allclose(output[:, 1], np.concatenate([0.2 + 0.6 * f.y_valid for f in made]), atol=1e-6)
    assert run(wanted(_Guess(_chance), trials=2), MemoryStore()).validated is None  # of folds whose places nobody knows


class _Hasty(Stepwise):
    """Says that ten rounds are enough, and no fewer."""

    def enough(self, _params: dict[str, Any]) -> float:
        return 10.0


def test_a_first_trial_without_enough_rounds_leaves_its_time(
    wanted: Callable[..., tuner.Search], simulated: _Time
) -> None:
    """Ten rounds of a second do not fit into its part of 30: it ends after a few, and counts; ten of half a second do fit."""
    for pause, steps in ((1.0, 4), (0.5, 10)):
        hasty = _Hasty(pause=pause)
        requested = wanted(hasty, trials=1, seconds=30, deadline=Deadline(30, simulated.monotonic))
        tuned = run(requested, MemoryStore())
        assert hasty.steps[0] == steps
        assert tuned.trials == 1


def test_every_round_of_xgboost_is_found_in_proportion(wanted: Callable[..., tuner.Search]) -> None:
    """The rounds early stopping found grow with the rows of the last fit, which has no validation rows."""
    store = MemoryStore()
    tuned = run(wanted(XGBoost(), trials=1), store, [fold(1200)])
    result = trials(store)[0].user_attrs[study.ROUNDS]
    assert tuned.params["n_estimators"] == max(1, round(result / 0.75))
