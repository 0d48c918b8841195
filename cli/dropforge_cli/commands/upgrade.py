"""upgrade: documents of an earlier version, read and counted again by this one."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, emit_table, say
from dropforge_cli.target import Target


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(upgrade)


def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write nothing; show what would be upgraded")] = False,
    json: Json = False,
) -> None:
    """Read every stored document with this version, and count profiles of an earlier version again. Safe to repeat.

    The system may go on working: documents of earlier versions are read as they are. Exit code 1 when one cannot be read.
    """
    from dropforge.adapters.s3_store import S3Store
    from dropforge_cli import upgrading

    target = Target.find()
    store, bucket = S3Store(target.client("s3")), target.outputs["DataBucket"]
    results = list(upgrading.documents(store, bucket, dry_run=dry_run))
    if json:
        emit_json([asdict(r) for r in results])
    else:
        shown = [r for r in results if r.result != "current"]
        if shown:
            emit_table(("document", "name", "result", "detail"), [(r.kind, r.name, r.result, r.detail) for r in shown])
        counts = Counter(r.result for r in results)
        would = " (nothing was written)" if dry_run else ""
        say(f"{counts['current']} current, {counts['upgraded']} upgraded, {counts['failed']} failed{would}")
    if any(r.result == "failed" for r in results):
        raise typer.Exit(1)
