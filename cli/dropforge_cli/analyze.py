"""analyze and settings: the parts that need no cloud."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from dropforge.errors import NotFound
from dropforge_cli.output import emit_facts, emit_json
from dropforge_cli.target import SETTINGS_FILE, project_root

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Data")(analyze)
    settings = typer.Typer(help="Look at settings.yaml.", no_args_is_help=True)
    settings.command("check")(check)
    app.add_typer(settings, name="settings", rich_help_panel="Operations")


def analyze(
    reference: Annotated[Path, typer.Argument(help="CSV or Parquet to compare with", exists=True, dir_okay=False)],
    new: Annotated[Path, typer.Argument(help="CSV or Parquet to judge", exists=True, dir_okay=False)],
    save: Annotated[Path, typer.Option("--out", help="where to write the report")] = Path("report.html"),
    config: Annotated[Path | None, typer.Option("--settings", help="settings file; else the project's")] = None,
    json: Json = False,
) -> None:
    """Compare two files and write the report: the same code as in the cloud, with no cloud."""
    from dropforge import settings
    from dropforge.analysis import render, run

    threading.Thread(target=render.prepare, daemon=True).start()
    text, name = read_settings(config)
    report = run.compare_files(reference, new, settings.load(text, name))
    save.write_text(render.html(report), encoding="utf-8")
    if json:
        emit_json(report.model_dump(mode="json"))
        return
    lines = [
        f"verdict: {report.verdict.word}",
        *(f"- {f.title}: {f.evidence}\n  {f.suggestion}" for f in report.top_actions),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stderr.write(f"report: {save}\n")


def read_settings(config: Path | None) -> tuple[bytes, str]:
    """Text and name of the settings file given, else of the project we are in. Raises NotFound, PermanentError."""
    file = config or project_root() / SETTINGS_FILE
    try:
        return file.read_bytes(), str(file)
    except OSError:
        raise NotFound(f"there is no {file}", code="no_settings", fix="make one: dropforge init my.csv") from None


def check(
    config: Annotated[Path | None, typer.Argument(help="settings file; the project's when left out")] = None,
    json: Json = False,
) -> None:
    """Validate settings.yaml: every mistake with its line and its fix."""
    from dropforge import settings

    text, name = read_settings(config)
    parsed = settings.load(text, name)
    told = {
        "project": parsed.project,
        "target": parsed.data.target,
        "models": ", ".join(m.name for m in parsed.models),
        "sha256": parsed.sha256,
    }
    emit_json(told) if json else emit_facts(told)
