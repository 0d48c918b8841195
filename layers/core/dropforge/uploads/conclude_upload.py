"""End of the line for one upload: register every trained candidate, label them, close the record.

Every call may be a repeat: one run is one version, and a closed record is the decision: a repeat registers, labels and judges
nothing, and gives the same answer.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from dropforge import ids
from dropforge.analysis.report import training_section
from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.deployment.active_model import ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import BundleRejected, Conflict, NotFound
from dropforge.messages import ConcludeRequest, Conclusion, JobResult, ModelVersion, TrainingRequest
from dropforge.observability import failure
from dropforge.ports import ObjectStore, Registry, Tracking
from dropforge.registry import gate_looks, promotion_gate
from dropforge.registry.aliases import CHALLENGER, NEWEST
from dropforge.uploads.upload_repository import Reason, State, UploadRecord, UploadRepository

_LONGEST_TAG = 4000


@dataclass(frozen=True, slots=True)
class ConcludeContext:
    """What a conclusion reads and writes. `bucket`: of the data; `settings`: those of the upload."""

    settings: Settings
    registry: Registry
    tracking: Tracking
    book: UploadRepository
    store: ObjectStore
    bucket: str
    log: logging.Logger


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The outcomes of one upload: results, their registered versions by model, the challenger among them, errors by model."""

    results: list[JobResult]
    versions: dict[str, ModelVersion]
    challenger: ModelVersion | None
    failed: dict[str, str]


def conclude(message: ConcludeRequest, context: ConcludeContext) -> Conclusion:
    """Judge, register, label, record. With no candidate at all the upload ends as failed, with each model's reason.

    A candidate that is not better than the served model by settings' rule becomes no challenger: keeping the old model is an
    end like any other, and the upload is concluded.

    Raises Unavailable when MLflow or the store does not answer: the workflow tries again.
    """
    record = context.book.get(message.request.upload_id)
    if not record.terminal:
        record = _decide(message, context)
    _publish(message, record, context)
    return _conclusion(record)


def _decide(message: ConcludeRequest, context: ConcludeContext) -> UploadRecord:
    """Judge the candidates, register them, set the aliases, close the record; return it as it is afterwards.

    Of two calls at the same time the first to close decides; the other one's figures are dropped.
    """
    request, settings, log = message.request, context.settings, context.log
    failed = {o.model: _error_text(o.error, o.cause) for o in message.outcomes if o.result is None}
    if message.error:
        failed["workflow"] = _error_text(message.error, message.cause)
    results = [o.result for o in message.outcomes if o.result is not None]
    served = _served_run(context)
    comparisons = {r.model: _comparison(context.store, r) for r in results}
    look = _look(context, served, request.upload_id, results, comparisons)
    judged = promotion_gate.judge(results, comparisons, served, settings.promotion, look)
    choice = promotion_gate.choose(results, judged, settings.promotion)
    versions = {r.model: _register(r, request, judged[r.model], context) for r in results}
    challenger = versions[choice.winner.model] if choice.winner else None
    if challenger:
        _set_challenger(challenger, settings, context.registry)
        log.info(
            "challenger chosen",
            extra={"model": challenger.name, "version": challenger.version},
        )
    for model, text in failed.items():
        log.warning(
            "candidate failed", extra={"model": model, "code": text.partition(":")[0]}
        )  # the record has the rest
    if results and not challenger:
        log.info("the served model stays")  # why: gate.json, which may quote an error of a model's own code
    decision = _decision(choice, versions, settings, look)
    return _close(request.upload_id, _Candidates(results, versions, challenger, failed), decision, context.book)


def _publish(message: ConcludeRequest, record: UploadRecord, context: ConcludeContext) -> None:
    """Copy the closed record's decision to the report and the parent run. Repeatable: reads nothing but the record."""
    run_id, tracking = message.request.parent_run_id, context.tracking
    if record.gate:
        _update_report(context.store, record.report_uri, record.gate, _failed(record), context.log)
        tracking.put_artifacts(run_id, {"gate.json": json.dumps(record.gate, indent=1).encode()})
        tracking.set_tags(
            run_id,
            {
                "dropforge.challenger": record.challenger,
                "dropforge.gate": "; ".join(record.gate["reasons"])[:_LONGEST_TAG],
            },
        )
    tracking.finish(run_id, failed=record.state != "concluded")


def _conclusion(record: UploadRecord) -> Conclusion:
    """The answer to the workflow, from the closed record alone: the same however often it is asked for."""
    registered = {
        f"{m['name']}/{m['version']}": ModelVersion(name=m["name"], version=m["version"], run_id=m["run_id"])
        for m in record.models
        if "error" not in m
    }
    return Conclusion(
        upload_id=record.upload_id,
        registered=tuple(registered.values()),
        challenger=registered.get(record.challenger),
        reasons=tuple(record.gate.get("reasons", ())),
        failed=_failed(record),
    )


def _failed(record: UploadRecord) -> dict[str, str]:
    """Candidate → why it was not trained."""
    return {m["model"]: m["error"] for m in record.models if "error" in m}


def _update_report(
    store: ObjectStore, uri: str, decision: dict[str, Any], failed: dict[str, str], log: logging.Logger
) -> None:
    """Write the decision into the upload's report. The run's copy stays as the analysis made it; gate.json is beside it."""
    if not uri:
        return
    try:
        before = store.get(uri).body.decode()
    except NotFound:  # somebody deleted it: the decision stands in the record and in gate.json
        log.warning("no report to add the decision to", extra={"uri": uri})
        return
    after = training_section.with_decision(before, decision, failed)
    if after != before:
        store.put(uri, after.encode(), content_type="text/html; charset=utf-8")


def _served_run(context: ConcludeContext) -> str:
    """Run of the active model; empty when there is none, `gate.UNREADABLE` when the pointer is broken."""
    try:
        return ActivePointer(context.store, context.bucket).read()[0].run_id
    except NotFound:
        return ""
    except BundleRejected as error:  # an end without a challenger is better than none: the models are trained
        context.log.error("the active model is unknown", extra=failure(error))
        return promotion_gate.UNREADABLE


def _look(
    context: ConcludeContext,
    served: str,
    upload_id: str,
    results: list[JobResult],
    comparisons: dict[str, dict[str, Any] | None],
) -> int:
    """The number of this upload's look at the held-out rows; one that tests nothing takes none."""
    for r in results:
        comparison = comparisons[r.model]
        if comparison and promotion_gate.comparable(comparison, r, served, context.settings.promotion):
            return gate_looks.take(context.store, context.bucket, served, upload_id, comparison.get("sketch", ()))
    return 1


def _comparison(store: ObjectStore, result: JobResult) -> dict[str, Any] | None:
    """What the job stored; None for a job older than the comparison."""
    if not result.comparison_uri:
        return None
    try:
        stored: dict[str, Any] = json.loads(store.get(result.comparison_uri).body)
    except NotFound:
        return None
    return stored


def _set_challenger(version: ModelVersion, settings: Settings, registry: Registry) -> None:
    """One challenger a project: the alias comes off the other families, so that it names the one to look at."""
    registry.set_alias(version.name, CHALLENGER, version.version)
    names = [ids.registered_model(settings.project, m.name) for m in settings.models]
    for other in registry.resolve(CHALLENGER, names):
        if other.name != version.name:
            registry.drop_alias(other.name, CHALLENGER)


def _decision(
    choice: promotion_gate.Choice, versions: dict[str, ModelVersion], settings: Settings, look: int
) -> dict[str, Any]:
    """The whole decision, for the record and the run."""
    rule = settings.promotion
    return {
        "rule": {
            "metric": rule.metric,
            "minimum_gain": rule.minimum_gain,
            "confidence": rule.confidence,
            "maximum_slice_loss": rule.maximum_slice_loss,
            "look": look,
        },
        "winner": f"{versions[choice.winner.model].name}/{versions[choice.winner.model].version}"
        if choice.winner
        else "",
        "reasons": list(choice.reasons),
        "candidates": [
            {**asdict(j), "version": f"{versions[m].name}/{versions[m].version}"} for m, j in choice.judgements.items()
        ],
    }


def _register(
    result: JobResult,
    request: TrainingRequest,
    judgement: promotion_gate.Judgement,
    context: ConcludeContext,
) -> ModelVersion:
    """The version of the result, in MLflow and, where nobody else may write, in its integrity record."""
    settings, registry = context.settings, context.registry
    name = ids.registered_model(settings.project, result.model)
    metric = settings.promotion.metric
    evidence = {
        "upload_id": request.upload_id,
        "dataset_id": request.dataset_id,
        "gate": judgement.verdict,
        "gate.reason": judgement.reason[:_LONGEST_TAG],
        **({f"heldout.{metric}": f"{result.metrics[metric]:.6f}"} if metric in result.metrics else {}),
        **_evidence(result, metric),
    }
    tags = {
        **evidence,
        "candidate": result.model,
        "bundle_uri": result.bundle_uri,
        "bundle_sha256": result.bundle_sha256,
        "predictions_uri": result.predictions_uri,
        "settings_sha256": settings.sha256,
    }
    version = registry.register(name, source=result.model_source, run_id=result.run_id, tags=tags)
    ModelRecords(context.store, context.bucket).write(
        ModelRecord(
            model=name,
            version=version.version,
            run_id=version.run_id,
            bundle_uri=result.bundle_uri,
            bundle_sha256=result.bundle_sha256,
            serve=next((m.serve for m in settings.models if m.name == result.model), "onnx"),
            metrics=result.metrics,
            evidence=evidence,
            settings_sha256=settings.sha256,
            recorded_at=now(),
            recorded_by="conclude",
        )
    )
    registry.set_alias(name, NEWEST, version.version)
    return version


def _evidence(result: JobResult, metric: str) -> dict[str, str]:
    """How well the score is known, as tags of the version."""
    known = {"interval": result.evidence.heldout, "cross_validated": result.evidence.cross_validated}
    tags = {
        f"{kind}.{metric}": f"{e.value:.6f} {e.low:.6f} {e.high:.6f}"
        for kind, matches in known.items()
        if (e := matches.get(metric)) is not None
    }
    return tags | ({"evidence.warning": result.evidence.warning} if result.evidence.thin else {})


def _close(upload_id: str, candidates: _Candidates, decision: dict[str, Any], book: UploadRepository) -> UploadRecord:
    versions, challenger, failed = candidates.versions, candidates.challenger, candidates.failed
    record = book.get(upload_id)
    if record.terminal:
        return record
    models: list[dict[str, Any]] = [
        {
            "model": r.model,
            "name": versions[r.model].name,
            "version": versions[r.model].version,
            "run_id": r.run_id,
            "metrics": r.metrics,
        }
        for r in candidates.results
    ]
    models += [{"model": m, "error": error} for m, error in failed.items()]
    facts: dict[str, Any] = {
        "models": tuple(models),
        "challenger": f"{challenger.name}/{challenger.version}" if challenger else "",
        "gate": decision,
    }
    state: State = "concluded"
    if not candidates.results:
        state = "failed"
        facts["reason"] = Reason(
            stage="training",
            code="no_model_trained",
            message="; ".join(f"{m}: {error}" for m, error in failed.items()) or "the workflow returned no outcome",
            fix="read `dropforge logs` for the training job; correct settings.yaml or the data, then upload the file again",
        )
    try:
        if record.state != "training":  # the workflow can be quicker than the analysis that records its start
            book.advance(upload_id, "training")
        return book.advance(upload_id, state, **facts)
    except Conflict:  # closed by another call in this very moment
        return book.get(upload_id)


def _error_text(error: str, cause: str) -> str:
    """In words. The workflow hands on the failure as JSON, because a timeout has an error and no cause."""
    try:
        document = json.loads(cause)
        cause = str(document.get("Cause", "")) if isinstance(document, dict) else cause
    except ValueError:
        pass  # a plain sentence
    return f"{error}: {cause}".strip(": ")[:2000]
