"""analyze and settings: the parts that need no cloud."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropforge.errors import InvalidRequest, NotFound, PermanentError
from dropforge_cli.output import emit_facts, emit_json, say
from dropforge_cli.target import SETTINGS_FILE, project_root

if TYPE_CHECKING:
    from dropforge.config.settings import Settings

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
    config: Annotated[
        Path | None, typer.Option("--settings", help="settings file; else the project's; outside a project inferred")
    ] = None,
    target: Annotated[str, typer.Option(help="target column, where there is no settings file; else inferred")] = "",
    json: Json = False,
) -> None:
    """Compare two files and write the report: the same code as in the cloud, with no cloud.

    Outside a project the settings are inferred from the reference file, as `dropforge init` does.
    """
    from dropforge.analysis.report import build_report, html_report

    threading.Thread(target=html_report.prepare, daemon=True).start()
    report = build_report.compare_files(reference, new, _settings(config, reference, target))
    save.write_text(html_report.html(report), encoding="utf-8")
    if json:
        emit_json(report.model_dump(mode="json"))
        return
    lines = [
        f"verdict: {report.verdict.word}",
        *(f"- {f.title}: {f.evidence}\n  {f.suggestion}" for f in report.top_actions),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stderr.write(f"report: {save}\n")


def _settings(config: Path | None, reference: Path, target: str) -> Settings:
    """Those of the file given, else of the project around us, else inferred from `reference`.

    Raises NotFound, SettingsError, RejectedUpload, and InvalidRequest when no column can be the target.
    """
    from dropforge.config import settings

    if config and target:
        raise InvalidRequest(
            "--settings and --target contradict each other",
            code="two_targets",
            fix="leave --target out: the file names it",
        )
    if not target:
        try:
            return settings.load(*read_settings(config))
        except PermanentError as error:
            if error.code != "no_project":
                raise
    return _inferred_settings(reference, target)


def _inferred_settings(reference: Path, target: str) -> Settings:
    from dropforge.config import settings
    from dropforge_cli import settings_writer
    from dropforge_cli.commands.init import project_name
    from dropforge_cli.infer_settings import guess

    with tempfile.TemporaryDirectory(prefix="dropforge-analyze-") as work:
        inferred = guess(reference, Path(work), target=target)
    say(
        f"settings inferred from {reference.name}: target {inferred.target} ({inferred.target_why}); "
        "choose another with --target, or give a file with --settings"
    )
    for check in inferred.checks:
        say(f"to check: {check}")
    content = settings_writer.write(inferred, project_name(reference), reference.name)
    return settings.load(content, f"settings inferred from {reference.name}")


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
    from dropforge.config import settings

    text, name = read_settings(config)
    parsed = settings.load(text, name)
    document = {
        "project": parsed.project,
        "target": parsed.data.target,
        "models": ", ".join(m.name for m in parsed.models),
        "sha256": parsed.sha256,
    }
    emit_json(document) if json else emit_facts(document)
