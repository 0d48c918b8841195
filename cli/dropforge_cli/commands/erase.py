"""erase: the rows of one person out of everything that is stored, a receipt, and a training without them."""

from __future__ import annotations

import json as jsonlib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dropforge import keys
from dropforge.errors import InvalidRequest, NotFound, PermanentError
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, err, say
from dropforge_cli.target import Target, home, project_root

if TYPE_CHECKING:
    from dropforge_cli.erasing import Outcome, Person


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(erase)


def erase(
    where: Annotated[
        str, typer.Option(help="whose rows: \"customer_id = 'A-17'\", a column that identifies the person")
    ],
    row_hash: Annotated[
        list[int] | None, typer.Option(help="also rows with this hash (column __row of a dataset); may be repeated")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list where the person's rows are")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    retrain: Annotated[bool, typer.Option(help="start a training without the rows when a dataset held them")] = True,
    json: Json = False,
) -> None:
    """Erase a person: every object version of both buckets, MLflow's artifacts and local database, logs, local files.

    Shows the matches first and asks. Signed by your own AWS credentials, which must be allowed to delete object
    versions. Run it again when the retrained model is active: the bundle of a model in use is erased then. Exit code 1 while
    something is left.
    """
    from dropforge_cli.erasing import person

    target = Target.find()
    who = person(where)
    who = replace(who, rows=frozenset(row_hash or ()))
    result = everywhere(target, who, dry=True)
    if not json or not dry_run:
        for place in places(result):
            say(place)
    if dry_run or not _count(result):
        _tell({"found": _count(result), **match_summary(result)}, json=json)
        return
    if not yes and not typer.confirm(f"Erase {_count(result)} places for ever?", default=False, err=True):
        raise PermanentError("nothing was erased", code="not_confirmed", fix="confirm, or pass --yes")
    done = everywhere(target, who, dry=False)
    receipt = _receipt(target, who, done)
    _keep(target, receipt)  # first: what was erased is on record even when no training can be started
    if retrain and done["objects"].datasets:
        receipt["retraining"] = _retrain(target, receipt["id"])
        _keep(target, receipt)
    _tell(receipt, json=json)
    if not receipt["complete"]:
        err.print("left: the bundle of a model in use. Activate the retrained model, then run the same command again")
        raise typer.Exit(1)


def everywhere(target: Target, who: Person, *, dry: bool) -> dict[str, Any]:
    """Look into, or clean, every place there is. Keys: objects (an Outcome), logs, files, cells of MLflow's local database."""
    from dropforge_cli.erasing import Eraser, erase_database, erase_files, erase_logs

    eraser = Eraser(target.client("s3"), who, in_use(target), dry=dry)
    for bucket in (target.outputs["DataBucket"], target.outputs["ArtifactBucket"]):
        eraser.bucket(bucket)
    home = local_home(target)
    return {
        "objects": eraser.outcome,
        "logs": erase_logs(target.client("logs"), target.outputs["LogGroupPrefix"], who, dry=dry),
        "files": erase_files(home, who, dry=dry) if home else [],
        "cells": erase_database(home / "mlflow.db", who, dry=dry) if home else 0,
    }


def local_home(target: Target) -> Path | None:
    """The folder of the local cloud; None on AWS."""
    return home(project_root()) if target.local else None


def in_use(target: Target) -> list[str]:
    """URIs of the bundles that answer: of the active model and of the canary beside it."""
    from dropforge.adapters.s3_store import S3Store
    from dropforge.deployment.active_model import ActivePointer

    try:
        active, _ = ActivePointer(S3Store(target.client("s3")), target.outputs["DataBucket"]).read()
    except NotFound:
        return []
    return [active.bundle_uri, *([active.candidate.bundle_uri] if active.candidate else [])]


def places(matches: dict[str, Any]) -> list[str]:
    """Where the person is, one line a place."""
    objects: Outcome = matches["objects"]
    lines = [f"rewrite  {uri}" for uri in objects.rewritten] + [f"delete   {uri}" for uri in objects.deleted]
    lines += [f"in use   {uri}" for uri in objects.left]
    lines += [f"log      {stream}" for stream in matches["logs"]] + [f"file     {path}" for path in matches["files"]]
    return lines + ([f"MLflow   {matches['cells']} cells of its database"] if matches["cells"] else [])


def _count(matches: dict[str, Any]) -> int:
    return len(places(matches))


def match_summary(matches: dict[str, Any]) -> dict[str, Any]:
    """Numbers only: no value of the person, and no key that could hold one."""
    objects: Outcome = matches["objects"]
    return {
        "rows": objects.rows,
        "objects_rewritten": len(objects.rewritten),
        "objects_deleted": len(objects.deleted),
        "objects_in_use": len(objects.left),
        "log_streams": len(matches["logs"]),
        "files": len(matches["files"]),
        "mlflow_cells": matches["cells"],
        "datasets": sorted(objects.datasets),
    }


def _receipt(target: Target, who: Person, done: dict[str, Any]) -> dict[str, Any]:
    objects: Outcome = done["objects"]
    return {
        "format_version": 1,
        "id": uuid.uuid4().hex[:16],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": str(target.client("sts").get_caller_identity()["Arn"]),
        "columns": sorted(who.columns),
        **match_summary(done),
        "models": trained_on(target, objects.datasets),
        "complete": not objects.left,
        "not_searched": [] if target.local else ["the tracking server's database: it holds names and figures, no rows"],
    }


def trained_on(target: Target, datasets: set[str]) -> list[str]:
    """Recorded versions whose training read one of the datasets: `model/version`."""
    from dropforge.adapters.s3_store import S3Store
    from dropforge.datasets.dataset_store import load_manifest
    from dropforge.deployment.bundle_integrity import ModelRecord
    from dropforge.messages import TrainingRequest

    store, bucket = S3Store(target.client("s3")), target.outputs["DataBucket"]
    matches = []
    for stat in store.list(keys.integrity_folder(bucket)):
        record = ModelRecord.from_json(store.get(stat.uri).body)
        try:
            uri = keys.training_request(
                bucket, record.evidence.get("dataset_id", ""), record.evidence.get("upload_id", "")
            )
            parts = load_manifest(store, TrainingRequest.parse(store.get(uri).body).dataset_uri).parts
        except (NotFound, InvalidRequest):
            continue  # adopted: nobody knows what it was trained on
        if datasets & {p.dataset_id for p in parts}:
            matches.append(f"{record.model}/{record.version}")
    return matches


def _retrain(target: Target, erasure_id: str) -> str:
    """Start a training on what is left; its upload id."""
    payload = jsonlib.dumps({"retrain": {"cause": f"erase-{erasure_id}"}})
    functions = target.client("lambda", timeout=960)
    answer = jsonlib.loads(
        functions.invoke(FunctionName=target.outputs["AnalyzeFunction"], Payload=payload)["Payload"].read()
    )
    ids: Sequence[str] = list(answer.get("retraining", {}))
    if not ids:
        raise PermanentError(
            f"the rows are erased, but no training was started: {str(answer)[:200]}",
            code="retraining_failed",
            fix="dropforge retrain, once what stands in `dropforge logs` is corrected",
        )
    return ids[0]


def _keep(target: Target, receipt: dict[str, Any]) -> None:
    from dropforge.adapters.s3_store import S3Store

    body = jsonlib.dumps(receipt, indent=1).encode()
    store = S3Store(target.client("s3"))
    store.put(keys.erasure(target.outputs["DataBucket"], receipt["id"]), body, content_type="application/json")


def _tell(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        emit_json(facts)
        return
    emit_facts({k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in facts.items()})
