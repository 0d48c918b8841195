"""analyze and settings: the parts that need no cloud."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from dropforge_cli.output import emit_facts, emit_json

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
    config: Annotated[Path, typer.Option("--settings", help="settings file")] = Path("settings.yaml"),
    json: Json = False,
) -> None:
    """Compare two files and write the report: the same code as in the cloud, with no cloud."""
    from dropforge import settings
    from dropforge.analysis import render, run

    threading.Thread(target=render.prepare, daemon=True).start()
    report = run.compare_files(reference, new, settings.load(config.read_bytes(), str(config)))
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


def check(
    config: Annotated[Path, typer.Argument(help="settings file")] = Path("settings.yaml"), json: Json = False
) -> None:
    """Validate settings.yaml: every mistake with its line and its fix."""
    from dropforge import settings

    parsed = settings.load(config.read_bytes(), str(config))
    told = {
        "project": parsed.project,
        "target": parsed.data.target,
        "models": ", ".join(m.name for m in parsed.models),
        "sha256": parsed.sha256,
    }
    emit_json(told) if json else emit_facts(told)
