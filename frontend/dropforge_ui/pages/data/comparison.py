"""Two uploads side by side: what their reports say of each column, and the findings that only one of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from dropforge_ui import words
from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import Markup, Row, chip, empty, join, table, tag
from dropforge_ui.pages import page
from dropforge_ui.pages.parts import html

Report = Mapping[str, Any]  # GET /reports/{upload_id} as JSON
_LISTED = 100  # columns of one table; those that differ come first
_NOTE = '<p class="df-note">Choose two uploads.</p>'


def build(api: Api) -> Callable[[Any], Any]:
    """Controls into the open tab; returns what hangs their choices on an event."""
    with gr.Column(elem_classes=["df-card"]), gr.Column():
        html("<h2>Compare two uploads</h2>")
        with gr.Row(elem_classes=["df-two", "df-compare"]):
            first = gr.Dropdown(label="First upload", choices=[], value=None, elem_classes=["df-field"])
            second = gr.Dropdown(label="Second upload", choices=[], value=None, elem_classes=["df-field"])
        output = html(_NOTE, elem_id="compared-uploads")

    def fill(one: str | None, other: str | None) -> tuple[Any, Any]:
        try:
            known = [(_title(u), u["upload_id"]) for u in api.uploads() if u.get("verdict")]
        except ApiError:
            return gr.skip(), gr.skip()
        ids = [upload_id for _, upload_id in known]
        return tuple(gr.update(choices=known, value=v if v in ids else None) for v in (one, other))

    def compare(one: str | None, other: str | None) -> str:
        if not one or not other:
            return _NOTE
        if one == other:
            return '<p class="df-note">Choose two different uploads.</p>'
        try:
            return comparison(api.report(one), api.report(other))
        except ApiError as error:
            return page.error(error)

    gr.on([first.input, second.input], compare, [first, second], output, show_progress="minimal")
    return lambda event: event(fill, [first, second], [first, second], show_progress="hidden")


def _title(upload: Mapping[str, Any]) -> str:
    return f"{words.filename(upload['key'])}, {words.ago(upload.get('received_at', ''))} ({upload['upload_id'][:6]})"


def comparison(a: Report, b: Report) -> Markup:
    """Rows, verdict, findings, then every column: those whose outcome differs first, then by the change of missing values."""
    columns = {name: (_column(a, name), _column(b, name)) for name in _names(a, b)}
    if not columns:
        return empty("Nothing to compare", "Neither report has columns.")
    order = sorted(columns, key=lambda n: _distance(*columns[n]), reverse=True)
    rows = [_row(name, *columns[name]) for name in order[:_LISTED]]
    more = f"{len(order) - _LISTED} more columns are the same or differ less." if len(order) > _LISTED else ""
    return join(
        tag("p", _heading(a), " · ", _heading(b), class_="df-note"),
        _only("Findings of the first alone", a, b),
        _only("Findings of the second alone", b, a),
        table(
            ("column", "outcome", "effect", "missing", "distinct"),
            rows,
            numeric=(2, 3, 4),
            caption="two uploads by column",
        ),
        tag("p", more, class_="df-note") if more else None,
    )


def _names(a: Report, b: Report) -> list[str]:
    return list(dict.fromkeys(c["name"] for report in (a, b) for c in report.get("columns", ())))


def _column(report: Report, name: str) -> Mapping[str, Any]:
    return next((c for c in report.get("columns", ()) if c["name"] == name), {})


def _distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[bool, bool, float]:
    missing = abs(float(a.get("missing_share") or 0) - float(b.get("missing_share") or 0))
    effect = abs(float(a.get("effect_corrected") or 0) - float(b.get("effect_corrected") or 0))
    return not a or not b, a.get("outcome") != b.get("outcome"), missing + effect


def _heading(report: Report) -> Markup:
    intake = report["intake"]
    verdict = report["verdict"]["word"]
    aside = f", {intake['rows_quarantined']:,} quarantined" if intake.get("rows_quarantined") else ""
    return join(
        tag("b", words.filename(intake["key"])),
        f" {words.count(intake['rows_used'], 'row')}{aside} ",
        chip(verdict, words.STATE_TONES.get(verdict, "")),
    )


def _only(title: str, report: Report, other: Report) -> Markup | None:
    theirs = {(f["kind"], tuple(f["columns"])) for f in other.get("findings", ())}
    titles = [f["title"] for f in report.get("findings", ()) if (f["kind"], tuple(f["columns"])) not in theirs]
    return join(tag("h3", title), tag("ul", [tag("li", t) for t in titles[:20]])) if titles else None


def _row(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Row:
    outcomes = [str(c.get("outcome", "absent")).replace("_", " ") for c in (a, b)]
    cells = (
        tag("b", name),
        _pair(*outcomes),
        _pair(*(f"{c['effect_corrected']:.3f}" if c.get("effect_corrected") is not None else "–" for c in (a, b))),
        _pair(*(f"{c['missing_share']:.1%}" if c else "–" for c in (a, b))),
        _pair(*(f"{c['distinct']:,}" if c else "–" for c in (a, b))),
    )
    return Row(cells, "on" if outcomes[0] != outcomes[1] else "")


def _pair(first: str, second: str) -> str:
    return first if first == second else f"{first} → {second}"
