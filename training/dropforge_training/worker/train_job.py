"""One training job from message to result."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dropforge.datasets.dataset_manifest import DatasetManifest
from dropforge.datasets.dataset_store import load_manifest
from dropforge.datasets.table_schema import ROW_HASH, probability_columns
from dropforge.messages import JobResult, TrainingJob
from dropforge.metrics import label
from dropforge.metrics.weighted_rows import Rows
from dropforge.s3_uri import join
from dropforge_training.card import card_facts as card
from dropforge_training.card import html_page
from dropforge_training.data import training_table
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import champion, periods
from dropforge_training.evaluate.champion import Served
from dropforge_training.export import bundle_builder as bundle
from dropforge_training.export import example_rows
from dropforge_training.fit import out_of_fold
from dropforge_training.fit.out_of_fold import FitOptions, Fitted, FittedNumbers
from dropforge_training.fit.refit import Refit
from dropforge_training.interruption import Interrupted
from dropforge_training.job_context import JobContext, WorkerPorts
from dropforge_training.models import model_spec
from dropforge_training.search import job_search, tuner
from dropforge_training.worker import row_limit
from dropforge_training.worker.deadline import Deadline, Shares
from dropforge_training.worker.job_evaluation import Evaluated, evaluate
from dropforge_training.worker.mlflow_run import JobRun
from dropforge_training.worker.progress_reporter import Note, Reporter
from dropforge_training.worker.tune_job import cores

_HELDOUT = "heldout.parquet"
_COMPARISON = "comparison.json"


def run_job(job: TrainingJob, ports: WorkerPorts, stop: Callable[[], bool]) -> JobResult:
    """Tune, fit, evaluate, export, log. A job that finished before answers from its run without training again.

    Raises JobFailed or SettingsError when trying again cannot help, Unavailable when it can, Interrupted when `stop` said so.
    """
    context = JobContext.of(job, ports, stop)
    settings, store, log = context.settings, ports.store, ports.log
    run = JobRun(ports.tracking_uri, settings, job)
    stored = run.stored_result()
    if stored is not None:
        log.info("finished before: answering from its run", extra={"run_id": run.run_id})
        return stored
    note = Note(store, ports.data_bucket, job, settings.training.metric, log)
    with note, tempfile.TemporaryDirectory(prefix="dropforge-job-") as folder:
        manifest = load_manifest(store, job.dataset_uri)
        data = _load(context, manifest, Path(folder))
        with threadpool_limits(cores(len(data.train))):  # OpenMP and BLAS, for models that take no thread count
            origin = bundle.Origin(context.candidate(), data, settings, job.model, run.run_id, manifest.dataset_id)
            trained = _fit(context, origin, run, note)
            if stop():
                raise Interrupted
            now_served = champion.score(store, ports.data_bucket, data, settings, log, ports.python)
            result = _finish(context, replace(trained, champion=now_served), manifest, run, Path(folder))
    seconds = round(context.deadline.elapsed(), 1)
    measured = {"TrainingSeconds": seconds, "BestScore": trained.tuned.score}
    log.info(
        "trained",
        extra={"seconds": seconds, "run_id": run.run_id, "metrics": measured, **_rounded(result.metrics)},
    )
    return result


def _load(context: JobContext, manifest: DatasetManifest, folder: Path) -> TrainingData:
    settings, log = context.settings, context.log
    loaded = training_table.load(context.store, manifest, settings, folder)
    data = job_search.decided(context, loaded, jobs=cores(len(loaded.train)))
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
    return data


def _fit(context: JobContext, origin: bundle.Origin, run: JobRun, note: Note) -> _Trained:
    job, deadline, log, data = context.job, context.deadline, context.log, origin.data
    candidate, jobs = origin.candidate, cores(len(data.train))
    with Reporter(run, log, note=note) as tell:
        tuned = job_search.run(context, candidate, data, jobs=jobs, tell=tell)
    note.stage("fitting")
    markers = data.markers(context.settings)
    if job.role == "finish":  # the workers' time is the user's
        deadline.spent = tuned.seconds
    wanted = job_search.shares(candidate, context.model, data, job.seed)
    allowed, known = _affordable(wanted, tuned, deadline, len(data.train))
    members, weights = tuned.bag(allowed.members)
    if allowed != wanted:
        log.info("less than wanted: the budget ends", extra={"members": allowed.members, "folds": allowed.folds})

    refit = Refit(candidate, data, markers, members, job.seed, jobs, weights, beyond=allowed.growth > 1)
    if data.beyond_memory is not None:
        facts = {"rows": data.beyond_memory.rows, "rows_in_memory": data.rows, "last_fit_on_all": refit.on_all_rows}
        log.info("more rows than are held in memory", extra=facts)
    last = refit.last(data.train)
    if context.stop():
        raise Interrupted
    limited = row_limit.within_limit(refit, last, origin, tuned, log)
    after = len(limited.refit.members) * tuned.member.export + wanted.base(deadline.budget)

    def allows(fits: int, longest: float) -> bool:
        return fits < allowed.folds and (fits == 0 or deadline.allows_fit(longest, after))

    options = FitOptions(job.seed, log, context.stop, allows, known)
    fitted = out_of_fold.fit(limited.refit, limited.pipeline, data, context.settings, options)
    log.info("fitted on all training rows", extra={"params": tuned.params, "bag": len(limited.refit.members)})
    score = _served_score(context.settings.training.metric, tuned.score, fitted)
    return _Trained(limited.origin, fitted, replace(tuned, score=score), limited.facts())


def _affordable(
    wanted: Shares, tuned: tuner.Tuned, deadline: Deadline, rows: int
) -> tuple[Shares, out_of_fold.Outside | None]:
    """What of `wanted` time is left for; where trials have predicted more of the training rows than the out-of-fold fits among it
    would, their predictions in the place of these fits.
    """
    allowed = wanted.affordable(tuned.member, deadline.budget, deadline.left())
    known = tuned.validated if allowed.folds < wanted.folds else None
    if known is None or len(known[0]) <= allowed.folds * (1 - wanted.fold_rows) * rows:
        return allowed, None
    return replace(wanted, folds=0).affordable(tuned.member, deadline.budget, deadline.left()), known


def _served_score(metric: str, score: float, fitted: Fitted | FittedNumbers) -> float:
    """A validation score as the model is served: a log loss, which alone depends on calibration, with what that gains out of fold."""
    if metric != "log_loss" or not isinstance(fitted, Fitted) or fitted.calibration.calibration is None:
        return score
    losses = fitted.calibration.losses
    return score + losses["none"] - losses[fitted.calibration.calibration.kind]


@dataclass(frozen=True, slots=True)
class _Trained:
    """What was fitted, on which rows, and the active model's scores on the same held-out rows (None: there is none).

    `one_row`: what one row takes, see row_limit.LimitedEnsemble.facts.
    """

    origin: bundle.Origin
    fitted: Fitted | FittedNumbers
    tuned: tuner.Tuned
    one_row: dict[str, Any]
    champion: Served | None = None

    @property
    def data(self) -> TrainingData:
        """The rows."""
        return self.origin.data


def _finish(context: JobContext, trained: _Trained, manifest: DatasetManifest, run: JobRun, folder: Path) -> JobResult:
    """Evaluate, export, compare with the champion, write the card, log it all."""
    job, settings, data = context.job, context.settings, trained.data
    evaluated = evaluate(trained.fitted, trained.origin, job.seed, context.deadline.explanation_seconds(), context.log)
    built = evaluated.bundle
    built.write(folder / "bundle")
    run.put(folder / "bundle", "bundle")
    compared = champion.compare(trained.champion, evaluated.rows, data, settings)
    _write_evaluation(folder, data, evaluated.rows, trained.champion, compared)
    run.put(folder / "evaluation", "evaluation")
    names = tuple(dict.fromkeys((settings.promotion.metric, settings.training.metric)))
    known = card.evidence(evaluated.rows, trained.fitted.out_of_fold, names, job.seed)
    facts = {
        "model": job.model,
        "trials": trained.tuned.trials,
        "dataset_id": manifest.dataset_id,
        "train_rows": len(data.train),
        **({"rows_beyond_memory": data.beyond_memory.rows - data.rows} if data.beyond_memory else {}),
    }
    created = evaluated.card(known, {**facts, **_card_facts(context, trained, evaluated, run.run_id, compared)})
    _write_card(folder, created)
    run.put(folder / "card")
    run.log_params({**facts, **trained.tuned.params})
    run.log_dataset(manifest.source[:200] or "training", manifest.dataset_id, job.dataset_uri, data.rows)
    example = example_rows.row(data.train.x, {c.name: c.kind for c in data.features})
    metrics = _logged_metrics(evaluated, trained.tuned, created)
    source = run.log_model(evaluated.model, example, metrics, model_spec.own_code(trained.origin.candidate))
    result = JobResult(
        model=job.model,
        run_id=run.run_id,
        model_source=source,
        bundle_uri=join(run.artifact_uri, "bundle"),
        bundle_sha256=built.sha256,
        predictions_uri=join(run.artifact_uri, "evaluation", _HELDOUT),
        comparison_uri=join(run.artifact_uri, "evaluation", _COMPARISON),
        metrics=evaluated.metrics,
        evidence=known,
    )
    run.finish(result)
    return result


def _card_facts(
    context: JobContext, trained: _Trained, evaluated: Evaluated, run_id: str, compared: dict[str, Any]
) -> dict[str, Any]:
    """What the card says of the job, the rows and the search."""
    data, fitted, tuned = trained.data, trained.fitted, trained.tuned
    metric, seed = context.settings.training.metric, context.job.seed
    return {
        "project": context.settings.project,
        "run_id": run_id,
        "upload_id": context.job.upload_id,
        "target": context.settings.data.target,
        "heldout_rows": len(data.heldout),
        "split": periods.rule(data),
        "periods": periods.scores(metric, data, evaluated.rows, fitted.out_of_fold, fitted.places, seed),
        "params": tuned.params,
        "parity": evaluated.bundle.manifest.parity,
        "one_row": trained.one_row,
        "comparison": compared,
        "tuning": {"score": tuned.score, "seconds": tuned.seconds, "curve": tuned.curve},
    }


def _logged_metrics(evaluated: Evaluated, tuned: tuner.Tuned, created: dict[str, Any]) -> dict[str, float]:
    """The run's metrics in MLflow. `created`: the model card."""
    return {
        **{f"heldout.{label(k)}": v for k, v in evaluated.metrics.items()},
        **card.logged(created),
        "tuning.best_score": tuned.score,
        "tuning.seconds": tuned.seconds,
        "parity.max_abs_difference": evaluated.bundle.manifest.parity["max_abs_difference"],
    }


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
