"""demo: the whole line on real data, from a file to a prediction."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge.errors import PermanentError, Unavailable
from dropforge_cli.commands.cloud import CloudOptions, MlflowPort, NoUi, Port, UiPort, config_of, ports_given, start
from dropforge_cli.output import done, emit_table, err, heading, out
from dropforge_cli.target import Target, project_root

_REPORT_SECONDS = 300
_USABLE = {"concluded", "accepted", "skipped"}


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
    """Start the local cloud, upload real data twice, train, activate, predict; print the seconds of each part. Safe to repeat."""
    from dropforge_cli.commands.uploads import put
    from dropforge_cli.example_data import fetch

    if not (project_root() / "template.yaml").exists():
        raise PermanentError(
            "the demo runs in the checkout: it trains on its example data by its settings.yaml",
            code="no_demo",
            fix="for this project: dropforge up, then dropforge upload FILE --serve",
        )
    clock = Stopwatch()
    _title("1  Data: Adult census income (UCI, CC BY 4.0)")
    example = fetch(project_root() / ".cache" / "data")
    done("data ready", clock.lap("example data"))
    _title("2  Local cloud; the reference, 32,561 rows, is sent while MLflow starts")
    sent: list[str] = []
    options = CloudOptions(port, mlflow_port, ui_port=ui_port, no_ui=no_ui)
    config, outputs = _start_cloud(clock, options, lambda found: sent.append(put(Target(found), example.reference)))
    target = Target(outputs)
    clock.lap("local cloud, reference sent")
    _title("3  Report of the reference")
    _wait_for_report(target, sent[0], example.reference.name)
    done("report ready", clock.lap("rest of the reference's report"))
    _title("4  New data: 16,281 rows, compared with the reference; then one training on both")
    second = _followed(target, put(target, example.new))
    clock.lap("new data: upload to registered models")
    _title("5  Verdict and models")
    report = _report(target, second)
    _verdict_table(report)
    _model_table(target)
    _title("6  Serve the best")
    name = _serve(target)
    _predict(target, example.new, rows)
    path = _save_report(config.home, target, report)
    clock.lap("activate, predict, fetch the report")
    _start_web_app(config, outputs)
    _title("Done")
    out.print(f"from nothing running to a prediction: {clock.total:.0f} s; {name} is active behind Production")
    _print_seconds(target, clock, {example.reference.name: sent[0], example.new.name: second["upload_id"]})
    _print_next(outputs, path)


def _start_cloud(
    clock: Stopwatch, options: CloudOptions, deployed: Callable[[dict[str, str]], None]
) -> tuple[Any, dict[str, str]]:
    """All but the web app; `deployed` is called when uploads can be sent."""
    from dropforge_local import cloud

    fixed = ports_given(options.port, options.mlflow_port, options.ui_port)
    return start(
        config_of(options), fixed, lambda chosen: cloud.up(chosen, clock.inner, web_app=False, deployed=deployed)
    )


def _start_web_app(config: Any, outputs: dict[str, str]) -> None:
    """Last, and not waited for: its start would take processor time from everything else."""
    from dropforge_local import cloud

    if config.ui_port:
        cloud.start_frontend(config, outputs, answering=False)


def _print_seconds(target: Target, clock: Stopwatch, uploads: dict[str, str]) -> None:
    """Of each part, and of the uploads (id by file name) as their records have them."""
    emit_table(("part", "seconds"), clock.rows(), title="where the time went")
    for name, upload_id in uploads.items():
        out.print(f"{name}: {_seconds(dict(target.api('GET', f'/uploads/{upload_id}').json()))}")


def _print_next(outputs: dict[str, str], report: Path) -> None:
    """Where everything is, and what to try."""
    if outputs["FrontendUrl"]:
        out.print(
            f"\nweb app  {outputs['FrontendUrl']}   (started just now: its first page takes some seconds)", end=""
        )
    out.print(f"\nAPI      {outputs['ApiUrl']}   (header x-api-key: {outputs['ApiKey']})")
    out.print(f"MLflow   {outputs['MlflowUrl']}\nreport   {report}\n")
    out.print("Try next:", style="bold")
    for line in (
        ".venv/bin/dropforge upload FILE --watch       your own file (set data.target in settings.yaml first)",
        ".venv/bin/dropforge logs last                 one upload across every part",
        ".venv/bin/dropforge models                    every version, its score, its aliases",
        ".venv/bin/dropforge predict                   one row through the API",
        "make down                                     stop; data stay in .dropforge",
    ):
        out.print(f"  {line}", markup=False, highlight=False)


class Stopwatch:
    """Wall-clock seconds of the demo's parts, one after the other, and of what ran inside a part, at the same time or not."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()
        self._parts: list[tuple[str, float, list[tuple[str, float]]]] = []
        self._inner: list[tuple[str, float]] = []

    def inner(self, what: str, seconds: float) -> None:
        """Something inside the running part is done; it is shown at once as well."""
        self._inner.append((what, seconds))
        done(what, seconds)

    def lap(self, part: str) -> float:
        """The running part ends here; its seconds."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._parts.append((part, seconds, self._inner))
        self._inner = []
        return seconds

    @property
    def total(self) -> float:
        """Seconds up to the end of the last part."""
        return self._last - self._begun

    def rows(self) -> list[tuple[str, str]]:
        """Part and seconds, what ran inside a part indented below it, the total last."""
        lines = []
        for part, seconds, inner in self._parts:
            lines.append((part, f"{seconds:.1f}"))
            lines += [(f"  {what}", f"{took:.1f}") for what, took in inner]
        return [*lines, ("total", f"{self.total:.1f}")]


def _wait_for_report(target: Target, upload_id: str, name: str) -> None:
    """Wait for the report of an upload. Raises Unavailable when it takes too long.

    Its training is not waited for: it begins when no file has arrived for `training.trigger.quiet_minutes`, on all that came.
    """
    from dropforge_cli.commands.uploads import TERMINAL, finish, stored_record

    deadline = time.monotonic() + _REPORT_SECONDS
    while time.monotonic() < deadline:
        record = stored_record(target, upload_id)
        if record and (record["state"] != "received" or record.get("report_uri")):
            if record["state"] in TERMINAL and record["state"] not in _USABLE:
                finish(record, json=False)
            return
        time.sleep(0.2)
    raise Unavailable(
        f"the report of {name} took longer than {_REPORT_SECONDS} s", code="report_late", fix="dropforge logs last"
    )


def _title(text: str) -> None:
    heading(f"\n{text}")


def _followed(target: Target, upload_id: str) -> dict[str, Any]:
    """The upload's record at its end; a file that was accepted in an earlier run is skipped, and its first record is shown instead."""
    from dropforge_cli.commands.uploads import follow_upload

    record = follow_upload(target, upload_id)
    if record["state"] == "skipped" and record["reason"]["code"] == "duplicate":
        err.print("  the same rows were trained on before: nothing to do", style="dim")
        earlier = [
            u
            for u in target.api("GET", "/uploads").json()["uploads"]
            if u["dataset_id"] == record["dataset_id"] and u["state"] == "concluded"
        ]
        if earlier:
            return dict(target.api("GET", f"/uploads/{earlier[-1]['upload_id']}").json())
    if record["state"] not in _USABLE:
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
