"""End of the line for one upload: register every trained candidate, label them, close the record.

Every call may be a repeat: one run is one version, an alias set twice is set once, a closed record stays closed.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from dropforge import identity
from dropforge.messages import ConcludeRequest, Conclusion, JobResult, ModelVersion
from dropforge.ports import Registry, Tracking
from dropforge.registry import gate
from dropforge.settings import Settings
from dropforge.uploads import Reason, UploadBook

NEWEST = "newest"
CHALLENGER = "challenger"


def conclude(
    message: ConcludeRequest,
    *,
    settings: Settings,
    registry: Registry,
    tracking: Tracking,
    book: UploadBook,
    log: logging.Logger,
) -> Conclusion:
    """Register, label, record. With no candidate at all the upload ends as failed, with each model's reason.

    Raises Unavailable when MLflow or the store does not answer: the workflow tries again.
    """
    request = message.request
    failed = {o.model: _why(o.error, o.cause) for o in message.outcomes if o.result is None}
    if message.error:
        failed["workflow"] = _why(message.error, message.cause)
    results = [o.result for o in message.outcomes if o.result is not None]
    versions = {r.model: _register(r, request.upload_id, request.dataset_id, settings, registry) for r in results}
    choice = gate.best(results, settings.promotion.metric)
    challenger = versions[choice.winner.model] if choice.winner else None
    if challenger:
        registry.set_alias(challenger.name, CHALLENGER, challenger.version)
        log.info(
            "challenger chosen",
            extra={"model": challenger.name, "version": challenger.version, "why": choice.reasons[0]},
        )
    for model, why in failed.items():
        log.warning("candidate failed", extra={"model": model, "why": why})
    _close(message, results=results, versions=versions, challenger=challenger, failed=failed, book=book)
    tracking.set_tags(
        request.parent_run_id,
        {
            "dropforge.challenger": f"{challenger.name}/{challenger.version}" if challenger else "",
            "dropforge.gate": "; ".join(choice.reasons)[:4000],
        },
    )
    tracking.finish(request.parent_run_id, failed=not results)
    return Conclusion(
        upload_id=request.upload_id,
        registered=tuple(versions.values()),
        challenger=challenger,
        reasons=choice.reasons,
        failed=failed,
    )


def _register(
    result: JobResult, upload_id: str, dataset_id: str, settings: Settings, registry: Registry
) -> ModelVersion:
    name = identity.registered_model(settings.project, result.model)
    metric = settings.promotion.metric
    tags = {
        "upload_id": upload_id,
        "dataset_id": dataset_id,
        "candidate": result.model,
        "bundle_uri": result.bundle_uri,
        "bundle_sha256": result.bundle_sha256,
        "predictions_uri": result.predictions_uri,
        "settings_sha256": settings.sha256,
        **({f"heldout.{metric}": f"{result.metrics[metric]:.6f}"} if metric in result.metrics else {}),
    }
    version = registry.register(name, source=result.model_source, run_id=result.run_id, tags=tags)
    registry.set_alias(name, NEWEST, version.version)
    return version


def _close(
    message: ConcludeRequest,
    *,
    results: list[JobResult],
    versions: dict[str, ModelVersion],
    challenger: ModelVersion | None,
    failed: dict[str, str],
    book: UploadBook,
) -> None:
    upload_id = message.request.upload_id
    record = book.get(upload_id)
    if record.terminal:
        return
    models: list[dict[str, Any]] = [
        {
            "model": r.model,
            "name": versions[r.model].name,
            "version": versions[r.model].version,
            "run_id": r.run_id,
            "metrics": r.metrics,
        }
        for r in results
    ]
    models += [{"model": m, "error": why} for m, why in failed.items()]
    facts: dict[str, Any] = {
        "models": tuple(models),
        "challenger": f"{challenger.name}/{challenger.version}" if challenger else "",
    }
    if record.state == "analysed":  # the workflow can be quicker than the analysis that records its start
        book.advance(upload_id, "training")
    if results:
        book.advance(upload_id, "concluded", **facts)
        return
    reason = Reason(
        stage="training",
        code="no_model_trained",
        message="; ".join(f"{m}: {why}" for m, why in failed.items()) or "the workflow returned no outcome",
        fix="read `dropforge logs` for the training job; mend settings.yaml or the data, then upload the file again",
    )
    book.advance(upload_id, "failed", reason=reason, **facts)


def _why(error: str, cause: str) -> str:
    """In words. The workflow hands on the failure as JSON, because a timeout has an error and no cause."""
    try:
        told = json.loads(cause)
        cause = str(told.get("Cause", "")) if isinstance(told, dict) else cause
    except ValueError:
        pass  # a plain sentence
    return f"{error}: {cause}".strip(": ")[:2000]
