"""upload, batch, watch, uploads, report: a file's way through the system."""

from __future__ import annotations

import tempfile
import time
from json import loads
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from dropforge import ids, keys, s3_uri
from dropforge.errors import NotFound, PermanentError
from dropforge_cli.options import Json, Reason
from dropforge_cli.output import emit_facts, emit_json, emit_table, err, out, print_error, say
from dropforge_cli.progress import Follower
from dropforge_cli.target import Target

TERMINAL = {"concluded", "accepted", "scored", "rejected", "blocked", "failed", "skipped", "stored"}
_WAITS = "awaiting_approval"
_COLOURS = {
    "concluded": "green",
    "accepted": "green",
    "scored": "green",
    "rejected": "red",
    "failed": "red",
    "blocked": "red",
    "skipped": "yellow",
    _WAITS: "yellow",
    "stored": "green",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Data"
    app.command(rich_help_panel=panel)(upload)
    app.command(rich_help_panel=panel)(batch)
    app.command(rich_help_panel=panel)(watch)
    group = typer.Typer(help="List uploads; approve or reject one that waits.")
    group.callback(invoke_without_command=True)(uploads)
    group.command()(approve)
    group.command()(reject)
    app.add_typer(group, name="uploads", rich_help_panel=panel)
    app.command(rich_help_panel=panel)(report)


def upload(
    files: Annotated[
        list[str],
        typer.Argument(help="a table: CSV, Parquet, JSON lines, Excel; or its parts: a folder, several files, a glob"),
    ],
    follow: Annotated[bool, typer.Option("--watch", help="follow it to its end")] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="follow it, give its best version the alias Production, activate that version"),
    ] = False,
    json: Json = False,
) -> None:
    """Put a table into the bucket; its id is printed at once. Many files become one upload."""
    target = Target.find()
    upload_id = _put_whole(target, files)
    if serve:
        _serve(target, follow_upload(target, upload_id), json=json)
    elif follow:
        finish(follow_upload(target, upload_id), json=json)
    elif json:
        emit_json({"upload_id": upload_id})
    else:
        out.print(upload_id)


def _put_whole(target: Target, files: list[str]) -> str:
    """One upload, of whatever parts."""
    path = Path(files[0])
    if len(files) == 1 and path.is_file():  # nothing to join, nothing heavy to import
        return put(target, path)
    from dropforge.config import settings
    from dropforge.ingest.many_files import whole
    from dropforge_cli.commands.analyze import read_settings

    data = settings.load(*read_settings(None)).data
    with tempfile.TemporaryDirectory(prefix="dropforge-upload-") as work:
        joined = whole(files, Path(work), data)
        for file in joined.twice:
            say(f"{file} is a copy of another part: left out")
        for part in joined.parts:
            say(f"{part.file}: lines {part.first:,} to {part.last:,} of {joined.name}")
        return put(target, joined.file, f"{keys.INCOMING}{joined.name}")


def _serve(target: Target, record: dict[str, Any], *, json: bool) -> None:
    """The best version of an upload that ended well answers from now on."""
    from dropforge_cli.commands.models import serve_best

    if record["state"] not in {"concluded", "accepted", "skipped"}:
        finish(record, json=json)
        return
    served = serve_best(target)
    if json:
        emit_json({"upload": record, "served": served["model"]})
        return
    finish(record, json=False)
    emit_facts({"served": f"{served['model']['name']} version {served['model']['version']}"})
    say("it answers at POST /predict: dropforge predict, or dropforge outputs for the address and the key")


def batch(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, Parquet, JSON lines or Excel file with the model's features", exists=True, dir_okay=False
        ),
    ],
    follow: Annotated[bool, typer.Option("--watch", help="follow it to its end and fetch the predictions")] = False,
    save: Annotated[
        Path | None, typer.Option("--out", help="where to write them; beside the file when left out")
    ] = None,
    json: Json = False,
) -> None:
    """Score a file with the active model; the predictions land under predictions/ in the bucket."""
    target = Target.find()
    upload_id = put(target, file, f"{keys.BATCH}{file.name}")
    if not follow:
        emit_json({"upload_id": upload_id}) if json else out.print(upload_id)
        return
    record = follow_upload(target, upload_id)
    if record["state"] != "scored":
        finish(record, json=json)
        return
    bucket, _, key = record["predictions_uri"].removeprefix("s3://").partition("/")
    parts = _parts(target, bucket, key)
    path = save or file.with_name(f"{file.stem}.predictions.{parts[0].rpartition('.')[2]}")
    _fetch(target, bucket, parts, path)
    document = {
        "upload_id": upload_id,
        "rows": record["rows_used"],
        "set_aside": record["rows_quarantined"],
        "file": str(path),
    }
    emit_json({**record, "file": str(path)}) if json else emit_facts(document)


def _parts(target: Target, bucket: str, key: str) -> list[str]:
    """Keys of the predictions; those of a large file are named in its summary."""
    if not key.endswith("/summary.json"):
        return [key]
    summary = loads(target.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    return [s3_uri.split(uri)[1] for uri in summary["parts"]]


def _fetch(target: Target, bucket: str, parts: list[str], path: Path) -> None:
    if len(parts) == 1:
        target.client("s3").download_file(bucket, parts[0], str(path))
        return
    from dropforge_cli import prediction_parts

    with tempfile.TemporaryDirectory(prefix="dropforge-parts-") as work:
        files = [Path(work, key.rpartition("/")[2]) for key in parts]
        for key, file in zip(parts, files, strict=True):
            target.client("s3").download_file(bucket, key, str(file))
        prediction_parts.join(files, path)


def watch(upload_id: Annotated[str, typer.Argument(help="id, or `last`")] = "last", json: Json = False) -> None:
    """Follow an upload to its end with live progress. Exit code 1 unless it concluded or was skipped."""
    target = Target.find()
    finish(follow_upload(target, named(target, upload_id)), json=json)


def named(target: Target, upload_id: str) -> str:
    """The id itself, or that of the newest upload for `last`. Raises NotFound when there is none."""
    if upload_id != "last":
        return upload_id
    listed = target.api("GET", "/uploads").json()["uploads"]
    if not listed:
        raise NotFound("there is no upload yet", code="no_uploads", fix="dropforge upload FILE")
    return str(listed[0]["upload_id"])


def approve(
    upload_id: Annotated[str, typer.Argument(help="id of an upload in state awaiting_approval, or `last`")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Approve an upload that waits for approval; its training starts."""
    _decide(upload_id, "approve", reason, json=json)


def reject(
    upload_id: Annotated[str, typer.Argument(help="id of an upload in state awaiting_approval, or `last`")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """End an upload that waits for approval; nothing is trained on it."""
    _decide(upload_id, "reject", reason, json=json)


def _decide(upload_id: str, action: str, reason: str, *, json: bool) -> None:
    target = Target.find()
    path = f"/uploads/{named(target, upload_id)}"
    decision: dict[str, Any] = target.api("POST", path, json={"action": action, "reason": reason}).json()
    emit_json(decision) if json else emit_facts(decision)
    if action == "approve":
        say(f"follow it: dropforge watch {decision['subject']}")


def uploads(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="how many, of one page", min=1, max=200)] = 50,
    cursor: Annotated[str, typer.Option(help="of the next page, from the page before")] = "",
    json: Json = False,
) -> None:
    """List uploads, newest first, a page at a time; `uploads approve` and `uploads reject` decide about one that waits."""
    if context.invoked_subcommand:
        return
    query = urlencode({"limit": limit, **({"cursor": cursor} if cursor else {})})
    page = Target.find().api("GET", f"/uploads?{query}").json()
    listed = page["uploads"]
    if page["next"]:
        say(f"more: dropforge uploads --limit {limit} --cursor {page['next']}")
    if json:
        emit_json(listed)
        return
    rows = [
        (
            u["upload_id"],
            u["key"].removeprefix(keys.INCOMING),
            u["state"],
            u["verdict"],
            f"{u['rows_used']:,}",
            u["reason"][:60],
        )
        for u in listed
    ]
    emit_table(("upload", "file", "state", "verdict", "rows", "reason"), rows)


def report(
    upload_id: Annotated[str, typer.Argument(help="id, or `last`")] = "last",
    save: Annotated[Path, typer.Option("--out", help="where to write the HTML")] = Path("report.html"),
    json: Json = False,
) -> None:
    """Save an upload's report as one HTML file; with --json its facts go to stdout instead."""
    target = Target.find()
    path = f"/reports/{named(target, upload_id)}"
    if json:
        emit_json(target.api("GET", path, headers={"accept": "application/json"}).json())
        return
    save.write_text(target.api("GET", path, headers={"accept": "text/html"}).text, encoding="utf-8")
    out.print(str(save))


def put(target: Target, file: Path, key: str = "") -> str:
    """Upload and return the id, which derives from bucket, key and the new version."""
    bucket, key = target.outputs["DataBucket"], key or f"{keys.INCOMING}{file.name}"
    with file.open("rb") as body:
        answer = target.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return ids.upload_id(bucket, key, answer.get("VersionId") or answer["ETag"].strip('"'))


def follow_upload(target: Target, upload_id: str, timeout: float = 7200) -> dict[str, Any]:
    """Poll the record; one line on stderr for every state and every trial of the training."""
    started, seen = time.monotonic(), 0
    trials = Follower()
    while True:
        record = stored_record(target, upload_id)
        for step in (record or {}).get("history", ())[seen:]:
            _print_state(time.monotonic() - started, step["state"], _remark(record or {}, step["state"]))
            seen += 1
        if record and record.get("trained_by"):
            say(f"its rows are trained together with those of upload {record['trained_by']}: following that one")
            return follow_upload(target, record["trained_by"], timeout - (time.monotonic() - started))
        if record and record["state"] in {*TERMINAL, _WAITS}:
            return record
        if record and record["state"] == "training":
            trials.tell(time.monotonic() - started, record["progress"])
        if time.monotonic() - started > timeout:
            raise PermanentError(
                f"upload {upload_id} did not end within {timeout:.0f} s",
                code="watch_timeout",
                fix=f"dropforge watch {upload_id}",
            )
        time.sleep(0.3)


def _print_state(seconds: float, state: str, remark: str) -> None:
    from rich.text import Text

    err.print(Text.assemble((f"  {seconds:5.1f} s ", "dim"), (state, _COLOURS.get(state, "cyan")), remark))


def stored_record(target: Target, upload_id: str) -> dict[str, Any] | None:
    """The upload's record; None while its event is on its way."""
    try:
        response: dict[str, Any] = target.api("GET", f"/uploads/{upload_id}").json()
    except NotFound:
        return None  # the event is on its way
    return response


def _remark(record: dict[str, Any], state: str) -> str:
    if state == "analysed":
        aside = f", {record['rows_quarantined']:,} quarantined" if record["rows_quarantined"] else ""
        return f"  verdict {record['verdict']}; {record['rows_used']:,} rows used{aside}"
    if state == "waiting":
        return "  accepted; the training starts when no further file arrives (training.trigger in settings.yaml)"
    if state == "training" and record.get("cost"):
        limit = record["cost"]
        return f"  costs at most {limit['training_at_most']:.4f} {limit['currency']} at the prices in settings.yaml"
    if state == "scored":
        aside = f", {record['rows_quarantined']:,} quarantined" if record["rows_quarantined"] else ""
        return (
            f"  {record['rows_used']:,} rows by {record['models'][0]['name']}/{record['models'][0]['version']}{aside}"
        )
    if state == "concluded":
        return f"  challenger {record['challenger']}" if record["challenger"] else ""
    return ""


def finish(record: dict[str, Any], *, json: bool) -> None:
    """Print the end of an upload; exit 1 for a bad one."""
    if json:
        emit_json(record)
    else:
        shown = {
            k: record[k]
            for k in (
                "upload_id",
                "state",
                "verdict",
                "rows_in",
                "rows_used",
                "rows_quarantined",
                "challenger",
                "run_url",
            )
            if record[k]
        }
        emit_facts(shown)
        if record["state"] == _WAITS:
            upload_id = record["upload_id"]
            print_error(
                "it waits for approval (analysis.approve_on in settings.yaml)",
                f"dropforge report {upload_id}, then dropforge uploads approve {upload_id}, or reject",
            )
        if record["reason"]:  # which names the models too when none of them was trained
            print_error(record["reason"]["message"], record["reason"]["fix"])
        else:
            for m in (m for m in record["models"] if "error" in m):
                print_error(f"{m['model']} was not trained: {m['error']}", "")
    if record["state"] not in {"concluded", "accepted", "scored", "skipped"}:
        raise typer.Exit(1)
