"""quarantine list | show | fix | replay: quarantined rows, corrected and resubmitted."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge import keys
from dropforge.errors import InvalidRequest, NotFound
from dropforge_cli.commands.uploads import finish, follow_upload, put
from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, emit_table, out, say
from dropforge_cli.target import Target

Upload = Annotated[str, typer.Argument(help="id of the upload whose rows were quarantined, or `last`")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Quarantined rows: list, correct, resubmit.", no_args_is_help=True)
    group.command("list")(listed)
    group.command()(show)
    group.command()(fix)
    group.command()(replay)
    app.add_typer(group, name="quarantine", rich_help_panel="Data")


def listed(json: Json = False) -> None:
    """Uploads of which rows were quarantined, newest first."""
    response = Target.find().api("GET", "/quarantine").json()["uploads"]
    if json:
        emit_json(response)
        return
    emit_table(
        ("upload", "file", "rows quarantined", "state"),
        [(u["upload_id"], u["key"].removeprefix(keys.INCOMING), u["rows_quarantined"], u["state"]) for u in response],
    )


def show(upload_id: Upload, json: Json = False) -> None:
    """Each row with its line, column and reason."""
    result = _quarantine_of(upload_id)
    if json:
        emit_json(result)
        return
    emit_table(
        ("line", "column", "reason", "row"),
        [(r["line"], r["column"] or "-", r["reason"], r["raw"]) for r in result["rows"]],
    )


def fix(
    upload_id: Upload,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="LINE:COLUMN=VALUE, as often as needed", metavar="LINE:COLUMN=VALUE"),
    ] = None,
    save: Annotated[Path, typer.Option("--out", help="where to write the rows to correct")] = Path("fixed.csv"),
    exact: Annotated[
        bool, typer.Option("--exact", help="without an apostrophe before texts that a spreadsheet would run")
    ] = False,
    json: Json = False,
) -> None:
    """Write the rows as a CSV file to correct, with --set already applied; `quarantine replay` resubmits it."""
    from dropforge.ingest import quarantine, rejected_rows

    result = _quarantine_of(upload_id)
    header, delimiter = result["header"], result["delimiter"]
    if long := [r["line"] for r in result["rows"] if r["truncated"]]:
        raise InvalidRequest(
            f"line{'s' if len(long) > 1 else ''} {', '.join(map(str, long[:10]))} too long to be corrected here",
            code="row_too_long",
            fix=f"take the rows from {result['links']['rows_csv']}, correct them, then: dropforge quarantine replay",
        )
    rows = {int(r["line"]): quarantine.row_of(r["raw"], delimiter) for r in result["rows"]}
    for change in changes or []:
        _apply(change, rows, header)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    written = str if exact else rejected_rows.harmless
    writer.writerows([[written(cell) for cell in row] for row in (header, *rows.values())])
    save.write_text(text.getvalue(), encoding="utf-8")
    if json:
        emit_json({"file": str(save), "lines": sorted(rows)})
        return
    for r in result["rows"][:20]:
        wrong = "" if len(rows[r["line"]]) == len(header) else f" ({len(rows[r['line']])} fields of {len(header)})"
        say(f"line {r['line']}: {r['reason']}{wrong}")
    say(f"correct {save}, then: dropforge quarantine replay {upload_id} {save}")
    out.print(str(save))


def replay(
    upload_id: Upload,
    file: Annotated[Path, typer.Argument(help="the corrected rows", exists=True, dir_okay=False)],
    follow: Annotated[bool, typer.Option("--watch", help="follow it to its end")] = False,
    json: Json = False,
) -> None:
    """Resubmit corrected rows as a new upload, validated like any other."""
    from dropforge.ingest import quarantine

    target, upload_id = Target.find(), _named(upload_id)
    response = target.api("GET", f"/quarantine/{upload_id}?limit=1").json()  # is there anything to correct
    with tempfile.TemporaryDirectory(prefix="dropforge-") as folder:
        sent = Path(folder) / file.name
        sent.write_bytes(_without_apostrophes(file.read_bytes(), response["delimiter"]))
        created = put(target, sent, quarantine.replay_key(upload_id, file.name))
    if follow:
        finish(follow_upload(target, created), json=json)
    elif json:
        emit_json({"upload_id": created})
    else:
        out.print(created)


def _without_apostrophes(body: bytes, delimiter: str) -> bytes:
    """Rows to correct without the apostrophes that `fix` wrote before formulas; what cannot be read is left to admission."""
    from dropforge.ingest import csv_text, quarantine

    try:
        rows = csv_text.rows(body.decode("utf-8-sig"), delimiter)
    except ValueError:
        return body
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([quarantine.plain(c) for c in r] for r in rows)
    return text.getvalue().encode()


def _quarantine_of(upload_id: str) -> dict[str, Any]:
    """All pages in one answer."""
    target, upload_id = Target.find(), _named(upload_id)
    answer: dict[str, Any] = target.api("GET", f"/quarantine/{upload_id}").json()
    page = answer
    while page["next_offset"] is not None:
        page = target.api("GET", f"/quarantine/{upload_id}?offset={page['next_offset']}").json()
        answer["rows"] += page["rows"]
    return answer | {"next_offset": None}


def _named(upload_id: str) -> str:
    """`last` is the newest upload of which rows were quarantined. Raises NotFound when there is none."""
    if upload_id != "last":
        return upload_id
    response = Target.find().api("GET", "/quarantine").json()["uploads"]
    if not response:
        raise NotFound("no row was quarantined", code="quarantine_empty", fix="nothing to correct: dropforge uploads")
    return str(response[0]["upload_id"])


def _apply(change: str, rows: dict[int, list[str]], header: list[str]) -> None:
    place, equals, value = change.partition("=")
    line, _, column = place.partition(":")
    if not equals or not line.isdigit() or int(line) not in rows or column not in header:
        raise InvalidRequest(
            f"--set {change!r} names no cell that was quarantined",
            code="cell_unknown",
            fix=f"write LINE:COLUMN=VALUE with a line of {sorted(rows)[:10]} and a column of {', '.join(header)}",
        )
    cells, at = rows[int(line)], header.index(column)
    if at >= len(cells):
        raise InvalidRequest(
            f"line {line} has {len(cells)} fields only", code="row_width", fix="correct this row in the file itself"
        )
    cells[at] = value
