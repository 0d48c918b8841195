"""analyze and settings: the parts that need no cloud."""

from __future__ import annotations

import enum
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropforge.errors import InvalidRequest, NotFound, PermanentError, RejectedUpload
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, say
from dropforge_cli.target import SETTINGS_FILE, project_root

if TYPE_CHECKING:
    from dropforge.analysis.report_model import ColumnReport, Report
    from dropforge.config.settings import Settings

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ROWS_SHOWN = 20


class FailOn(enum.StrEnum):
    """The mildest verdict that is an error."""

    warn = "warn"
    block = "block"
    never = "never"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Data")(analyze)
    settings = typer.Typer(help="Look at settings.yaml.", no_args_is_help=True)
    settings.command("check")(check)
    app.add_typer(settings, name="settings", rich_help_panel="Operations")


def analyze(
    reference: Annotated[Path, typer.Argument(help="table to compare with", exists=True, dir_okay=False)],
    new: Annotated[Path, typer.Argument(help="table to judge", exists=True, dir_okay=False)],
    save: Annotated[Path, typer.Option("--out", help="where to write the report")] = Path("report.html"),
    config: Annotated[
        Path | None, typer.Option("--settings", help="settings file; else the project's; outside a project inferred")
    ] = None,
    target: Annotated[str, typer.Option(help="target column, where there is no settings file; else inferred")] = "",
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="exit with 1 from this verdict on; for continuous integration")
    ] = FailOn.never,
    json: Json = False,
) -> None:
    """Compare two files and write the report: the same code as in the cloud, with no cloud.

    Outside a project, and where the project's target is no column of the reference file, the settings are inferred from that file, as
    `dropforge init` does. Exit codes: 0, or 1 by --fail-on; 2 when a file cannot be read.
    """
    from dropforge.analysis.report import build_report, html_report

    threading.Thread(target=html_report.prepare, daemon=True).start()
    try:
        report = build_report.compare_files(reference, new, settings_for(config, reference, target))
    except RejectedUpload as error:
        if error.code != "target_missing" or config or target:
            raise
        say(f"the project's settings are for another table ({error.message})")
        report = build_report.compare_files(reference, new, _inferred_settings(reference, ""))
    save.write_text(html_report.html(report), encoding="utf-8")
    if json:
        emit_json(report.model_dump(mode="json"))
    else:
        sys.stdout.write("\n".join(summary(report)) + "\n")
    sys.stderr.write(f"report: {save}\n")
    failing = {FailOn.warn: {"warn", "block"}, FailOn.block: {"block"}, FailOn.never: set[str]()}[fail_on]
    if report.verdict.word in failing:
        raise typer.Exit(1)


def summary(report: Report) -> list[str]:
    """Lines for a terminal: verdict, rows, what to do, and each changed column with both distributions as sparklines."""
    intake = report.intake
    lines = [
        f"verdict: {report.verdict.word}",
        f"rows: {intake.rows_used:,} used, {intake.rows_quarantined:,} quarantined; reference {report.rows_reference or 0:,}",
        *(f"- {f.title}: {f.evidence}\n  {f.suggestion}" for f in report.top_actions),
    ]
    changed = [c for c in report.columns if c.significant or c.outcome == "drift"]
    width = max((len(c.name) for c in changed[:_ROWS_SHOWN]), default=0)
    lines += [_column_line(c, width) for c in changed[:_ROWS_SHOWN]]
    if len(changed) > _ROWS_SHOWN:
        lines.append(f"  and {len(changed) - _ROWS_SHOWN} more columns in the report")
    return lines


def _column_line(column: ColumnReport, width: int) -> str:
    bars = column.bars
    highest = max((*bars.reference, *bars.new), default=0.0)
    drawn = f"{sparkline(bars.reference, highest)} → {sparkline(bars.new, highest)}"
    effect = "" if column.effect_corrected is None else f"  effect {column.effect_corrected:.2f}"
    return f"  {column.name:<{width}}  {drawn}  {column.outcome.replace('_', ' ')}{effect}"


def sparkline(values: tuple[float, ...], highest: float) -> str:
    """One block for each share; the fullest block is `highest`, and no share above zero is invisible."""
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(1, round(v / highest * top)) if v > 0 else 0] for v in values)


def settings_for(config: Path | None, reference: Path, target: str) -> Settings:
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
        f"settings inferred from {reference.name}: target {inferred.target} ({inferred.target_reason}); "
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
