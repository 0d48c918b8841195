"""pull: what is new in a table of another system, as an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dropforge_cli.commands.analyze import read_settings
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, say
from dropforge_cli.target import Target

if TYPE_CHECKING:
    from dropforge.messages import PullResult


def register(app: typer.Typer) -> None:
    """Add `dropforge pull`."""
    app.command("pull", rich_help_panel="Data")(pull)


def pull(
    source: Annotated[str, typer.Argument(help="its name in `sources` of settings.yaml")],
    whole: Annotated[bool, typer.Option("--whole", help="everything again, not only what is new")] = False,
    in_worker: Annotated[
        bool,
        typer.Option("--in-worker", help="in a container of the worker's image, which has drivers, rights and network"),
    ] = False,
    json: Json = False,
) -> None:
    """Upload what is new in a Delta or Iceberg table, a Postgres query or an Athena query since it was pulled last."""
    target = Target.find()
    result = _in_worker(target, source, whole=whole) if in_worker else _here(target, source, whole=whole)
    for remark in result.remarks:
        say(remark)
    facts = {"source": source, "rows": result.rows, "upload_id": result.upload_id}
    if json:
        emit_json(facts)
    else:
        emit_facts(facts if result.rows else {"source": source, "rows": "nothing new"})


def _here(target: Target, name: str, *, whole: bool) -> PullResult:
    """By this process, with the credentials of whoever runs it, and the project's settings."""
    from dropforge.config import settings
    from dropforge_training.sources import pull_source

    source = pull_source.described(name, settings.load(*read_settings(None)))
    return pull_source.pull(source, target.outputs["DataBucket"], target.client, whole=whole)


def _in_worker(target: Target, name: str, *, whole: bool) -> PullResult:
    """By the worker, with the settings in force."""
    import uuid

    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings_store
    from dropforge.messages import PullJob
    from dropforge_cli import pull_task
    from dropforge_training.sources import pull_source

    store, bucket = S3Store(target.client("s3")), target.outputs["DataBucket"]
    settings, uri = settings_store.in_force(store, bucket)
    pull_source.described(name, settings)
    job = PullJob(role="pull", job_id=uuid.uuid4().hex, source=name, settings_uri=uri, whole=whole)
    return pull_task.run(target, job, store)
