"""models, alias, set-model, predict, data: versions, the active one and its predictions."""

from __future__ import annotations

import hashlib
import json as jsonlib
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from dropforge import keys
from dropforge.errors import InvalidRequest, NotFound
from dropforge.metrics import Task
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, emit_table, say
from dropforge_cli.target import Target


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Models"
    group = typer.Typer(help="List versions; adopt one that was not trained here; check a class of your own.")
    group.callback(invoke_without_command=True)(models)
    group.command()(adopt)
    group.command()(check)
    app.add_typer(group, name="models", rich_help_panel=panel)
    app.command(rich_help_panel=panel)(alias)
    app.command("set-model", rich_help_panel=panel)(set_model)
    app.command(rich_help_panel=panel)(predict)
    app.command(rich_help_panel=panel)(data)


def models(context: typer.Context, json: Json = False) -> None:
    """List versions with scores, 95 % intervals and aliases; `models adopt` makes one usable that was not trained here."""
    if context.invoked_subcommand:
        return
    listed = Target.find().api("GET", "/models").json()["models"]
    if json:
        emit_json(listed)
        return
    rows = [
        (
            m["name"],
            m["version"],
            " ".join(f"{k} {v:.4f}{_interval(m['interval'].get(k))}" for k, v in m["heldout"].items()),
            " ".join(f"{k} {v[0]:.4f}{_interval(v)}" for k, v in m["cross_validated"].items()),
            ", ".join(m["aliases"]),
            m["upload_id"][:12],
            "yes" if m["recorded"] else "no: dropforge models adopt",
        )
        for m in listed
    ]
    emit_table(("model", "version", "held-out", "cross-validated", "aliases", "upload", "recorded"), rows)
    for m in listed:
        if m["warning"]:
            say(f"warning: {m['name']}/{m['version']}: {m['warning']}")


def _interval(estimate: list[float] | None) -> str:
    """Its 95 % interval, after the value."""
    return f" ({estimate[1]:.4f} to {estimate[2]:.4f})" if estimate else ""


def adopt(
    version: Annotated[str, typer.Argument(help="MODEL/VERSION; every version without a record when left out")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> None:
    """Record a version that no training of this system concluded, so that it can be activated. Your own AWS credentials sign it.

    Shows what would be recorded and asks. A pickle needs `serve: python` in the settings in force.
    """
    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings_store
    from dropforge.deployment.bundle_integrity import ModelRecords, describe
    from dropforge_cli import adopt_version as step

    target = Target.find()
    store, bucket = S3Store(target.client("s3")), target.outputs["DataBucket"]
    settings = settings_store.read(store, keys.settings(bucket))
    by = str(target.client("sts").get_caller_identity()["Arn"])
    result = step.unrecorded(settings=settings, store=store, registry=_registry(target), bucket=bucket)
    chosen = [v for v in result if version in ("", f"{v.name}/{v.version}")]
    if version and not chosen:
        raise NotFound(
            f"no version {version!r} without an integrity record",
            code="version_unknown",
            fix="`dropforge models` lists versions and says which are recorded; name one as MODEL/VERSION",
        )
    adopted = []
    for one in chosen:
        record = step.proposal(one, settings=settings, store=store, by=by)
        if not json:
            emit_facts(describe(record))
        if yes or typer.confirm(f"Trust {one.name}/{one.version}, its bundle and its code?", default=False, err=True):
            adopted.append(describe(ModelRecords(store, bucket).write(record)))
    if json:
        emit_json(adopted)
        return
    say(f"{len(adopted)} of {len(chosen)} versions recorded" if chosen else "every version is recorded")


def check(
    import_path: Annotated[
        str, typer.Argument(metavar="MODULE:CLASS", help="as `class` in settings.yaml: models.mine:Mine")
    ],
    task: Annotated[str, typer.Option(help="classification or regression")] = "classification",
    serve: Annotated[str, typer.Option(help="onnx or python, as `serve` in settings.yaml")] = "onnx",
    json: Json = False,
) -> None:
    """Try a model class of your own, with no cloud: tune, fit, evaluate, export and compare the bundle on a small generated table.

    The class is looked for in the current folder. What fails names the step and the fix, as the training job would.
    """
    from dropforge_local.memory import MemoryStore
    from dropforge_training.worker.dry_run import ROWS, dry_run

    if task not in get_args(Task) or serve not in ("onnx", "python"):
        raise InvalidRequest(
            f"--task {task} --serve {serve} is not known",
            code="option",
            fix="--task classification or regression; --serve onnx or python",
        )
    sys.path.insert(0, str(Path.cwd()))
    with tempfile.TemporaryDirectory(prefix="dropforge-check-") as folder:
        say(f"training {import_path} on {ROWS} generated rows")
        done = dry_run(import_path, MemoryStore(), Path(folder), task=cast("Task", task), serve=serve)
    if json:
        emit_json(asdict(done))
        return
    emit_facts(
        {
            **{f"held-out {name}": f"{value:.4g}" for name, value in sorted(done.metrics.items())},
            "largest difference of the bundle": f"{done.parity['max_abs_difference']:.2g}",
            "label flips": f"{done.parity['label_flips']:.0f}",
            "size": f"{done.bytes:,} bytes",
        }
    )
    say(f"{import_path} can be trained, exported and served")


def alias(
    model: Annotated[
        str, typer.Argument(help="registered model, MODEL/VERSION, or `challenger` for the best of the last upload")
    ],
    alias: Annotated[str, typer.Argument(help="Production, Staging, or any other name")] = "Production",
    version: Annotated[str, typer.Option(help="version; the newest when left out")] = "",
    json: Json = False,
) -> None:
    """Set an alias; it moves from the project's other models, so that it names one version."""
    output = set_alias(Target.find(), model, alias, version)
    if json:
        emit_json(output)
        return
    emit_facts({k: output[k] for k in ("name", "version", "alias")})


def set_alias(target: Target, model: str, alias: str, version: str = "") -> dict[str, Any]:
    """The version that has the alias now; `challenger` names the best of the last upload, `model/2` its second version."""
    if not version:
        model, _, version = model.partition("/")
    body = {"alias": alias, "model": model, "version": version}
    response: dict[str, Any] = target.api("POST", "/aliases", json=body).json()
    return response


def serve_best(target: Target, alias: str = "Production") -> dict[str, Any]:
    """Label the last upload's best version and make it answer; what /set_model told."""
    labelled = set_alias(target, "challenger", alias)
    body = {"alias": alias, "model": labelled["name"]}
    served: dict[str, Any] = target.api("POST", "/set_model", json=body).json()
    return served


def set_model(
    alias: Annotated[str, typer.Argument(help="alias to load")] = "",
    model: Annotated[str, typer.Option(help="model, when several carry the alias")] = "",
    canary: Annotated[float, typer.Option(help="canary: fraction of requests that this version answers")] = 0.0,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="shadow mode: score each request with it after the response")
    ] = False,
    json: Json = False,
) -> None:
    """Activate the version behind an alias, or start a canary or shadow deployment of it (--canary, --shadow)."""
    given = (("alias", alias), ("model", model), ("canary", canary), ("shadow", shadow))
    body = {k: v for k, v in given if v}
    response = Target.find().api("POST", "/set_model", json=body).json()
    if json:
        emit_json(response)
        return
    emit_facts(
        {
            **response["model"],
            "previous": f"{response['previous']['name']}/{response['previous']['version']}"
            if response["previous"]
            else "none",
            **(
                {"candidate": f"{response['candidate']['name']}/{response['candidate']['version']}"}
                if response["candidate"]
                else {}
            ),
        }
    )


def predict(
    source: Annotated[
        str, typer.Argument(help="JSON or CSV file, `-` for standard input; the model's own example when left out")
    ] = "",
    coverage: Annotated[float, typer.Option(help="add a prediction set, or interval, of this coverage: 0.9")] = 0.0,
    quantiles: Annotated[str, typer.Option(help="of a regression: add these quantiles: 0.1,0.9")] = "",
    json: Json = False,
) -> None:
    """Predict rows with the active model."""
    target = Target.find()
    query: dict[str, Any] = {"coverage": coverage} if coverage else {}
    query |= {"quantiles": quantiles} if quantiles else {}
    if not source:
        example = target.api("GET", "/model_info").json()["example"]
        answer = target.api("POST", "/predict", json={"records": [example]}, params=query).json()
    else:
        body = sys.stdin.buffer.read() if source == "-" else _read(Path(source))
        kind = "application/json" if body.lstrip()[:1] in {b"{", b"["} else "text/csv"
        if kind == "application/json":
            value = _json(body)
            body = jsonlib.dumps(
                {"records": value} if isinstance(value, list) else value if _wrapped(value) else {"records": [value]}
            ).encode()
        answer = target.api("POST", "/predict", data=body, headers={"content-type": kind}, params=query).json()
    if json:
        emit_json(answer)
        return
    emit_table(*_table(answer["predictions"]))
    say(f"model {answer['model']['name']} version {answer['model']['version']} ({answer['model']['alias']})")
    for warning in answer["warnings"]:
        rows = warning.get("rows", 1)
        more = f" (and {rows - 1:,} more row{'s' if rows > 2 else ''})" if rows > 1 else ""
        say(f"warning: {warning.get('field', '')}: {warning['message']}{more}")


def _table(predictions: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows: labels and probabilities, or numbers; with sets or intervals where they were asked for."""
    if "prediction" in predictions[0]:
        head = ["row", "prediction"]
        rows = [[i, f"{p['prediction']:.6g}"] for i, p in enumerate(predictions)]
        if "interval" in predictions[0]:
            head += ["low", "high"]
            rows = [
                [*r, *(f"{p['interval'][e]:.6g}" for e in ("low", "high"))]
                for r, p in zip(rows, predictions, strict=True)
            ]
        names = list(predictions[0].get("quantiles", {}))
        rows = [[*r, *(f"{p['quantiles'][q]:.6g}" for q in names)] for r, p in zip(rows, predictions, strict=True)]
        return (*head, *(f"quantile {q}" for q in names)), [tuple(r) for r in rows]
    shown = [
        (i, p["label"], "  ".join(f"{k} {v:.4f}" for k, v in p["probabilities"].items()))
        for i, p in enumerate(predictions)
    ]
    if "prediction_set" not in predictions[0]:
        return ("row", "label", "probabilities"), shown
    sets = [", ".join(p["prediction_set"]["labels"]) for p in predictions]
    return ("row", "label", "probabilities", "prediction set"), [(*r, s) for r, s in zip(shown, sets, strict=True)]


def data(
    run_id: Annotated[str, typer.Argument(help="MLflow run of an analysis or a training")],
    save: Annotated[Path, typer.Option("--out", help="folder for the Parquet parts")] = Path("data"),
    json: Json = False,
) -> None:
    """Download the rows that a run was trained on (or analysed), and describe them."""
    from dropforge.adapters.s3_store import S3Store
    from dropforge.datasets.dataset_store import load_manifest
    from dropforge.messages import TrainingRequest

    target = Target.find()
    tags = _registry(target).run_tags(run_id)
    dataset_id = tags.get("dataset_id", "")
    if not dataset_id:
        raise NotFound(f"run {run_id} names no dataset", code="no_dataset", fix="give a run Dropforge made")
    store = S3Store(target.client("s3"))
    bucket = target.outputs["DataBucket"]
    uri = keys.dataset_manifest(bucket, dataset_id)
    if tags.get("dropforge.kind") == "training":
        request = store.get(keys.training_request(bucket, dataset_id, tags["upload_id"])).body
        uri = TrainingRequest.parse(request).dataset_uri
    manifest = load_manifest(store, uri)
    save.mkdir(parents=True, exist_ok=True)
    files = []
    for part in manifest.parts:
        path = save / f"{part.dataset_id}.parquet"
        store.download(part.uri, path)
        with path.open("rb") as body:
            if hashlib.file_digest(body, "sha256").hexdigest() != part.sha256:
                raise InvalidRequest(
                    f"{part.uri} is not the file its manifest names",
                    code="part_altered",
                    fix="restore the object's first version",
                )
        files.append(str(path))
    document = {"dataset_id": dataset_id, "rows": manifest.rows, "target": manifest.data_schema.target, "files": files}
    emit_json(document) if json else emit_facts({**document, "files": " ".join(files)})


def _registry(target: Target) -> Any:
    from dropforge.adapters.mlflow_registry import MlflowRegistry

    return MlflowRegistry(target.outputs["MlflowUrl"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error}", code="file_unreadable", fix="give a JSON or CSV file"
        ) from None


def _json(body: bytes) -> Any:
    try:
        return jsonlib.loads(body)
    except ValueError as error:
        raise InvalidRequest(
            f"not valid JSON: {error}", code="malformed_request", fix="send one row {…} or rows [{…}]"
        ) from None


def _wrapped(value: Any) -> bool:
    return isinstance(value, dict) and bool(
        {"records", "dataframe_records", "dataframe_split", "inputs", "instances"} & value.keys()
    )
