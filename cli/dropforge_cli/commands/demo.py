"""demo: the whole line on real data, from a file to a prediction."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge.errors import PermanentError
from dropforge_cli.commands.cloud import MlflowPort, NoUi, Port, UiPort, config_of
from dropforge_cli.output import done, emit_table, err, heading, out
from dropforge_cli.target import Target, project_root


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Start here")(demo)


def demo(
    port: Port = None,
    mlflow_port: MlflowPort = None,
    ui_port: UiPort = None,
    no_ui: NoUi = False,
    rows: Annotated[int, typer.Option(help="real rows to predict at the end")] = 3,
) -> None:
    """Start everything, upload real data twice, train, label, serve, predict. Repeating it is fine and fast."""
    from dropforge_cli.example_data import fetch
    from dropforge_local import cloud

    if not (project_root() / "template.yaml").exists():
        raise PermanentError(
            "the demo runs in the checkout: it trains on its example data by its settings.yaml",
            code="no_demo",
            fix="for this project: dropforge up, then dropforge upload FILE --serve",
        )
    begun = time.monotonic()
    _title("1  Local cloud")
    config = config_of(port, mlflow_port, ui_port=ui_port, no_ui=no_ui)
    outputs = cloud.up(config, done)
    target = Target(outputs)
    _title("2  Data: Adult census income (UCI, CC BY 4.0)")
    started = time.monotonic()
    example = fetch(project_root() / ".cache" / "data")
    done("data ready", time.monotonic() - started)
    first = _send(target, example.reference, "3  Reference: 32,561 rows")
    second = _send(target, example.new, "4  New data: 16,281 rows, compared with the reference")
    _title("5  Verdict and models")
    report = _report(target, second)
    _verdict_table(report)
    _model_table(target)
    _title("6  Serve the best")
    name = _serve(target)
    _predict(target, example.new, rows)
    path = _save_report(config.home, target, report)
    _title("Done")
    out.print(
        f"from nothing running to a prediction: {time.monotonic() - begun:.0f} s; {name} answers behind Production"
    )
    for file, record in ((example.reference, first), (example.new, second)):
        out.print(f"{file.name}: {_seconds(record)}")
    if outputs["FrontendUrl"]:
        out.print(f"\nweb app  {outputs['FrontendUrl']}", end="")
    out.print(
        f"\nAPI      {outputs['ApiUrl']}   (header x-api-key: {outputs['ApiKey']})\nMLflow   {outputs['MlflowUrl']}\nreport   {path}\n"
    )
    out.print("Try next:", style="bold")
    for line in (
        ".venv/bin/dropforge upload FILE --watch       your own file (set data.target in settings.yaml first)",
        ".venv/bin/dropforge logs last                 one upload across every part",
        ".venv/bin/dropforge models                    every version, its score, its aliases",
        ".venv/bin/dropforge predict                   one row through the API",
        "make down                                     stop; data stay in .dropforge",
    ):
        out.print(f"  {line}", markup=False, highlight=False)


def _title(text: str) -> None:
    heading(f"\n{text}")


def _send(target: Target, file: Path, title: str) -> dict[str, Any]:
    """Upload and follow; a file that was accepted in an earlier run is skipped, and its first record is shown instead."""
    from dropforge_cli.commands.uploads import follow_upload, put

    _title(title)
    record = follow_upload(target, put(target, file))
    if record["state"] == "skipped" and record["reason"]["code"] == "duplicate":
        err.print("  the same rows were trained on before: nothing to do", style="dim")
        earlier = [
            u
            for u in target.api("GET", "/uploads").json()["uploads"]
            if u["dataset_id"] == record["dataset_id"] and u["state"] == "concluded"
        ]
        if earlier:
            return dict(target.api("GET", f"/uploads/{earlier[-1]['upload_id']}").json())
    if record["state"] not in {"concluded", "accepted", "skipped"}:
        from dropforge_cli.commands.uploads import finish

        finish(record, json=False)
    return record


def _report(target: Target, record: dict[str, Any]) -> dict[str, Any]:
    return dict(target.api("GET", f"/reports/{record['upload_id']}", headers={"accept": "application/json"}).json())


def _verdict_table(report: dict[str, Any]) -> None:
    rows = [
        (
            c["name"],
            c["outcome"].replace("_", " "),
            f"{c['effect_corrected']:.3f}",
            f"{c['p_value']:.2g}",
            f"{c['missing_share']:.1%}",
        )
        for c in report["columns"]
        if c["p_value"] is not None
    ]
    emit_table(("column", "outcome", "effect", "p", "missing"), rows, title=f"verdict: {report['verdict']['word']}")


def _model_table(target: Target) -> None:
    listed = target.api("GET", "/models").json()["models"]
    rows = [
        (m["name"], m["version"], f"{next(iter(m['heldout'].values()), 0):.4f}", ", ".join(m["aliases"]))
        for m in listed
    ]
    metric = next((k for m in listed for k in m["heldout"]), "score")
    emit_table(("model", "version", f"held-out {metric}", "aliases"), rows)


def _serve(target: Target) -> str:
    """Label the last upload's challenger Production, as a person would in MLflow, and load it."""
    from dropforge_cli.commands.models import alias

    alias("challenger", "Production")
    response = target.api("POST", "/set_model", json={"alias": "Production"}).json()
    return f"{response['model']['name']} version {response['model']['version']}"


def _predict(target: Target, file: Path, rows: int) -> None:
    with file.open(newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        records = [r for _, r in zip(range(rows), reader, strict=False)]
    truth = [r.popitem()[1] for r in records]
    started = time.monotonic()
    answer = target.api("POST", "/predict", json={"records": records}).json()
    took = time.monotonic() - started
    table = [
        (i, p["label"], t, "  ".join(f"{k} {v:.3f}" for k, v in p["probabilities"].items()))
        for i, (p, t) in enumerate(zip(answer["predictions"], truth, strict=True))
    ]
    emit_table(("row", "predicted", "true", "probabilities"), table)
    done("predicted over HTTP", took)


def _save_report(home: Path, target: Target, report: dict[str, Any]) -> Path:
    upload_id = report["provenance"]["upload_id"]
    path = home / "reports" / f"{upload_id}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(target.api("GET", f"/reports/{upload_id}", headers={"accept": "text/html"}).text, encoding="utf-8")
    return path


def _seconds(record: dict[str, Any]) -> str:
    from datetime import datetime

    at = {s["state"]: datetime.fromisoformat(s["at"]) for s in record["history"]}
    parts = []
    for state, words in (("analysed", "report"), ("concluded", "registered models")):
        if state in at:
            parts.append(f"upload to {words} {(at[state] - at['received']).total_seconds():.1f} s")
    return ", ".join(parts)
