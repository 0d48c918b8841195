"""cost: what an upload, its training and a thousand predictions cost."""

from __future__ import annotations

from typing import Annotated

import typer

from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, emit_table, err
from dropforge_cli.target import Target


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(cost)


def cost(
    days: Annotated[float, typer.Option(help="how far back measured calls are looked for")] = 7,
    json: Json = False,
) -> None:
    """Estimate what an upload, its training and 1,000 predictions cost. Needs one upload and one prediction to have run."""
    from dropforge import keys
    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings_store
    from dropforge_cli import cost_report

    target = Target.find()
    settings = settings_store.read(S3Store(target.client("s3")), keys.settings(target.environment.data_bucket))
    result = cost_report.estimate(
        settings,
        {s: cost_report.measured(target, s, days) for s in ("analyze", "conclude", "predict")},
        cost_report.trained(target.client("logs"), f"{target.outputs['LogGroupPrefix']}training", days),
        cost_report.stored(target),
    )
    if json:
        emit_json(result)
        return
    currency = settings.cost.currency
    rows = [
        (what, part, f"{price:.6f}") for what, parts in result["estimates"].items() for part, price in parts.items()
    ]
    emit_table(("of", "part", currency), rows)
    for line in result["notes"]:
        err.print(line, markup=False)
