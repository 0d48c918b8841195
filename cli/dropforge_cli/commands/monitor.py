"""monitor: live traffic, compared with the reference and scored."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from dropforge.errors import Unavailable
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, emit_table, say
from dropforge_cli.target import Target

_TIMEOUT = 960  # seconds; longer than the function may run


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(monitor)


def monitor(
    show: Annotated[bool, typer.Option("--show", help="only show the stored windows")] = False,
    limit: Annotated[int, typer.Option(help="newest windows")] = 10,
    json: Json = False,
) -> None:
    """Analyse live traffic now, as the schedule does, and show the newest days: drift, predictions, score.

    Needs serving.capture.sample above 0 in settings.yaml.
    """
    target = Target.find()
    if not show:
        _look(target)
    response = target.api("GET", f"/monitoring?limit={limit}").json()
    if json:
        emit_json(response)
        return
    rows = [_line(w) for w in response["windows"]]
    emit_table(("day", "model", "rows", "verdict", "drifted", "labelled", "score"), rows)
    emit_facts(
        {
            "checked at": response["checked_at"],
            "labels": response["labels"],
            "of unknown ids": response["labels_unmatched"],
        }
    )
    for w in response["windows"]:
        for reason in (*w["verdict"]["reasons"], w["problem"]):
            if reason and w["verdict"]["word"] != "pass":
                say(f"{w['day']} {w['model']['name']}/{w['model']['version']}: {reason}")
    if not response["windows"]:
        say(
            "no request was captured: set serving.capture.sample in settings.yaml, then `dropforge apply` and `dropforge set-model`"
        )


def _look(target: Target) -> None:
    answer = target.client("lambda", timeout=_TIMEOUT).invoke(
        FunctionName=target.outputs["AnalyzeFunction"], Payload=json_module.dumps({"monitor": {}})
    )
    output = json_module.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise Unavailable(
            f"live traffic could not be analysed: {output.get('errorMessage', output)}",
            code="monitor_failed",
            fix="see `dropforge logs --service analyze`; nothing is lost, the next look takes it up",
        )


def _line(w: dict[str, Any]) -> tuple[Any, ...]:
    drifted = ", ".join(c["name"] for c in (*w["predicted"], *w["features"]) if c["outcome"] == "drift")
    score = w["score"] or {}
    known = ("accuracy", "roc_auc", "rmse", "mae")
    shown = ["  ".join(f"{k} {score[k]:.4g}" for k in known if score.get(k) is not None) or "-"]
    return (
        w["day"],
        f"{w['model']['name']}/{w['model']['version']}",
        w["rows"],
        w["verdict"]["word"] if not w["problem"] else w["problem"],
        drifted or "-",
        w["labelled"],
        *shown,
    )
