"""Data: a file in, its way through the system, its report, its rows quarantined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dropforge_ui import theme, words
from dropforge_ui.cells import together
from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import done, problem, tag
from dropforge_ui.pages import page
from dropforge_ui.pages.data import comparison, decisions
from dropforge_ui.pages.data import markup as views
from dropforge_ui.pages.parts import drop, html, waiting

REFRESH_INTERVAL_SECONDS = 1.0


@dataclass(slots=True)
class Chosen:
    """The upload one visitor looks at: by id, or by key while there is no record yet; `seen` is what the page shows of it.

    Changed in place: an answer on its way that is about another upload is dropped when it arrives.
    """

    upload_id: str = ""
    key: str = ""
    seen: str = ""

    def turn(self, *, upload_id: str = "", key: str = "") -> None:
        """Choose another upload, by its id or its key."""
        self.upload_id, self.key, self.seen = upload_id, key, ""


def build(api: Api) -> Any:
    """Controls into the open tab; returns what hangs them on the opening of the tab."""
    chosen = gr.State(Chosen())
    with gr.Row(elem_classes=["df-split"]):
        with gr.Column(scale=2, elem_classes=["df-side"]):
            with gr.Column(elem_classes=["df-card"]), gr.Column():
                html("<h2>Add a file</h2>")
                file = drop(
                    "CSV, Parquet, JSON lines or Excel",
                    [".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".ndjson", ".xlsx", ".gz", ".zst"],
                    "upload-file",
                )
                sent = html(visible=False)
            listed = html(waiting("Uploads"), js_on_load=theme.pick_script(), elem_id="uploads")
        with gr.Column(scale=3, elem_classes=["df-side"]):
            detail = html(elem_id="upload")
            quarantine = html(js_on_load=theme.quarantine_script(), visible=False, elem_id="quarantine")
            replayed = html(visible=False)
            decision = decisions.build(api, chosen)
    report = html(visible=False, elem_id="report")
    fill = comparison.build(api)
    clock = gr.Timer(REFRESH_INTERVAL_SECONDS, active=False)
    shown = [listed, detail, quarantine, report, clock, *decision.shown]

    def look(now: Chosen) -> Any:
        try:
            return _look(api, now)
        except ApiError as error:
            return views.unanswered(), page.error(error), *_skips(3 + len(decision.shown))

    def pick(now: Chosen, event: gr.EventData) -> Any:
        now.turn(upload_id=str(event._data["pick"]))
        return gr.update(visible=False)

    quiet = {"show_progress": "hidden"}
    for event in decision.clicks:
        event.then(look, chosen, shown, **quiet)
    file.upload(_sending(api), [file, chosen], [sent, file]).then(look, chosen, shown, **quiet)
    listed.select(pick, chosen, replayed, **quiet).then(look, chosen, shown, show_progress="minimal")
    quarantine.submit(_resubmitting(api), chosen, replayed, show_progress="minimal").then(look, chosen, shown, **quiet)
    clock.tick(look, chosen, shown, **quiet)
    return lambda event: (event(look, chosen, shown, **quiet), fill(event))


def _sending(api: Api) -> Any:
    """The event of a chosen file: it goes into the bucket and does not stay here."""

    def send(path: str | None, now: Chosen) -> Any:
        if not path:
            yield gr.skip(), gr.skip()
            return
        name = Path(path).name
        output = tag("p", f"Sending {name} …", class_="df-note df-wait", role="status")
        yield gr.update(value=output, visible=True), gr.skip()
        try:
            now.turn(key=api.send_file(Path(path), name))
        except ApiError as error:
            yield gr.update(value=page.error(error), visible=True), None
            return
        finally:
            Path(path).unlink(missing_ok=True)  # an erasure does not look here
        yield gr.update(value=done(f"{name} is in the bucket."), visible=True), None

    return send


def _resubmitting(api: Api) -> Any:
    """The event of corrected rows: they are sent as a new upload, which becomes the chosen one."""

    def resubmit(now: Chosen, event: gr.EventData) -> Any:
        rows = event._data.get("rows") or []
        if not rows:
            output = problem("nothing_changed", "No row was changed.", "Correct a field of a row, then send.")
            return gr.update(value=output, visible=True)
        try:
            delimiter = api.quarantined(now.upload_id)["delimiter"]
            key = api.replay(now.upload_id, {int(r["line"]): together(r["cells"], delimiter) for r in rows})
        except ApiError as error:
            return gr.update(value=page.error(error), visible=True)
        now.turn(key=key)
        output = done(
            f"{words.count(len(rows), 'row')} resubmitted.",
            "The corrected rows go through the system as a new upload.",
        )
        return gr.update(value=output, visible=True)

    return resubmit


def _look(api: Api, now: Chosen) -> tuple[Any, ...]:
    """The list, and of the chosen upload what changed since the page was last told."""
    requested = (now.upload_id, now.key)
    result = api.uploads()
    upload_id = now.upload_id or next((u["upload_id"] for u in result if u["key"] == now.key), "")
    if now.key and not upload_id:
        return (
            views.listing(result, ""),
            views.expected(now.key),
            *_hidden(2),
            gr.Timer(active=True),
            *decisions.hidden(),
        )
    upload_id = upload_id or (result[0]["upload_id"] if result else "")
    if not upload_id:
        return views.listing(result, ""), views.nothing(), *_hidden(2), gr.Timer(active=False), *decisions.hidden()
    record = api.upload(upload_id)
    seen = f"{upload_id} {record.get('report_uri')} {record.get('rows_quarantined')}"
    quarantine, report = (_quarantine(api, record), _report(api, record)) if now.seen != seen else _skips(2)
    if (now.upload_id, now.key) != requested:
        return _skips(5 + len(decisions.hidden()))  # another one was chosen meanwhile, and is asked for by itself
    now.upload_id, now.key, now.seen = upload_id, "", seen
    running = record["state"] not in words.TERMINAL
    page_parts = (views.listing(result, upload_id), views.detail(record), quarantine, report, gr.Timer(active=running))
    return *page_parts, *decisions.for_record(api, record)


def _quarantine(api: Api, record: Any) -> Any:
    if not record.get("rows_quarantined") or not record.get("quarantine_uri"):
        return gr.update(visible=False)
    return gr.update(value=views.quarantine(api.quarantined(record["upload_id"])), visible=True)


def _report(api: Api, record: Any) -> Any:
    if not record.get("report_uri") or record["state"] == "rejected":  # a rejected file's report is its reason again
        return gr.update(visible=False)
    link = record.get("links", {}).get("report_html", "")
    return gr.update(value=views.report(api.report_html(record["upload_id"]), link), visible=True)


def _skips(count: int) -> tuple[Any, ...]:
    return tuple(gr.skip() for _ in range(count))


def _hidden(count: int) -> tuple[Any, ...]:
    return tuple(gr.update(visible=False) for _ in range(count))
