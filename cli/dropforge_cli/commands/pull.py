"""pull: what is new in a table of another system, as an upload."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropforge import keys
from dropforge.errors import Conflict, InvalidRequest
from dropforge_cli.commands.analyze import read_settings
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, say
from dropforge_cli.target import Target

if TYPE_CHECKING:
    from dropforge.config.settings import Settings, SourceSettings
    from dropforge_cli.sources.pulled import Position, Pulled


def register(app: typer.Typer) -> None:
    """Add `dropforge pull`."""
    app.command("pull", rich_help_panel="Data")(pull)


def pull(
    source: Annotated[str, typer.Argument(help="its name in `sources` of settings.yaml")],
    whole: Annotated[bool, typer.Option("--whole", help="everything again, not only what is new")] = False,
    json: Json = False,
) -> None:
    """Upload what is new in a Delta or Iceberg table or a Postgres query since it was pulled last."""
    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings
    from dropforge_cli.commands.uploads import put
    from dropforge_cli.sources.pulled import Positions

    target = Target.find()
    described = _described(source, settings.load(*read_settings(None)))
    bucket = target.outputs["DataBucket"]
    positions = Positions(S3Store(target.client("s3")), bucket)
    position, etag = positions.read(source, described.place)
    if whole:
        position = type(position)(place=described.place)
    with tempfile.TemporaryDirectory(prefix="dropforge-pull-") as work:
        result = _pulled(described, position, Path(work), target)
        for remark in result.remarks:
            say(remark)
        upload_id = ""
        if result.rows:
            # Named by where it ends: pulled again after a crash, it is the same key, and its rows are recognised.
            key = keys.pulled(source, result.after.model_dump_json(), result.file.suffix)
            upload_id = put(target, result.file, key)
        if result.after != position:
            try:
                positions.write(source, result.after, etag)
            except Conflict:
                say("another pull of this source ended first; rows that both brought are used once")
    facts = {"source": source, "rows": result.rows, "upload_id": upload_id}
    if json:
        emit_json(facts)
    else:
        emit_facts(facts if result.rows else {"source": source, "rows": "nothing new"})


def _described(name: str, parsed: Settings) -> SourceSettings:
    sources = {s.name: s for s in parsed.sources}
    if name not in sources:
        raise InvalidRequest(
            f"no source {name!r}; there are {', '.join(sources) or 'none'}",
            code="source_unknown",
            fix="add it to `sources` in settings.yaml: docs/how-to/sources.md",
        )
    return sources[name]


def _pulled(described: SourceSettings, position: Position, work: Path, target: Target) -> Pulled:
    try:
        if described.kind == "delta":
            from dropforge_cli.sources import delta

            return delta.pull(described, position, work)
        if described.kind == "iceberg":
            from dropforge_cli.sources import iceberg

            return iceberg.pull(described, position, work)
        from dropforge_cli.sources import postgres

        return postgres.pull(described, position, work, _secret(described, target))
    except ImportError as error:
        raise InvalidRequest(
            f"{error.name} is not installed", code="extra_missing", fix="pip install 'dropforge[sources]'"
        ) from None


def _secret(described: SourceSettings, target: Target) -> dict[str, str]:
    if not described.secret:
        return {}
    from dropforge.adapters.secrets_manager import Secrets

    return Secrets(target.client("secretsmanager")).read(described.secret)
