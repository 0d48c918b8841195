"""export: a model that predicts without Dropforge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropforge.errors import InvalidRequest, NotFound
from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, out, say
from dropforge_cli.target import Target


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Models")(export)


def export(
    version: Annotated[str, typer.Argument(metavar="MODEL/VERSION", help="as `dropforge models` lists them")],
    folder: Annotated[Path | None, typer.Option("--out", help="new folder; else MODEL-VERSION")] = None,
    json: Json = False,
) -> None:
    """Write a folder that predicts with ONNX Runtime alone: one graph, its manifest, and examples in Python, JavaScript and C.

    The bundle is the one that was concluded: its integrity record and its hashes are verified first.
    """
    from dropforge import keys
    from dropforge.adapters.mlflow_registry import MlflowRegistry
    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings_store
    from dropforge.deployment import active_version, verified_bundle
    from dropforge.registry import versions
    from dropforge.s3_uri import join
    from dropforge_training.export import standalone_folder

    model, _, number = version.partition("/")
    if not number:
        raise InvalidRequest(
            f"{version!r} names no version", code="version_missing", fix=f"dropforge export {version}/1"
        )
    target = Target.find()
    store, bucket = S3Store(target.client("s3")), target.outputs["DataBucket"]
    settings = settings_store.read(store, keys.settings(bucket))
    registry = MlflowRegistry(target.outputs["MlflowUrl"])
    matches = [v for v in registry.versions(versions.families(settings, model)) if v.version == number]
    if not matches:
        raise NotFound(f"no version {number} of {model}", code="version_unknown", fix="`dropforge models` lists them")
    active = active_version.active_of(matches[0], "", settings)
    manifest = verified_bundle.verify(store, bucket, active)
    folder = folder or Path(f"{matches[0].name}-{number}")
    body = store.get(join(active.bundle_uri, manifest.model_file)).body
    files = standalone_folder.write(folder, manifest, body, version=f"{matches[0].name}/{number}")
    if json:
        emit_json({"folder": str(folder), "files": files})
        return
    for name in files:
        out.print(str(folder / name), soft_wrap=True)
    say(f"try it: cd {folder} && pip install -r requirements.txt && python predict.py example.json")
