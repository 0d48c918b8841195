"""init: a project folder from a table nobody has described."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge.errors import Conflict, RejectedUpload
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, emit_table, heading, say
from dropforge_cli.target import SETTINGS_FILE

_SHOWN = 60


class Task(StrEnum):
    """What is learned."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Start here")(init)
    app.command(rich_help_panel="Start here")(example)


def init(
    file: Annotated[
        Path, typer.Argument(help="CSV, Parquet, JSON lines or Excel workbook", exists=True, dir_okay=False)
    ],
    target: Annotated[str, typer.Option(help="column to predict; inferred when left out")] = "",
    positive: Annotated[str, typer.Option(help="positive class of a binary target")] = "",
    task: Annotated[Task | None, typer.Option(help="whether the target is a class or a number; else inferred")] = None,
    folder: Annotated[Path | None, typer.Option("--dir", help="new folder; named after the file when left out")] = None,
    force: Annotated[bool, typer.Option("--force", help="write over the folder's settings.yaml")] = False,
    json: Json = False,
) -> None:
    """Create a project folder for a table: settings.yaml, with every decision and its reason.

    Infers delimiter, header, missing values, column types, identifiers, dates, the target and its positive class, then
    reads the file by the settings it wrote, as an upload would. Next: `dropforge up`, `dropforge upload FILE --serve`.
    """
    from dropforge.config import settings
    from dropforge_cli import settings_writer
    from dropforge_cli.infer_settings import guess

    project = project_name(file)
    created = folder or Path(project)
    written = created / SETTINGS_FILE
    if written.exists() and not force:
        raise Conflict(
            f"{written} exists",
            code="project_exists",
            fix="choose another folder with --dir, or write over it: --force",
        )
    with tempfile.TemporaryDirectory(prefix="dropforge-init-") as work:
        result = guess(file, Path(work), target=target, positive=positive, task=task.value if task else "")
    content = settings_writer.write(result, project_name(created.resolve()), file.name)
    parsed = settings.load(content, SETTINGS_FILE)
    trial = _trial(file, parsed.data)
    created.mkdir(parents=True, exist_ok=True)
    written.write_text(content, encoding="utf-8")
    _ignore_state(created)
    if json:
        emit_json({**asdict(result), "form": result.form.words, "folder": str(created), "trial": trial})
        return
    _show(result, trial, file, created)


def example(
    folder: Annotated[Path, typer.Option("--dir", help="where to write them")] = Path(),
    json: Json = False,
) -> None:
    """Write real data to try things with: adult-reference.csv (32,561 rows) and adult-new.csv (16,281 rows)."""
    from dropforge_cli.example_data import fetch

    rows = fetch(folder)
    document = {"reference": str(rows.reference), "new": str(rows.new)}
    emit_json(document) if json else emit_facts(document)


def project_name(path: Path) -> str:
    """A project's name from a path: what settings.yaml and template.yaml accept."""
    stem = path.name.split(".")[0].lower()
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    slug = slug if slug[:1].isalpha() else f"t-{slug}".strip("-")
    return f"{slug[:21].strip('-')}-data"[:21] if len(slug) < 2 else slug[:21].strip("-")


def _trial(file: Path, data: Any) -> dict[str, Any]:
    """What an upload of this file would give under these settings."""
    from dropforge.ingest.ingest_file import ReadingOptions, admit

    with tempfile.TemporaryDirectory(prefix="dropforge-init-") as work:
        try:
            admission = admit(file, data=data, reference=None, workdir=Path(work), options=ReadingOptions(keep=False))
        except RejectedUpload as error:
            return {"accepted": False, **error.as_dict()}
        return {
            "accepted": True,
            "rows_used": admission.rows_used,
            "rows_quarantined": admission.rows_quarantined,
            "notes": sorted({n.message for n in admission.notes}),
        }


def _ignore_state(folder: Path) -> None:
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text(".dropforge/\n", encoding="utf-8")


def _marks(c: Any) -> str:
    sensitive = ", sensitive" if c.sensitive and c.use != "target" else ""
    return sensitive + (", personal data" if c.personal else "")


def _show(inferred: Any, trial: dict[str, Any], file: Path, folder: Path) -> None:
    heading(f"{file.name}: {inferred.rows:,} rows, {len(inferred.columns)} columns ({inferred.form.words})")
    order = {"target": 0, "feature": 1, "ignored": 2}
    columns = sorted(inferred.columns, key=lambda c: order[c.use])
    rows = [(c.name, c.kind, c.use + _marks(c), f"{c.missing:,}", c.reason) for c in (columns[:_SHOWN])]
    emit_table(("column", "read as", "use", "missing", "reason"), rows)
    if len(columns) > _SHOWN:
        say(f"and {len(columns) - _SHOWN} more columns: see --json")
    say(f"\ntarget   {inferred.target}: {inferred.target_reason}")
    if inferred.task == "regression":
        say("task     regression: a number to estimate")
    else:
        say(f"classes  {', '.join(f'{c.label} ({c.rows:,})' for c in inferred.classes[:10])}")
    if inferred.positive:
        say(f"positive {inferred.positive}: {inferred.positive_reason}")
    split = inferred.split
    say(f"split    {split.by}{' (' + split.column + ')' if split.column else ''}: {split.reason}")
    say(f"missing  {', '.join(inferred.markers) or 'empty cells only'}")
    checks = list(inferred.checks)
    if trial["accepted"]:
        aside = f", {trial['rows_quarantined']:,} quarantined" if trial["rows_quarantined"] else ""
        say(f"tried    {trial['rows_used']:,} rows accepted{aside}")
    else:
        checks.insert(0, f"an upload of this file would be rejected: {trial['message']}. {trial['fix']}")
    if checks:
        heading("\nTo check")
        for check in checks:
            say(f"- {check}")
    heading("\nNext")
    here = Path.cwd().resolve()
    steps = [] if folder.resolve() == here else [f"cd {shlex.quote(str(folder))}"]
    for line in (
        *steps,
        "dropforge up",
        f"dropforge upload {shlex.quote(os.path.relpath(file, folder))} --serve",
        "dropforge predict",
    ):
        say(f"  {line}")
    say(f"\n{folder / SETTINGS_FILE} is written: change what you know better")
