"""Live traffic: what the active model is asked and how it turned out, day by day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dropforge_ui import words
from dropforge_ui.markup import Markup, card, chip, empty, join, problem, table, tag
from dropforge_ui.shapes import LiveWindow, Monitoring

_NAMED = 4
_FINDINGS = 5


def traffic(response: Monitoring) -> Markup:
    """A line for each day and version, and what was found in the newest."""
    windows = response.get("windows", [])
    if not windows:
        return card("Live traffic", _nothing(response))
    names = _SCORES["regression" if any("rmse" in (w.get("score") or w.get("heldout", {})) for w in windows) else ""]
    header = ("day", "rows", "verdict", "drifted", *(words.metric(n) for n in names), "labels")
    grid = table(
        header, [_line(w, names) for w in windows], numeric=(1, 4, 5, 6), caption="live traffic by day", wide=(3,)
    )
    unmatched = response.get("labels_unmatched", 0)
    note = f"{words.count(unmatched, 'label')} of rows that were not captured." if unmatched else ""
    about = tag("p", "Of captured requests; small figures are those of held-out rows. ", note, class_="df-note")
    last_run = response.get("checked_at")
    aside = tag("span", f"looked at {words.ago(last_run)}") if last_run else None
    return card("Live traffic", grid, _newest(windows[0]), about, aside=aside)


def _nothing(response: Monitoring) -> Markup:
    if response.get("checked_at"):
        text: Any = "No request was captured yet."
    else:
        text = "Live traffic has not been analysed yet."
    hint = join(
        "Keep a share of the requests with ",
        tag("code", "serving.capture.sample"),
        " in settings.yaml, then ",
        tag("code", "dropforge apply"),
        ", ",
        tag("code", "dropforge set-model"),
        " and ",
        tag("code", "dropforge monitor"),
        ".",
    )
    return empty("Nothing to show yet", text, hint)


_SCORES = {"": ("accuracy", "roc_auc"), "regression": ("rmse", "mae")}


def _line(w: LiveWindow, names: Sequence[str]) -> tuple[Any, ...]:
    word = w.get("verdict", {}).get("word", "")
    score, heldout = w.get("score") or {}, w.get("heldout", {})
    return (
        (tag("b", w["day"]), tag("small", f"{w['model']['name']} version {w['model']['version']}")),
        f"{w.get('rows', 0):,}",
        chip(word, words.STATE_TONES.get(word, "")),
        _named([c["name"] for c in (*w.get("features", ()), *w.get("predicted", ())) if c.get("outcome") == "drift"]),
        *(_score(score.get(n), heldout.get(n)) for n in names),
        f"{w.get('labelled', 0):,}",
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or "nothing"


def _score(value: float | None, heldout: float | None) -> Any:
    if value is None:
        return ""
    return _figure(value), tag("small", _figure(heldout)) if heldout is not None else None


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}"


def _newest(w: LiveWindow) -> Markup | None:
    if w.get("problem"):
        return problem("window_unread", f"{w['day']} could not be analysed.", w["problem"])
    messages = [f for f in w.get("findings", ()) if f.get("severity") != "info"][:_FINDINGS]
    if not messages:
        return None
    items = [tag("li", tag("b", f.get("title", "")), " ", f.get("evidence", "")) for f in messages]
    return tag("div", tag("strong", f"Found on {w['day']}"), tag("ul", items), class_="df-warn")
