"""Search for parameters within a budget. The study's journal is on S3: a killed worker's study goes on where it was."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dropforge.errors import JobFailed, SettingsError
from dropforge.messages import Role
from dropforge_training.evaluate import held_out
from dropforge_training.interruption import Interrupted
from dropforge_training.models.model_spec import Fold, ModelSpec, TrialFit
from dropforge_training.search import ensemble_selection, ensemble_size, search_space
from dropforge_training.search.pruning import TrialCallback
from dropforge_training.search.search_space import NarrowedTrial
from dropforge_training.search.study import FINISHED, ROUNDS, WORKER, Point, SharedStudy
from dropforge_training.search.study_budget import TuningBudget
from dropforge_training.search.study_journal import Journal
from dropforge_training.worker.deadline import Deadline, Member, Shares

_BARREN_TRIALS = 3  # trials in a row without a finite score after which the search is given up
_CUT = "cut"  # the budget ended before the trial did; its score is that of the rounds it had
_SECONDS = "seconds"
_ROUND = "round_seconds"  # of its longest round
_NODES = "nodes"  # of its trees, mean over the folds
_FOLDS = "folds"  # that were fitted: a trial which the budget ends leaves the later ones out
_CANDIDATES = 12  # best trials whose predictions are kept for the ensemble
_REPEATS = 0.2  # of the budget that repeating these trials on other folds may take
_SELECTION = 0.05  # of the budget that selecting the ensemble may take
_TREES = 100  # of an estimator that has no rounds
_PARAMS = "params"  # as the candidate gave them to its estimator


@dataclass(frozen=True, slots=True)
class Tuned:
    """Parameters of the estimators of the last fit, the best first; `score`: on validation rows, of what is chosen by other ones
    of them (a loss is negated; the best trial's own, where the predictions of trials are not at hand).

    `weights`: of all members with a member's parameters together, see `bag`. `milliseconds`: that each member is estimated to take
    for one row. `outside`: by fold the places of its validation
    rows among the training rows, and what an ensemble predicts for them that was selected without them; empty: not known.

    Rounds found by early stopping are among the parameters, in proportion to all training rows.
    `trials` of the whole study, finished and pruned; `seconds` of its slowest worker; `money` of all workers. `curve`: the
    best score so far by seconds since the study's first trial began, a point where it rose and one at the end.
    """

    members: tuple[dict[str, Any], ...]
    score: float
    trials: int
    seconds: float
    money: float
    points: tuple[Point, ...]
    curve: tuple[tuple[float, float], ...] = ()
    member: Member = field(
        default_factory=lambda: Member(0.0, 0.0)
    )  # what one estimator of the last fit is expected to take
    weights: tuple[float, ...] = ()
    milliseconds: tuple[float, ...] = ()
    outside: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def validated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """`outside` of all folds: places, and predictions; None: not known."""
        if not self.outside:
            return None
        places, output = zip(*self.outside, strict=True)
        return np.concatenate(places), np.asarray(np.concatenate(output), dtype=np.float64)

    @property
    def params(self) -> dict[str, Any]:
        """Of the best trial."""
        return self.members[0]

    def bag(self, count: int) -> tuple[tuple[dict[str, Any], ...], tuple[float, ...]]:
        """The first members, at most so many, and the weight of each: members of the same parameters share theirs."""
        chosen = self.members[:count]
        return chosen, tuple(w / chosen.count(m) for m, w in zip(chosen, self.weights[:count], strict=True))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the search is after a trial. `best` is None before the first score; `seconds` are those spent so far."""

    trial: int
    trials: int
    best: float | None
    seconds_left: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Search:
    """What one search is about.

    `ranges`: the model's `search` of settings.yaml, whose keys `where` finds in it.
    `bag`: estimators of the last fit; `after`: what follows the search, whose time the budget includes; `deadline`: of the job,
    from now when left out. `again`: draws the folds of the same rows anew, for the best trials to be repeated on; None: they are
    not. `milliseconds`: that a row may take (serving.max_milliseconds).
    `start`: trials to begin a new study with, added once, by whichever worker is first. `role`: see
    messages.TrainingJob.
    """

    candidate: ModelSpec
    model: str
    metric: str
    classes: int
    positive: int
    seed: int
    jobs: int
    ranges: Mapping[str, Any]
    allowance: TuningBudget
    where: search_space.Where = "search.{}".format
    bag: int = 1
    after: Shares = field(default_factory=Shares)
    deadline: Deadline | None = None
    start: Sequence[Mapping[str, Any]] = ()
    worker: int = 0
    role: Role = "all"
    again: Callable[[], Sequence[Fold]] | None = None
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class Observer:
    """Who follows a search. `stop` is asked between trials and between rounds; `tell` hears of each trial."""

    log: logging.Logger
    stop: Callable[[], bool] = lambda: False
    tell: Callable[[Progress], None] = lambda _progress: None


def tune(wanted: Search, folds: Sequence[Fold], journal: Journal, name: str, observer: Observer) -> Tuned:
    """Trials until trials, seconds or money are used up, counting those of earlier attempts and other workers; at least one.

    Without members only for the role `tune`: others run the trials that
    the budget allows, and none of them has ended yet. The role `finish` runs a trial only when the study has no score at all.
    Raises Interrupted when the observer's `stop` said so, SettingsError for wrong `ranges`, JobFailed when no trial can be scored.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    log, stop, tell = observer.log, observer.stop, observer.tell
    study = SharedStudy(journal, name, seed=wanted.seed, worker=wanted.worker, workers=wanted.allowance.workers)
    mine = [t for t in study.trials(*FINISHED) if t.user_attrs.get(WORKER) == wanted.worker]
    clock = wanted.deadline or Deadline(wanted.allowance.wall_seconds)
    clock.budget = wanted.allowance.wall_seconds
    clock.spent = sum(float(t.user_attrs.get(_SECONDS, 0.0)) for t in mine)
    orphans = study.retry_orphans()
    if orphans:
        log.info("trials of a stopped worker are run again", extra={"trials": orphans})
    points = search_space.within(wanted.candidate, wanted.ranges, wanted.where, wanted.start)
    study.start_with(points, alone=wanted.role == "finish")
    runner = _Runner(wanted, folds, study, clock, stop)
    if study.trials(*FINISHED):  # what others, or an earlier attempt, have found is known at once
        tell(runner.progress())
    barren = 0
    while runner.may_start():
        if stop():
            raise Interrupted
        finished = runner.one()
        if finished is None:
            break
        barren = 0 if finished else barren + 1
        runner.enqueue_portfolio()
        if barren == _BARREN_TRIALS:
            raise JobFailed(
                f"{barren} trials in a row gave no finite {wanted.metric}",
                code="tuning_failed",
                fix="choose another training.metric, or narrow the model's `search` in settings.yaml",
            )
        seen = runner.progress()
        best = None if seen.best is None else round(seen.best, 5)
        facts = {"best_score": best, "metric": wanted.metric, "seconds_left": round(seen.seconds_left, 1)}
        log.info(f"trial {seen.trial} of {seen.trials}", extra=facts)
        tell(seen)
    runner.repeat()
    return _tuned(wanted, study, clock, runner)


class _Runner:
    """Trials of one worker, one at a time."""

    def __init__(
        self, wanted: Search, folds: Sequence[Fold], study: SharedStudy, clock: Deadline, stop: Callable[[], bool]
    ) -> None:
        self._wanted = wanted
        self._study = study
        self._clock = clock
        self._stop = stop
        self.folds = folds
        self.again: Sequence[Fold] = ()
        self.outputs: dict[int, list[np.ndarray]] = {}  # by trial of this process: what it predicts for each fold
        self.repeated: dict[int, list[np.ndarray]] = {}  # the same for each fold of `again`

    def may_start(self) -> bool:
        """Whether the budget allows another trial, of one round at least.

        Without any score so far it does, unless somebody else is at work.
        """
        if self._wanted.role != "tune" and not self._study.trials(TrialState.COMPLETE):
            return True
        rounds = (float(t.user_attrs.get(_ROUND, 0.0)) for t in self._study.trials(TrialState.COMPLETE))
        return self._wanted.role != "finish" and not self._too_many() and self._left() > max(rounds, default=0.0)

    def one(self) -> bool | None:
        """Run the next trial; True when it has a score or was pruned, None when others began the last ones meanwhile."""
        trial = self._study.ask()
        if self._wanted.role == "tune" and self._too_many(before=trial.number):
            self._study.study.tell(trial, state=TrialState.FAIL)
            return None
        started = time.monotonic()
        narrowed = NarrowedTrial(trial, self._wanted.ranges, self._wanted.where)
        params = self._wanted.candidate.search_space(narrowed)
        self._study.publish()
        value: float | None = None
        try:
            value, rounds = self._fit(trial, params)
            state = TrialState.COMPLETE if math.isfinite(value) else TrialState.FAIL
            trial.set_user_attr(_PARAMS, params)
            trial.set_user_attr(ROUNDS, rounds)
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except Exception as error:
            self._study.study.tell(trial, state=TrialState.FAIL)
            if narrowed.widened and isinstance(error, ValueError):
                raise _refused(self._wanted, narrowed.widened, params, error) from error
            raise
        trial.set_user_attr(_SECONDS, round(time.monotonic() - started, 3))
        try:
            self._study.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        except UpdateFinishedTrialError:  # this worker was taken for dead: the trial runs elsewhere
            return True
        return state in FINISHED

    def enqueue_portfolio(self) -> None:
        """After the first trial the rest of the portfolio; before it what learns in fewer rounds, where the budget ended the trial."""
        done, w = self._study.trials(*FINISHED), self._wanted
        if len(done) == 1:
            quick = [w.candidate.quick()] if done[0].user_attrs.get(_CUT) else []
            points = [*quick, *w.candidate.portfolio()[1:]]
            self._study.enqueue([p for p in search_space.within(w.candidate, w.ranges, w.where, points) if p])

    def progress(self) -> Progress:
        complete = self._study.trials(TrialState.COMPLETE)
        best = max((float(t.value or 0.0) for t in complete), default=None)
        done = len(self._study.trials(*FINISHED))
        budget = max(done, self._wanted.allowance.trials)
        return Progress(done, budget, best, max(0.0, self._left()), self._clock.elapsed())

    def _too_many(self, before: int | None = None) -> bool:
        """Whether as many trials as the budget has were begun, `before` one when given."""
        begun = self._study.trials(*FINISHED, TrialState.RUNNING)
        return sum(before is None or t.number < before for t in begun) >= self._wanted.allowance.trials

    def _left(self) -> float:
        """Seconds until the search must end, so that everything after it is still within the budget."""
        return self._unreserved() - self._repeats()

    def _unreserved(self) -> float:
        """Seconds that are left, less those reserved for the fits and what follows them."""
        unit = _longest(self._study.best(_trials_of(self._wanted.bag)), self.folds, self._wanted.after.pace)
        budget = self._clock.budget
        reserve = self._wanted.after.reserve(unit, budget) if unit.fit else 0.0
        return self._clock.left() - reserve

    def _repeats(self) -> float:
        """Seconds set aside for repeating the best trials."""
        if not self._repeatable():
            return 0.0
        each = (float(t.user_attrs.get(_SECONDS, 0.0)) for t in self._study.best(_CANDIDATES))
        return min(2 * sum(each), _REPEATS * self._clock.budget)

    def _repeatable(self) -> bool:
        """Whether an ensemble is chosen here, of many trials, by several folds that can be drawn anew: of few none is lucky."""
        w = self._wanted
        drawn = w.again is not None and w.role == "all" and w.bag > 1 and len(self.folds) > 1
        return drawn and len(self._study.trials(TrialState.COMPLETE)) >= _CANDIDATES

    def repeat(self) -> None:
        """Fit the best trials on folds drawn anew, the best first, as long as the time set aside for it allows.

        Few rows make lucky trials: of a hundred the best by one draw of folds is not the best by another.
        """
        end = self._clock.elapsed() + min(self._unreserved(), _REPEATS * self._clock.budget)
        for trial in self._study.best(_CANDIDATES):
            takes = float(trial.user_attrs.get(_SECONDS, 0.0))
            if not self._repeatable() or trial.number not in self.outputs or self._clock.elapsed() + takes > end:
                break
            if not self.again and self._wanted.again is not None:
                self.again = self._wanted.again()
            self.repeated[trial.number] = [self._repeated(trial, fold) for fold in self.again]

    def _repeated(self, trial: FrozenTrial, fold: Fold) -> np.ndarray:
        def goes_on(_progress: float, _score: float) -> bool:
            if self._stop():
                raise Interrupted
            return False

        w = self._wanted
        fit = TrialFit(
            trial.user_attrs[_PARAMS], fold, w.seed, w.jobs, w.classes, w.metric,
            lambda output: held_out.score_fold(w.metric, fold, np.asarray(output)), goes_on,
        )  # fmt: skip
        return np.asarray(w.candidate.train(fit).probabilities, dtype=np.float32)

    def _trial_left(self, *, first: bool) -> list[float]:
        """Seconds for the trial that begins now, by the number of folds it ends with.

        None may take what a second one, and what follows the search, need. The fewer folds it has for its time, the longer the
        fit on all rows takes.
        """
        trials = min(2, self._wanted.allowance.trials) if first else 1
        left, search_left = self._clock.left(), math.inf if first else self._left()
        ratio = 1 / _fitted_share(self.folds) ** 2
        return [
            min(search_left, self._wanted.after.trial_seconds(left, self._clock.budget, trials, ratio / fitted))
            for fitted in range(1, len(self.folds) + 1)
        ]

    def _fit(self, trial: optuna.Trial, params: dict[str, Any]) -> tuple[float, int]:
        """Mean score over the folds, mean rounds."""
        w = self._wanted
        first = not self._study.trials(TrialState.COMPLETE)
        callback = TrialCallback(
            trial, self._stop, self._trial_left(first=first), first=first, enough=w.candidate.enough(params)
        )
        scores, rounds, outputs, nodes = [], [], [], []
        for number, fold in enumerate(self.folds):
            callback.fold = number

            def score(probabilities: Any, fold: Fold = fold) -> float:
                return held_out.score_fold(w.metric, fold, np.asarray(probabilities))

            fitted = w.candidate.train(TrialFit(params, fold, w.seed, w.jobs, w.classes, w.metric, score, callback))
            scores.append(score(fitted.probabilities))
            rounds.append(fitted.rounds)
            nodes.append(fitted.nodes)
            outputs.append(np.asarray(fitted.probabilities, dtype=np.float32))
            if number + 1 < len(self.folds) and callback.after_fold(number, float(np.mean(scores))):
                break
        if w.role != "tune" and len(scores) == len(self.folds):
            self.outputs[trial.number] = outputs
            self._forget()
        trial.set_user_attr(_ROUND, round(callback.longest, 3))
        trial.set_user_attr(_FOLDS, len(scores))
        trial.set_user_attr(_NODES, float(np.mean(nodes)))
        trial.set_user_attr(_CUT, callback.cut)
        return float(np.mean(scores)), round(float(np.mean(rounds)))

    def _forget(self) -> None:
        """Outputs of trials that no ensemble will have make room."""
        if len(self.outputs) > _CANDIDATES:
            likely = {t.number for t in self._study.best(_CANDIDATES)} | {max(self.outputs)}
            self.outputs = {n: o for n, o in self.outputs.items() if n in likely}


def _refused(wanted: Search, widened: set[str], params: dict[str, Any], error: ValueError) -> SettingsError:
    """For an estimator that refuses a value which settings.yaml has added to the model's own range."""
    named = ", ".join(f"{n} = {params.get(n)!r}" for n in sorted(widened))
    what = f"the estimator refuses {named}: {str(error).splitlines()[0][:300]}"
    return search_space.invalid(wanted.where, min(widened), what, "stay within the model's own range")


def _longest(best: Sequence[FrozenTrial], folds: Sequence[Fold], pace: float) -> Member:
    """What one estimator of the last fit will take, at most, going by these trials; nothing without any.

    A fit on all rows has more rows and more rounds than one of a trial, each in proportion. The longest trial counts, not the
    mean: when a better one takes the place of a short one, no more time is needed than that one or the longest had.
    """
    each = [_member(t, folds, pace) for t in best]
    return Member(max((m.fit for m in each), default=0.0), max((m.export for m in each), default=0.0))


def _member(trial: FrozenTrial, folds: Sequence[Fold], pace: float) -> Member:
    fit = float(trial.user_attrs.get(_SECONDS, 0.0)) / int(trial.user_attrs.get(_FOLDS, len(folds)))
    return Member.of(fit / _fitted_share(folds) ** 2, _nodes(trial, folds), pace)


def _nodes(trial: FrozenTrial, folds: Sequence[Fold]) -> float:
    """Of the trees of its estimator fitted on all rows; 0: not known."""
    return float(trial.user_attrs.get(_NODES, 0.0)) / _fitted_share(folds)


def _rounds(trial: FrozenTrial, folds: Sequence[Fold]) -> float:
    """Of its estimator fitted on all rows."""
    return int(trial.user_attrs[ROUNDS]) / _fitted_share(folds) or _TREES


def _milliseconds(wanted: Search, trial: FrozenTrial, folds: Sequence[Fold]) -> float:
    """That its estimator fitted on all rows is estimated to take for one row."""
    each = wanted.classes if wanted.classes > 2 else 1  # trees of a round
    once = each if wanted.candidate.splits_alike(trial.user_attrs[_PARAMS]) else 1
    trees, nodes = _rounds(trial, folds) * each / once, _nodes(trial, folds) / once
    return ensemble_size.estimated_milliseconds(trees, nodes)


def _typical(members: Sequence[FrozenTrial], folds: Sequence[Fold], pace: float) -> Member:
    """What one member of these takes: the mean of all, but no less than the first one."""
    each = [_member(t, folds, pace) for t in members]
    if not each:
        return Member(0.0, 0.0)
    fit, export = float(np.mean([m.fit for m in each])), float(np.mean([m.export for m in each]))
    return Member(max(fit, each[0].fit), max(export, each[0].export))


def _tuned(
    wanted: Search,
    study: SharedStudy,
    clock: Deadline,
    runner: _Runner,
) -> Tuned:
    study.refresh()
    folds = runner.folds
    best = study.best(max(wanted.bag, 5))
    selection = _Selection(wanted, study, clock, runner)
    chosen = selection.chosen() if best else []
    crossed = selection.crossed() if best else []
    score = float(best[0].value or 0.0) if best else math.nan
    if crossed:
        score = float(np.mean([held_out.score_fold(wanted.metric, f, o) for f, o in zip(folds, crossed, strict=True)]))
    nodes = [_nodes(t, folds) for t, _ in chosen]
    chosen = chosen[: ensemble_size.members([_rounds(t, folds) for t, _ in chosen], nodes, wanted.classes)]
    each = [_milliseconds(wanted, t, folds) for t, _ in chosen]
    chosen = chosen[: ensemble_size.within(each, wanted.milliseconds)]
    trials = study.trials(*FINISHED)
    by_worker = {wanted.worker: clock.elapsed()}
    for t in trials:
        if (number := int(t.user_attrs.get(WORKER, 0))) != wanted.worker:
            by_worker[number] = by_worker.get(number, 0.0) + float(t.user_attrs.get(_SECONDS, 0.0))
    return Tuned(
        members=_members(wanted, chosen, _fitted_share(folds)),
        score=score,
        trials=len(trials),
        seconds=max(by_worker.values()),
        money=wanted.allowance.spent(sum(by_worker.values())),
        points=tuple(Point(t.params, float(t.value or 0.0)) for t in best),
        curve=study.curve(),
        member=_typical([t for t, _ in chosen], folds, wanted.after.pace),
        weights=tuple(weight for _, weight in chosen),
        milliseconds=tuple(each[: len(chosen)]),
        outside=tuple((f.places, o) for f, o in zip(folds, crossed, strict=False) if f.places is not None),
    )


class _Selection:
    """Of trials into the ensemble of the last fit, by their predictions for validation rows."""

    def __init__(
        self,
        wanted: Search,
        study: SharedStudy,
        clock: Deadline,
        runner: _Runner,
    ) -> None:
        self._wanted = wanted
        self._clock = clock
        self._folds, outputs = runner.folds, runner.outputs
        self._runner = runner
        self._best = study.best(max(wanted.bag, _CANDIDATES))
        self._each = {t.number: _milliseconds(wanted, t, runner.folds) for t in self._best}
        known = {t.number: outputs[t.number] for t in self._best if t.number in outputs}
        # Without those of the best trial, as after an interruption, they say nothing of what would be chosen.
        self._known = known if self._best and self._best[0].number in known else {}

    def chosen(self) -> list[tuple[FrozenTrial, float]]:
        """The trial of each member, and the weight of its parameters.

        The ensemble that predicts validation rows best. Without the trials' predictions it is the better half of the bag's
        size. Members are left: other seeds of a good trial, which beat a lesser trial.
        """
        bag = self._wanted.bag
        if bag == 1 or not self._known:
            few = self._best[: _trials_of(bag)]
            repeated = [few[number % len(few)] for number in range(bag)]
            return [(t, float(repeated.count(t))) for t in repeated]
        folds, known = self._with_repeats()
        weights = ensemble_selection.select(
            known, self._wanted.candidate.blended, self._score(folds), bag, self._until(_SELECTION), self._fits
        )
        by_number, numbers = {t.number: t for t in self._best}, list(weights)
        varying = [n for n in numbers if self._wanted.candidate.varies(by_number[n].user_attrs[_PARAMS])]
        while len(numbers) < bag and (able := [n for n in varying if self._fits([*numbers, n])]):
            numbers.append(max(able, key=lambda n: (weights[n] / numbers.count(n), -n)))
        return [(by_number[n], float(weights[n])) for n in numbers]

    def _fits(self, numbers: Collection[int]) -> bool:
        """Whether members of these trials, one of each time a trial is named, are estimated to answer a row in time."""
        most = self._wanted.milliseconds
        return most is None or sum(self._each[n] for n in numbers) <= most

    def _with_repeats(self) -> tuple[Sequence[Fold], dict[int, list[np.ndarray]]]:
        """The folds to select on, and what each trial predicts for them, the best first: with the repeated folds, where enough
        trials for an ensemble were repeated.
        """
        repeated = {n: [*self._known[n], *o] for n, o in self._runner.repeated.items() if n in self._known}
        if len(repeated) < min(self._wanted.bag, len(self._known)):
            return self._folds, self._known
        folds = [*self._folds, *self._runner.again]
        score = self._score(folds)
        alone = {n: float(np.mean([score(f, o) for f, o in enumerate(each)])) for n, each in repeated.items()}
        return folds, {n: repeated[n] for n in sorted(repeated, key=lambda n: -alone[n])}

    def crossed(self) -> list[np.ndarray]:
        """What is chosen without a fold's validation rows (of one fold: without every second one of them) predicts for them;
        nothing where the trials' predictions are not known.
        """
        if not self._known:
            return []
        if len(self._folds) > 1:
            return self._crossed(self._folds, self._known)
        order = np.random.default_rng(self._wanted.seed).permutation(len(self._folds[0].y_valid))
        halves = [order[::2], order[1::2]]
        parts = self._crossed(
            [_validated(self._folds[0], h) for h in halves],
            {t: [o[0][h] for h in halves] for t, o in self._known.items()},
        )
        whole = np.empty((len(order), *parts[0].shape[1:]))
        for half, part in zip(halves, parts, strict=True):
            whole[half] = part
        return [whole]

    def _crossed(self, folds: Sequence[Fold], outputs: Mapping[int, Sequence[np.ndarray]]) -> list[np.ndarray]:
        blended = self._wanted.candidate.blended if self._wanted.bag > 1 else lambda alone, _: alone[0]
        return ensemble_selection.cross_selected(
            outputs, blended, self._score(folds), self._wanted.bag, self._until(_SELECTION), self._fits
        )

    def _score(self, folds: Sequence[Fold]) -> Callable[[int, np.ndarray], float]:
        return lambda fold, output: held_out.score_fold(self._wanted.metric, folds[fold], output)

    def _until(self, share: float) -> Callable[[], bool]:
        """Whether this share of the budget, from now, is not over."""
        end = self._clock.elapsed() + share * self._clock.budget
        return lambda: self._clock.elapsed() < end


def _validated(fold: Fold, rows: np.ndarray) -> Fold:
    """The fold with these of its validation rows alone."""
    weight = None if fold.weight_valid is None else fold.weight_valid[rows]
    return replace(fold, x_valid=fold.x_valid[rows], y_valid=fold.y_valid[rows], weight_valid=weight)


def _members(wanted: Search, chosen: list[tuple[FrozenTrial, float]], share: float) -> tuple[dict[str, Any], ...]:
    """Their parameters as the last fit takes them."""
    created = []
    for trial, _ in chosen:
        rounds = int(trial.user_attrs[ROUNDS])
        counted = {wanted.candidate.rounds: max(1, round(rounds / share))} if rounds else {}
        created.append({**trial.user_attrs[_PARAMS], **counted})
    return tuple(created)


def _trials_of(bag: int) -> int:
    """How many of the best trials a bag of this size is made of."""
    return (bag + 1) // 2


def _fitted_share(folds: Sequence[Fold]) -> float:
    """Share of the training rows that a trial is fitted on."""
    return len(folds[0].y) / (len(folds[0].y) + len(folds[0].y_valid))
