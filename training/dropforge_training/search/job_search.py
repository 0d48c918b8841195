"""The search of one training job: settings, budget, folds, the shared study, a warm start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from threadpoolctl import threadpool_limits

from dropforge import keys
from dropforge.config.cost_estimate import worker_hour
from dropforge.config.settings import ModelSettings, Settings
from dropforge_training.data.training_table import TrainingData
from dropforge_training.fit import clock_columns, out_of_fold, target_transform
from dropforge_training.job_context import JobContext
from dropforge_training.models.model_spec import Fold, ModelSpec
from dropforge_training.search import study, tuner, validation_folds
from dropforge_training.search.study_budget import TuningBudget
from dropforge_training.search.study_journal import Journal
from dropforge_training.worker.deadline import Shares, pace

_FEW_ROWS = 2_000  # below which the best trials are repeated on folds drawn anew
_OTHER = 10_007  # added to the seed of these folds


def decided(context: JobContext, loaded: TrainingData, *, jobs: int) -> TrainingData:
    """The rows with what is decided of target and columns before any trial. A pickled pipeline is given every column.

    jobs: threads, also of the small fits that compare transforms of the target: of a few rows each, more of them only wait.
    """
    training = context.settings.training
    with threadpool_limits(jobs):
        data = target_transform.with_transform(loaded, training)
        if context.model.serve == "python":
            return data
        markers = data.markers(context.settings)
        return clock_columns.without_clock(
            data, context.candidate(), markers, training.metric, seed=context.job.seed, jobs=jobs
        )


def run(
    context: JobContext, candidate: ModelSpec, data: TrainingData, *, jobs: int, tell: Callable[[tuner.Progress], None]
) -> tuner.Tuned:
    """Tune within the job's budget, in the study of its name; a new study starts with the best points of the model's last one.

    jobs: threads of a fit; tell: called with the progress after each trial. What comes back and what is raised: see tuner.tune.
    """
    job, settings, model, store = context.job, context.settings, context.model, context.store
    candidate = candidate.for_log_means() if data.of_the_mean else candidate.for_classes(len(data.classes))
    price = worker_hour(settings.cost)
    points = study.points_uri(context.data_bucket, job.model)
    # A new study: a quarter of its trials at most look at what was good before, the rest at what nobody has tried.
    known = study.read_points(store, points)[: max(1, job.budget.trials // 4)]
    config = tuner.Search(
        candidate=candidate,
        model=job.model,
        metric=settings.training.metric,
        classes=len(data.classes),
        positive=data.classes.index(data.positive) if data.positive else 1,
        seed=job.seed,
        jobs=jobs,
        ranges=model.search,
        where=lambda key: settings.place("models", settings.models.index(model), "search", key),
        allowance=TuningBudget(
            job.budget.trials, job.budget.seconds, job.budget.money, price, max(1, len(job.workers))
        ),
        bag=members(candidate, model),
        after=shares(candidate, model, data, job.seed),
        deadline=context.deadline,
        start=(*known, candidate.first()),
        worker=job.worker,
        role=job.role,
        again=_again(candidate, data, settings, job.seed),
        milliseconds=settings.serving.max_milliseconds,
    )
    journal = Journal(store, keys.study(context.data_bucket, job.job_id))
    rows = validation_folds.make(candidate, data, data.markers(settings), job.seed)
    tuned = tuner.tune(config, rows, journal, job.job_id, tuner.Observer(context.log, context.stop, tell))
    if job.role != "tune":
        study.store_warm_start(store, points, job.job_id, settings.training.metric, list(tuned.points))
    return tuned


def _again(
    candidate: ModelSpec, data: TrainingData, settings: Settings, seed: int
) -> Callable[[], Sequence[Fold]] | None:
    """Draws the folds of few rows anew, where it is chance that draws them."""
    if len(data.train) >= _FEW_ROWS or data.train.time is not None:
        return None
    return lambda: validation_folds.make(candidate, data, data.markers(settings), seed + _OTHER)


def members(candidate: ModelSpec, model: ModelSettings) -> int:
    """Estimators of the last fit."""
    return model.bag if candidate.blends else 1


def shares(candidate: ModelSpec, model: ModelSettings, data: TrainingData, seed: int) -> Shares:
    """What follows the search, as far as the settings and the rows ask for it, at the pace of this moment."""
    fits, rows = out_of_fold.wanted_fits(data, seed)
    beyond = data.beyond_memory
    # Whether all members of the last fit will read batches is known when they are: until then time is left for it.
    grows = beyond is not None and candidate.reads_batches(candidate.first())
    every = len(data.train) + len(data.heldout)
    growth = beyond.rows / max(1, every) if beyond and grows else 1.0
    return Shares(members(candidate, model), fits, rows, pace(), growth)
