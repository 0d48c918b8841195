"""How the system is: its parts, its traffic, drift from upload to upload, what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropforge_ui import charts, words
from dropforge_ui.markup import Markup, bar, card, chip, empty, halves, table, tag
from dropforge_ui.shapes import Activity, Health, UploadLine

_SERIES = 3
_BARS = 6
_PARTS = {
    "store": "Object store",
    "active_model": "Active model",
    "mlflow": "MLflow",
    "training_queue": "Training queue",
    "last_upload": "Last upload",
}
_READY = {
    "ok": ("all services available", "good"),
    "degraded": ("predictions go on", "warn"),
    "not_ready": ("not ready", "bad"),
}


def health(response: Health) -> Markup:
    """State of every part as a card."""
    word, tone = _READY.get(response["status"], (response["status"], "warn"))
    parts = [_part(name, output) for name, output in response.get("parts", {}).items()]
    return card("Health", tag("div", parts, class_="df-tiles"), aside=chip(word, tone))


def _part(name: str, part: Mapping[str, Any]) -> Markup:
    wrong = "error" in part
    text = f"{part.get('message', '')} {part.get('fix', '')}" if wrong else _part_text(name, part)
    title = _PARTS.get(name, name.replace("_", " "))
    return tag("div", tag("b", chip(title, f"dot {'bad' if wrong else 'good'}")), tag("p", text), class_="df-tile")


def _part_text(name: str, part: Mapping[str, Any]) -> str:
    if name == "active_model":
        return f"{part.get('name')} version {part.get('version')}"
    if name == "training_queue":
        return words.count(int(part.get("depth", 0)), "job")
    if name == "last_upload":
        return str(part.get("state") or "none yet")
    if part.get("reachable") is not None:
        return "answers" if part["reachable"] else "answers, without settings"
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in part.items())


def traffic(response: Activity) -> Markup:
    """Calls and latency as a card."""
    spans = response.get("traffic", [])
    total = sum(s["requests"] for s in spans)
    span = f"last {response.get('minutes', 60)} minutes"
    if not total:
        return card(
            "Traffic and latency",
            empty("No requests", f"Nobody called the API in the {span}."),
            aside=tag("span", span),
        )
    bars = [(_clock(s["at"]), float(s["requests"]), float(s["refused"] + s["failed"])) for s in spans]
    rows = [
        (
            tag("code", r["route"]),
            f"{r['requests']:,}",
            _bad(r["refused"], "warn"),
            _bad(r["failed"], "bad"),
            _milliseconds(r["median_ms"]),
            _milliseconds(r["p95_ms"]),
        )
        for r in response.get("routes", ())
    ]
    header = ("route", "requests", "refused", "failed", "median", "p95")
    note = "" if response.get("complete", True) else "There were more calls than are counted here."
    drawn = charts.columns(bars, title=f"requests, {span}; red are refused or failed")
    legend = tag(
        "p",
        tag("span", tag("i"), "requests"),
        tag("span", tag("i", class_="bad"), "refused or failed"),
        class_="df-legend",
    )
    about = tag("p", "Latency is the time inside the function. ", note, class_="df-note")
    return card(
        "Traffic and latency",
        halves((drawn, legend, about), table(header, rows, numeric=(1, 2, 3, 4, 5), caption="calls by route")),
        aside=tag("span", f"{words.count(total, 'request')}, {span}"),
    )


def _bad(number: int, tone: str) -> Any:
    return chip(f"{number:,}", tone) if number else "0"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return words.duration(value / 1000) if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _clock(text: str) -> str:
    at = words.moment(text)
    return f"{at.astimezone():%H:%M}" if at else text


def drift(uploads: Sequence[UploadLine], reports: Mapping[str, Mapping[str, Any]]) -> Markup:
    """The columns that moved most, upload by upload, oldest first; the effect is beyond what chance gives at these sizes."""
    matches = [u for u in reversed(uploads) if _effects(reports.get(u["upload_id"], {}))]
    if not matches:
        text = "The first accepted upload is the reference; every later one is compared with it."
        return card("Drift over uploads", empty("Nothing compared yet", text))
    effects = {u["upload_id"]: _effects(reports[u["upload_id"]]) for u in matches}
    highest: dict[str, float] = {}
    for one in effects.values():
        for name, value in one.items():
            highest[name] = max(value, highest.get(name, 0.0))
    shown = sorted(highest, key=lambda n: -highest[n])[:_SERIES]
    series = [(n, [effects[u["upload_id"]].get(n, 0.0) for u in matches]) for n in shown]
    top = max(0.2, *(highest[n] for n in shown))
    labels = [words.filename(u["key"])[:24] for u in matches]
    legend = tag("p", [tag("span", tag("i", class_=f"s{k}"), n) for k, n in enumerate(shown)], class_="df-legend")
    rows = [_compared(u, effects[u["upload_id"]], reports[u["upload_id"]]) for u in reversed(matches)]
    drawn: Any = (charts.lines(series, labels, title="drift effect by upload of " + ", ".join(shown), top=top), legend)
    if len(matches) == 1:
        largest = sorted(highest.items(), key=lambda e: -e[1])[:_BARS]
        drawn = [bar(n, e / top, f"{e:.3f}", "accent") for n, e in largest]
    rows += [_compared(u, {}, reports[u["upload_id"]]) for u in uploads if _too_few(reports.get(u["upload_id"], {}))]
    grid = table(("upload", "verdict", "drifted", "largest effect"), rows, numeric=(2,), caption="uploads compared")
    return card("Drift over uploads", halves(drawn, grid), aside=tag("span", "effect beyond chance"))


def _compared(u: UploadLine, effects: Mapping[str, float], report: Mapping[str, Any]) -> tuple[Any, ...]:
    verdict = u.get("verdict", "")
    name = max(effects, key=lambda n: effects[n], default="")
    drifted = sum(c.get("outcome") == "drift" for c in report.get("columns", ()))
    return (
        (tag("b", words.filename(u["key"])), tag("small", words.ago(u.get("received_at", "")))),
        chip(verdict, words.STATE_TONES.get(verdict, "")),
        drifted,
        f"{name} {effects[name]:.3f}" if name else "insufficient data",
    )


def _effects(report: Mapping[str, Any]) -> dict[str, float]:
    """By column, where there were rows enough to tell: what a few rows differ by is chance."""
    messages = (c for c in report.get("columns", ()) if c.get("outcome") != "insufficient_data")
    result = ((c.get("name"), c.get("effect_corrected")) for c in messages)
    return {str(n): max(0.0, float(e)) for n, e in result if isinstance(e, int | float)}


def _too_few(report: Mapping[str, Any]) -> bool:
    return bool(
        not _effects(report) and any(c.get("outcome") == "insufficient_data" for c in report.get("columns", ()))
    )


def problems(response: Activity) -> Markup:
    """The last problems as a card; equal ones are one line, with their number and the last one's time and id."""
    listed = response.get("problems", [])
    if not listed:
        return card(
            "Last problems", empty("Nothing went wrong", f"No error in the last {response.get('minutes', 60)} minutes.")
        )
    equal: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for problem in listed:  # the newest first
        what = (problem["part"], problem.get("what", ""), problem.get("code", ""), problem["message"])
        equal.setdefault(what, []).append(problem)
    rows = [
        (
            (words.ago(of[0]["at"]), tag("small", f"{len(of)} times") if len(of) > 1 else None),
            (part, tag("small", what)),
            (tag("span", message, class_="df-wrap"), tag("small", code) if code not in {"", message} else None),
            tag("code", of[0].get("id", "")[:20]),
        )
        for (part, what, code, message), of in equal.items()
    ]
    note = (tag("code", "dropforge logs ID"), " shows every line of one id.")
    grid = table(("when", "where", "what", "id"), rows, caption="last problems", lead=2)
    return card("Last problems", grid, tag("p", note, class_="df-note"))
