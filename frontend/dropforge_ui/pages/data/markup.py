"""Uploads: the list, one upload's way through the system, its report, its rows quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from dropforge_ui import words
from dropforge_ui.cells import split
from dropforge_ui.markup import Markup, bar, card, chip, empty, facts, frame, join, problem, prose, table, tag
from dropforge_ui.shapes import ModelProgress, Quarantined, QuarantinedRow, Upload, UploadLine

ROWS_SHOWN = 50
_WAY = ("received", "analysed", "training", "concluded")
_DOING = {
    "received": "being checked and compared",
    "analysed": "starting the training",
    "waiting": "accepted; the training starts when no further file arrives",
    "training": "tuning and fitting",
}
_STAGES = {"waiting": "waiting", "tuning": "tuning", "fitting": "last fit", "trained": "trained", "failed": "failed"}


def listing(response: Sequence[UploadLine], chosen: str) -> Markup:
    """Uploads as a list."""
    if not response:
        return card(
            "Uploads", empty("No uploads yet", "Drop a file above. The first accepted one becomes the reference.")
        )
    rows = [_line(u, chosen=u["upload_id"] == chosen) for u in response]
    return card("Uploads", tag("div", rows, class_="df-list"), aside=tag("span", words.count(len(response), "upload")))


def unanswered() -> Markup:
    """While the API does not answer."""
    return card("Uploads", tag("p", "The API returned no list.", class_="df-note"))


def _line(u: UploadLine, *, chosen: bool) -> Markup:
    rows = words.count(u.get("rows_used", 0), "row") if u.get("rows_used") else ""
    aside = f"{u['rows_quarantined']:,} quarantined" if u.get("rows_quarantined") else ""
    about = " · ".join(p for p in (words.ago(u.get("received_at", "")), rows, aside) if p)
    verdict = u.get("verdict", "")
    return tag(
        "button",
        tag("span", words.filename(u["key"]), tag("small", about), class_="what"),
        tag("span", chip(verdict, words.STATE_TONES.get(verdict, "")) if verdict else None, " ", state(u["state"])),
        type="button",
        data_pick=u["upload_id"],
        aria_pressed="true" if chosen else "false",
    )


def state(name: str) -> Markup:
    """The state of an upload as a badge."""
    return chip(name, words.STATE_TONES.get(name, "accent"))


def expected(key: str) -> Markup:
    """Between the upload and its record."""
    return card(
        words.filename(key),
        tag("p", "The file is in the bucket; its analysis begins in a moment.", class_="df-note", role="status"),
        tag("ol", [_step(s, "", "next" if s == "received" else "") for s in _WAY], class_="df-way"),
    )


def nothing() -> Markup:
    """What will happen to the first file."""
    notes = (
        ("received", "rows that cannot be read are quarantined"),
        ("analysed", "a report, and a verdict from the second file on"),
        ("training", "models are tuned and fitted"),
        ("concluded", "the best becomes the challenger"),
    )
    return card("The way of a file", tag("ol", [_step(name, note, "") for name, note in notes], class_="df-way"))


def detail(u: Upload) -> Markup:
    """One upload from the first state to the last."""
    reason = u.get("reason")
    output = None
    if reason:
        output = (
            tag("p", tag("b", prose(reason["message"])), " ", prose(reason.get("fix", "")), class_="df-note")
            if u["state"] == "skipped"
            else problem(reason["code"], reason["message"], reason.get("fix", ""))
        )
    verdict = u.get("verdict", "")
    link = u.get("run_url", "")
    pairs = [
        ("Verdict", chip(verdict, words.STATE_TONES.get(verdict, "")) if verdict else ""),
        (
            "Rows",
            f"{u['rows_in']:,} in, {u['rows_used']:,} used, {u['rows_quarantined']:,} quarantined"
            if u.get("rows_in")
            else "",
        ),
        ("Challenger", u.get("challenger", "").replace("/", " version ")),
        ("Data set", tag("code", u["dataset_id"]) if u.get("dataset_id") else ""),
        ("MLflow run", tag("a", "open", href=link, target="_blank", rel="noopener") if link.startswith("http") else ""),
        ("Upload", tag("code", u["upload_id"])),
    ]
    return card(
        words.filename(u["key"]), way(u), output, training(u), facts(pairs), _models(u), aside=state(u["state"])
    )


def way(u: Upload) -> Markup:
    """The states with their times; the one that goes on now says what is done in it."""
    history = u.get("history", [])
    times = [words.moment(s["at"]) for s in history]
    steps = []
    for i, (step, at) in enumerate(zip(history, times, strict=True)):
        name = step["state"]
        last = i == len(history) - 1
        following = times[i + 1] if not last else None
        if last and name not in words.TERMINAL:
            steps.append(_step(name, f"{_DOING.get(name, '')} …", "now"))
        elif last:
            whole = (at - times[0]).total_seconds() if at and times[0] else 0.0
            steps.append(_step(name, f"after {words.duration(whole)}", words.STATE_TONES.get(name, "good")))
        else:
            took = words.duration((following - at).total_seconds()) if at and following else ""
            steps.append(_step(name, took, "good"))
    if history and history[-1]["state"] in _WAY[:-1]:
        here = history[-1]["state"]
        steps += [_step(s, "", "") for s in _WAY[_WAY.index(here) + 1 :]]
    return tag("ol", steps, class_="df-way", aria_label="states of this upload")


def _step(name: str, note: str, tone: str) -> Markup:
    current = "step" if tone == "now" else None
    return tag("li", tag("b", name), tag("small", note) if note else None, class_=tone or None, aria_current=current)


def training(u: Upload) -> Markup | None:
    """How far each model is, while the training runs."""
    output = u.get("progress") or []
    if u["state"] in words.TERMINAL or not output:
        return None
    return tag("div", [_progress(p) for p in output], class_="df-training", role="group", aria_label="training")


def _progress(p: ModelProgress) -> Markup:
    """A search ends with its trials or its seconds, whichever is used up first: the bar shows the one that is further."""
    stage, trials, seconds = p.get("stage", ""), p.get("trials", 0), p.get("seconds", 0.0)
    budgets = (trials / max(1, p.get("trials_budget", 1)), seconds / max(1e-9, p.get("seconds_budget", 0.0)))
    share = {"waiting": 0.0, "tuning": min(1.0, max(budgets))}.get(stage, 1.0)
    best = p.get("best_score")
    spent = f"{trials:,} of {p.get('trials_budget', 0):,} trials, {seconds:,.0f} of {p.get('seconds_budget', 0):,.0f} s"
    if stage == "waiting":
        note = f"up to {p.get('trials_budget', 0):,} trials in {p.get('seconds_budget', 0):,.0f} s"
    elif best is None:
        note = f"{spent}, no score yet"
    else:
        note = f"best {words.metric(p.get('metric', ''))} {words.best(p.get('metric', ''), best)}, {spent}"
    tone = {"trained": "good", "failed": "bad"}.get(stage, "accent")
    drawn = bar(p.get("model", ""), share, _STAGES.get(stage, stage), tone, note)
    name = f"{p.get('model', '')}: {_STAGES.get(stage, stage)}"
    return tag(
        "div",
        drawn,
        role="progressbar",
        aria_label=name,
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=round(share * 100),
    )


def _models(u: Upload) -> Markup | None:
    created = u.get("models") or []
    if not created:
        return None
    metric = next((k for m in created for k in (m.get("metrics") or {})), "")
    rows = [
        (
            m.get("name") or m.get("model", ""),
            m.get("version", ""),
            words.score(m["metrics"][metric])
            if metric in (m.get("metrics") or {})
            else m.get("error", "") or "not trained",
        )
        for m in created
    ]
    return table(
        ("model", "version", words.metric(metric)), rows, numeric=(1, 2), caption="models trained on this upload"
    )


def report(page: str, link: str) -> Markup:
    """The report in a frame."""
    alone = tag("a", "open alone", href=link, target="_blank", rel="noopener") if link.startswith("http") else None
    return card("Report", frame(page, "report of this upload"), aside=alone, class_="flush")


def quarantine(response: Quarantined) -> Markup:
    """Rows quarantined as a form: every cell is a field; what differs from the header's width is shown as surplus or absent."""
    rows = response["rows"][:ROWS_SHOWN]
    total = response["rows_quarantined"]
    more = f"The first {len(rows)} of {total:,}; `dropforge quarantine` has them all." if total > len(rows) else ""
    named = tuple(tag("th", h, scope="col") for h in response["header"])
    header = [tag("th", "line", scope="col", class_="n"), tag("th", "surplus", scope="col"), *named]
    body = [_quarantined(response, row) for row in rows]
    grid = tag("table", tag("thead", tag("tr", header)), tag("tbody", body))
    return card(
        "Rows quarantined",
        tag(
            "p",
            "Correct what is wrong and send the rows in again: they become a new upload. ",
            prose(more),
            class_="df-note",
        ),
        tag("div", grid, class_="df-scroll df-quarantine", tabindex=0, role="region", aria_label="rows quarantined"),
        tag(
            "div",
            tag("button", "Send corrected rows", type="button", class_="df-button", data_send=True),
            class_="df-actions",
        ),
        aside=tag("span", words.count(total, "row")),
    )


def _quarantined(response: Quarantined, row: QuarantinedRow) -> Markup:
    width = len(response["header"])
    cells = split(row["raw"], response["delimiter"])
    named = [(response["header"][i] if i < width else "surplus field", c) for i, c in enumerate(cells)]
    named += [(h, "") for h in response["header"][len(cells) :]]
    inputs = [
        tag(
            "td",
            tag(
                "input",
                value=c,
                aria_label=f"line {row['line']}, {name}",
                size=max(4, min(18, len(c) + 1)),
                autocomplete="off",
            ),
            class_="wrong"
            if name == row.get("column") or (i >= min(len(cells), width) and len(cells) != width)
            else None,
        )
        for i, (name, c) in enumerate(named[:width])
    ]
    surplus = [
        tag(
            "input",
            value=c,
            aria_label=f"line {row['line']}, surplus field",
            size=max(4, min(18, len(c) + 1)),
            data_surplus=True,
        )
        for _, c in named[width:]
    ]
    first = tag(
        "tr",
        tag("th", f"{row['line']:,}", scope="row", class_="n"),
        tag("td", surplus, class_="wrong" if surplus else None),
        inputs,
        data_line=row["line"],
    )
    return join(first, tag("tr", tag("td"), tag("td", row["reason"], colspan=width + 1), class_="reason"))
