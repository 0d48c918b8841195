"""One training job from message to result."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from dropforge.config import settings_store
from dropforge.config.settings import ModelSettings, Settings
from dropforge.datasets.dataset_manifest import DatasetManifest
from dropforge.datasets.dataset_store import load_manifest
from dropforge.datasets.table_schema import ROW_HASH, probability_columns
from dropforge.inference.calibrate import calibrate
from dropforge.messages import Evidence, JobResult, TrainingJob
from dropforge.metrics import is_own, label
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge.ports import Function, ObjectStore
from dropforge.s3_uri import join
from dropforge_training.card import card_facts as card
from dropforge_training.card import html_page, regression_facts
from dropforge_training.data import training_table
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.evaluate import champion, held_out, periods
from dropforge_training.evaluate.champion import Served
from dropforge_training.evaluate.metrics import score
from dropforge_training.export import bundle_builder as bundle
from dropforge_training.export import example_rows
from dropforge_training.fit import calibration, out_of_fold, refit, target_transform
from dropforge_training.fit.out_of_fold import Fitted, FittedNumbers
from dropforge_training.interruption import Interrupted
from dropforge_training.models import model_spec
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline, decide
from dropforge_training.search import job_search, tuner
from dropforge_training.worker.deadline import Deadline
from dropforge_training.worker.mlflow_run import JobRun
from dropforge_training.worker.progress_reporter import Note, Reporter
from dropforge_training.worker.tune_job import cores

_HELDOUT = "heldout.parquet"
_COMPARISON = "comparison.json"


def run_job(
    job: TrainingJob,
    *,
    store: ObjectStore,
    tracking_uri: str,
    data_bucket: str,
    log: logging.Logger,
    stop: Callable[[], bool],
    python: Callable[[], Function | None] = lambda: None,
) -> JobResult:
    """Tune, fit, evaluate, export, log. A job that finished before answers from its run without training again.

    `python`: makes the function that runs a champion without a graph.

    Raises JobFailed or SettingsError when trying again cannot help, Unavailable when it can, Interrupted when `stop` said so.
    """
    deadline = Deadline(job.budget.seconds)
    settings = settings_store.read(store, job.settings_uri)
    chosen = job_search.chosen(settings, job)
    run = JobRun(tracking_uri, settings, job)
    stored = run.stored_result()
    if stored is not None:
        log.info("finished before: answering from its run", extra={"run_id": run.run_id})
        return stored
    note = Note(store, data_bucket, job, settings.training.metric, log)
    with note, tempfile.TemporaryDirectory(prefix="dropforge-job-") as folder:
        manifest = load_manifest(store, job.dataset_uri)
        loaded = training_table.load(store, manifest, settings, Path(folder))
        data = target_transform.with_transform(loaded, settings.training)
        log.info(
            "data loaded",
            extra={"train_rows": len(data.train), "heldout_rows": len(data.heldout), "unlabelled": data.unlabelled},
        )
        if data.dropped or data.beyond:
            # Labels are values of the data and stay out of the log.
            log.warning(
                "rows or values cannot be learned from",
                extra={"rows_of_lone_classes": sum(data.dropped.values()), "beyond_float32": dict(data.beyond)},
            )
        with threadpool_limits(cores(len(data.train))):  # OpenMP and BLAS, for models that take no thread count
            fitted, tuned = _fit(job, chosen, data, settings, store, data_bucket, run, note, deadline, log, stop)
        if stop():
            raise Interrupted
        now_served = champion.score(store, data_bucket, data, settings, log, python)
        result = _finish(job, manifest, data, fitted, tuned, now_served, run, settings, Path(folder), log, deadline)
    seconds = round(deadline.elapsed(), 1)
    measured = {"TrainingSeconds": seconds, "BestScore": tuned.score}
    log.info(
        "trained",
        extra={"seconds": seconds, "run_id": run.run_id, "metrics": measured, **_rounded(result.metrics)},
    )
    return result


def _fit(
    job: TrainingJob,
    chosen: ModelSettings,
    data: TrainingData,
    settings: Settings,
    store: ObjectStore,
    data_bucket: str,
    run: JobRun,
    note: Note,
    deadline: Deadline,
    log: logging.Logger,
    stop: Callable[[], bool],
) -> tuple[Fitted | FittedNumbers, tuner.Tuned]:
    candidate = model_spec.load(chosen.import_path, settings.data.task)
    jobs = cores(len(data.train))
    with Reporter(run, log, note=note) as tell:
        tuned = job_search.run(
            job,
            candidate,
            chosen,
            data,
            settings,
            store=store,
            data_bucket=data_bucket,
            jobs=jobs,
            deadline=deadline,
            log=log,
            stop=stop,
            tell=tell,
        )
    note.stage("fitting")
    markers = data.markers(settings)
    if job.role == "finish":  # the workers' time is the user's
        deadline.spent = tuned.seconds
    wanted = job_search.shares(candidate, chosen, data, job.seed)
    allowed = wanted.affordable(tuned.fit_seconds, deadline.budget, deadline.left())
    members, weights = tuned.bag(allowed.members)
    if allowed != wanted:
        log.info("less than wanted: the budget ends", extra={"members": allowed.members, "folds": allowed.folds})

    def on(rows: Table) -> Pipeline:
        return refit.fit(candidate, data, rows, markers, members, seed=job.seed, jobs=jobs, weights=weights)

    def allows(fits: int, longest: float) -> bool:
        return fits < allowed.folds and (fits == 0 or deadline.allows_fit(longest))

    fitted = out_of_fold.fit(on, data, settings, seed=job.seed, log=log, stop=stop, allows=allows)
    log.info("fitted on all training rows", extra={"params": tuned.params, "bag": len(members)})
    return fitted, tuned


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """The fitted model as it will be served. `card`: makes the model card of the scores' intervals and what the caller knows."""

    model: LabelledPipeline | NumberPipeline
    bundle: bundle.Bundle
    rows: Rows
    metrics: dict[str, float]
    card: Callable[[Evidence, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Context:
    """What evaluating a model needs besides it."""

    job: TrainingJob
    candidate: model_spec.ModelSpec
    data: TrainingData
    settings: Settings
    origin: bundle.Origin
    log: logging.Logger
    seconds: float  # that measuring the columns' importance may take


def _classification(fitted: Fitted, c: _Context) -> _Evaluated:
    model, current, metric = fitted.model, c.data.heldout, c.settings.training.metric
    raw = model.raw(current.x)
    probabilities = calibrate(model.calibration, raw)
    codes = np.searchsorted(model.classes_, decide(probabilities, model.classes_, model.threshold, model.positive))
    rows = Rows(
        current.y,
        codes,
        probabilities,
        c.data.classes.index(c.data.positive) if c.data.positive else None,
        current.weight,
    )
    metrics = held_out.evaluate(current.y, probabilities, codes, rows.positive, current.weight)
    metrics |= held_out.uncalibrated(current.y, raw, rows.positive, current.weight)
    metrics |= _own(c.settings, rows)
    ranked = card.importance(model, current, metric, rows.positive, c.job.seed, c.seconds)
    importance = {i["column"]: i["mean"] for i in ranked}
    built = bundle.build(
        model, c.candidate, c.data, c.settings, c.origin, metrics=metrics, importance=importance, log=c.log
    )

    def model_card(known: Evidence, facts: dict[str, Any]) -> dict[str, Any]:
        return card.card(
            model,
            current,
            rows,
            raw,
            classes=c.data.classes,
            groups=c.data.groups,
            metric=metric,
            metrics=metrics,
            importance=ranked,
            served_probabilities=built.checked.output,
            known=known,
            seed=c.job.seed,
            facts={
                **facts,
                "calibration": calibration.summary(fitted.calibration),
                "threshold_reason": fitted.threshold_reason,
            },
        )

    return _Evaluated(model, built, rows, metrics, model_card)


def _own(settings: Settings, rows: Rows) -> dict[str, float]:
    """The scores of the rows by the project's own metrics."""
    names = {settings.training.metric, settings.promotion.metric}
    return {name: score(name, rows) for name in sorted(names) if is_own(name)}


def _regression(fitted: FittedNumbers, c: _Context) -> _Evaluated:
    model, current, metric = fitted.model, c.data.heldout, c.settings.training.metric
    rows = of_numbers(current.y, model.predict(current.x), current.weight)
    metrics = held_out.evaluate_numbers(current.y, rows.guess, current.weight)
    metrics |= _own(c.settings, rows)
    ranked = regression_facts.importance(model, current, metric, c.job.seed, c.seconds)
    importance = {i["column"]: i["mean"] for i in ranked}
    built = bundle.build(
        model,
        c.candidate,
        c.data,
        c.settings,
        c.origin,
        metrics=metrics,
        importance=importance,
        log=c.log,
        width=fitted.width,
    )
    residuals = c.data.fitted(current.y) - built.checked.output
    uncertain = regression_facts.Calibration(residuals, built.checked.widths)

    def model_card(known: Evidence, facts: dict[str, Any]) -> dict[str, Any]:
        return regression_facts.card(
            model,
            current,
            rows,
            uncertain,
            groups=c.data.groups,
            metric=metric,
            metrics=metrics,
            importance=ranked,
            known=known,
            seed=c.job.seed,
            facts=facts,
        )

    return _Evaluated(model, built, rows, metrics, model_card)


def _finish(
    job: TrainingJob,
    manifest: DatasetManifest,
    data: TrainingData,
    fitted: Fitted | FittedNumbers,
    tuned: tuner.Tuned,
    now_served: Served | None,
    run: JobRun,
    settings: Settings,
    folder: Path,
    log: logging.Logger,
    deadline: Deadline,
) -> JobResult:
    """Evaluate, export, compare with the champion, write the card, log it all."""
    chosen = next(m for m in settings.models if m.name == job.model)
    candidate = model_spec.load(chosen.import_path, settings.data.task)
    origin = bundle.Origin(job.model, run.run_id, manifest.dataset_id)
    context = _Context(job, candidate, data, settings, origin, log, deadline.explanation_seconds())
    judged = _regression(fitted, context) if isinstance(fitted, FittedNumbers) else _classification(fitted, context)
    built = judged.bundle
    built.write(folder / "bundle")
    run.put(folder / "bundle", "bundle")
    compared = champion.compare(now_served, judged.rows, data, settings)
    _write_evaluation(folder, data, judged.rows, now_served, compared)
    run.put(folder / "evaluation", "evaluation")
    names = tuple(dict.fromkeys((settings.promotion.metric, settings.training.metric)))
    known = card.evidence(judged.rows, fitted.out_of_fold, names, job.seed)
    facts = {
        "model": job.model,
        "trials": tuned.trials,
        "dataset_id": manifest.dataset_id,
        "train_rows": len(data.train),
    }
    metric = settings.training.metric
    created = judged.card(
        known,
        {
            **facts,
            "project": settings.project,
            "run_id": run.run_id,
            "upload_id": job.upload_id,
            "target": settings.data.target,
            "heldout_rows": len(data.heldout),
            "split": periods.rule(data),
            "periods": periods.scores(metric, data, judged.rows, fitted.out_of_fold, fitted.places, job.seed),
            "params": tuned.params,
            "parity": built.manifest.parity,
            "comparison": compared,
            "tuning": {"score": tuned.score, "seconds": tuned.seconds, "curve": tuned.curve},
        },
    )
    _write_card(folder, created)
    run.put(folder / "card")
    run.log_facts(
        {**facts, **tuned.params},
        {
            **{f"heldout.{label(k)}": v for k, v in judged.metrics.items()},
            **card.logged(created),
            "tuning.best_score": tuned.score,
            "tuning.seconds": tuned.seconds,
            "parity.max_abs_difference": built.manifest.parity["max_abs_difference"],
        },
    )
    run.log_dataset(manifest.source[:200] or "training", manifest.dataset_id, job.dataset_uri, data.rows)
    example = example_rows.row(data.train.x, {c.name: c.kind for c in data.features})
    source = run.log_model(judged.model, example, model_spec.own_code(candidate))
    result = JobResult(
        model=job.model,
        run_id=run.run_id,
        model_source=source,
        bundle_uri=join(run.artifact_uri, "bundle"),
        bundle_sha256=built.sha256,
        predictions_uri=join(run.artifact_uri, "evaluation", _HELDOUT),
        comparison_uri=join(run.artifact_uri, "evaluation", _COMPARISON),
        metrics=judged.metrics,
        evidence=known,
    )
    run.finish(result)
    return result


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / "card").mkdir()
    (folder / "card" / "model_card.json").write_text(json.dumps(card, indent=1, allow_nan=False))
    (folder / "card" / "model_card.html").write_text(html_page.render(card))


def _write_evaluation(
    folder: Path, data: TrainingData, rows: Rows, now_served: Served | None, compared: dict[str, Any]
) -> None:
    """What the gate decides by; and for each held-out row its hash, true label, what this model predicts, and the served one."""
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / _COMPARISON).write_text(json.dumps(compared, indent=1, allow_nan=False))
    columns: dict[str, Any] = {ROW_HASH: data.heldout.row}
    beside = now_served.rows if now_served is not None else None
    if data.regression:
        columns |= {"label": data.heldout.y, "predicted": rows.guess}
        columns |= {"served": beside.guess} if beside is not None else {}
    else:
        columns["label"] = np.array(data.classes, dtype=object)[data.heldout.y]
        columns |= {c: rows.probabilities[:, i] for i, c in enumerate(probability_columns(data.classes))}
        if beside is not None:
            columns |= {f"served.{c}": beside.probabilities[:, i] for i, c in enumerate(data.classes)}
    pd.DataFrame(columns).to_parquet(folder / "evaluation" / _HELDOUT, index=False)


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {k: round(metrics[k], 4) for k in ("roc_auc", "log_loss", "rmse", "r2") if k in metrics}
