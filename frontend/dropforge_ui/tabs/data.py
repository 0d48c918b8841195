"""Data: a file in, its way through the system, its report, its rows set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from dropforge_ui import theme, words
from dropforge_ui.cells import together
from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import done, problem, tag
from dropforge_ui.tabs.parts import drop, html, waiting
from dropforge_ui.views import data as views
from dropforge_ui.views import page

LOOK_EVERY_SECONDS = 1.0
Chosen = dict[str, str]  # upload_id, or key while there is no record yet; seen: what the page shows of it


def build(api: Api) -> Any:
    """Controls into the open tab; returns the event to hang on the opening of the page and of the tab."""
    chosen = gr.State(dict)
    with gr.Row(elem_classes=["df-split"]):
        with gr.Column(scale=2, elem_classes=["df-side"]):
            with gr.Column(elem_classes=["df-card"]), gr.Column():
                html("<h2>Add a file</h2>")
                file = drop("CSV or Parquet", [".csv", ".tsv", ".txt", ".parquet"], "upload-file")
                sent = html(visible=False)
            listed = html(waiting("Uploads"), js_on_load=theme.pick_script(), elem_id="uploads")
        with gr.Column(scale=3, elem_classes=["df-side"]):
            detail = html(elem_id="upload")
            quarantine = html(js_on_load=theme.quarantine_script(), visible=False, elem_id="quarantine")
            replayed = html(visible=False)
    report = html(visible=False, elem_id="report")
    clock = gr.Timer(LOOK_EVERY_SECONDS, active=False)
    shown = [chosen, listed, detail, quarantine, report, clock]

    def look(now: Chosen) -> Any:
        try:
            return _look(api, now)
        except ApiError as error:
            return (*_skips(2), gr.update(value=page.error(error)), gr.skip(), gr.skip(), gr.skip())

    def pick(event: gr.EventData) -> Chosen:
        return {"upload_id": str(event._data["pick"])}

    def send(path: str | None) -> Any:
        if not path:
            yield gr.skip(), gr.skip(), gr.skip()
            return
        name = Path(path).name
        yield (
            gr.update(value=tag("p", f"Sending {name} …", class_="df-note", role="status"), visible=True),
            gr.skip(),
            gr.skip(),
        )
        try:
            key = api.send_file(Path(path), name)
        except ApiError as error:
            yield gr.update(value=page.error(error), visible=True), gr.skip(), None
            return
        yield gr.update(value=done(f"{name} is in the bucket."), visible=True), {"key": key}, None

    def replay(now: Chosen, event: gr.EventData) -> Any:
        rows = event._data.get("rows") or []
        if not rows:
            told = problem("nothing_changed", "No row was changed.", "correct a field of a row, then send")
            return gr.update(value=told, visible=True), gr.skip()
        try:
            delimiter = api.quarantined(now["upload_id"])["delimiter"]
            key = api.replay(now["upload_id"], {int(r["line"]): together(r["cells"], delimiter) for r in rows})
        except ApiError as error:
            return gr.update(value=page.error(error), visible=True), gr.skip()
        told = done(f"{words.count(len(rows), 'row')} sent in again.", "They go through the system as a new upload.")
        return gr.update(value=told, visible=True), {"key": key}

    quiet = {"show_progress": "hidden"}
    file.upload(send, file, [sent, chosen, file]).then(look, chosen, shown, **quiet)
    listed.select(pick, None, chosen, **quiet).then(look, chosen, shown, show_progress="minimal").then(
        lambda: gr.update(visible=False), None, replayed, **quiet
    )
    quarantine.submit(replay, chosen, [replayed, chosen]).then(look, chosen, shown, **quiet)
    clock.tick(look, chosen, shown, **quiet)
    return lambda event: event(look, chosen, shown, **quiet)


def _look(api: Api, now: Chosen) -> tuple[Any, ...]:
    """The list, and of the chosen upload what changed since the page was last told."""
    found = api.uploads()
    upload_id = now.get("upload_id", "")
    if not upload_id and now.get("key"):
        upload_id = next((u["upload_id"] for u in found if u["key"] == now["key"]), "")
        if not upload_id:
            waiting = (
                views.expected(now["key"]),
                gr.update(visible=False),
                gr.update(visible=False),
                gr.Timer(active=True),
            )
            return (now, views.listing(found, ""), *waiting)
    if not upload_id and found:
        upload_id = found[0]["upload_id"]
    if not upload_id:
        return (
            now,
            views.listing(found, ""),
            "",
            gr.update(visible=False),
            gr.update(visible=False),
            gr.Timer(active=False),
        )
    record = api.upload(upload_id)
    seen = f"{record.get('report_uri')} {record.get('rows_quarantined')}"
    fresh = now.get("upload_id") != upload_id or now.get("seen") != seen
    quarantine, report = (_quarantine(api, record), _report(api, record)) if fresh else _skips(2)
    running = record["state"] not in words.TERMINAL
    told: Chosen = {"upload_id": upload_id, "seen": seen}
    return told, views.listing(found, upload_id), views.detail(record), quarantine, report, gr.Timer(active=running)


def _quarantine(api: Api, record: Any) -> Any:
    if not record.get("rows_quarantined") or not record.get("quarantine_uri"):
        return gr.update(visible=False)
    return gr.update(value=views.quarantine(api.quarantined(record["upload_id"])), visible=True)


def _report(api: Api, record: Any) -> Any:
    if not record.get("report_uri"):
        return gr.update(visible=False)
    link = record.get("links", {}).get("report_html", "")
    return gr.update(value=views.report(api.report_html(record["upload_id"]), link), visible=True)


def _skips(count: int) -> tuple[Any, ...]:
    return tuple(gr.skip() for _ in range(count))
