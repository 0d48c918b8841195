"""rules: what is expected of rows, tried on a file or imported from another tool, with no cloud."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge.errors import RejectedUpload
from dropforge_cli.commands.analyze import read_settings
from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, emit_table, err, say

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add `dropforge rules` and its commands."""
    group = typer.Typer(help="Try rules on rows (data.columns, data.rules), or import them.", no_args_is_help=True)
    group.command("test")(try_rules)
    group.command("import")(take_over)
    app.add_typer(group, name="rules", rich_help_panel="Data")


def try_rules(
    file: Annotated[Path, typer.Argument(help="file to validate", exists=True, dir_okay=False)],
    config: Annotated[
        Path | None, typer.Option("--settings", help="settings file; the project's when left out")
    ] = None,
    save: Annotated[Path | None, typer.Option("--out", help="write every quarantined row to this CSV file")] = None,
    json: Json = False,
) -> None:
    """Validate a file against the rules of settings.yaml, as an upload would be; nothing is changed.

    Exit code 1 when an upload of the file would be rejected or blocked.
    """
    import shutil

    from dropforge.config import settings
    from dropforge.ingest.ingest_file import admit
    from dropforge.ingest.rejected_rows import most

    data = settings.load(*read_settings(config)).data
    # Every violation is wanted, also of a file that an upload would reject for their number.
    lenient = data.model_copy(update={"limits": data.limits.model_copy(update={"max_quarantined_share": 1.0})})
    with tempfile.TemporaryDirectory(prefix="dropforge-rules-") as work:
        admission = admit(file, data=lenient, reference=None, workdir=Path(work))
        if save:
            shutil.copyfile(admission.rejects_csv, save)
    rejected = admission.rows_quarantined > most(admission.rows_in, data.limits)
    blocked = [r.name for r in admission.rules if r.action == "block" and r.violations > r.tolerance * r.rows]
    facts = {
        "rows_in": admission.rows_in,
        "rows_used": admission.rows_used,
        "rows_quarantined": admission.rows_quarantined,
        "rejected": rejected,
        "blocked_by": blocked,
    }
    if json:
        emit_json(
            {
                **facts,
                "rules": [asdict(r) for r in admission.rules],
                "first": [asdict(r) for r in admission.first_rejects],
            }
        )
    else:
        rows = [(r.name, r.action, f"{r.rows:,}", f"{r.violations:,}", _rate(r)) for r in admission.rules]
        emit_table(("rule", "action", "rows", "violations", "pass rate"), rows)
        _tell(admission, rejected=rejected, blocked=blocked)
    if rejected or blocked:
        raise typer.Exit(1)


def _rate(result: Any) -> str:
    return f"{1 - result.violations / result.rows:.4%}" if result.rows else "-"


def _tell(admission: Any, *, rejected: bool, blocked: list[str]) -> None:
    if not admission.rules:
        say("settings.yaml has no rules: docs/how-to/rules.md")
    for reject in admission.first_rejects[:_SHOWN]:
        say(f"line {reject.line}: {reject.reason}")
    if admission.rows_quarantined > _SHOWN:
        say(f"and {admission.rows_quarantined - _SHOWN:,} more rows: --out FILE writes them all")
    say(
        f"{admission.rows_used:,} of {admission.rows_in:,} rows would be used, {admission.rows_quarantined:,} quarantined"
    )
    if rejected:
        say("an upload of this file would be rejected: more rows than data.limits.max_quarantined_share allows")
    if blocked:
        say(f"an upload of this file would be blocked by {', '.join(blocked)}")


def take_over(
    file: Annotated[
        Path,
        typer.Argument(help="Great Expectations suite (JSON) or Pandera schema (YAML)", exists=True, dir_okay=False),
    ],
    json: Json = False,
) -> None:
    """Print the rules of a Great Expectations suite or a Pandera schema as a `data:` block for settings.yaml.

    Expectations without an equivalent are listed on stderr. Exit code 1 when none could be converted.
    """
    from dropforge_cli import import_rules

    imported = import_rules.read(file)
    if json:
        emit_json(asdict(imported))
    else:
        sys.stdout.write(import_rules.as_yaml(imported))
        for left in imported.left_out:
            err.print(f"not imported: {left}")
    if not imported.columns and not imported.rules:
        raise RejectedUpload(
            f"nothing of {file.name} could be imported",
            code="nothing_imported",
            fix="write the rules: docs/how-to/rules.md",
        )
