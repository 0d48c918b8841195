"""Versions side by side, what answers now, and every change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropforge_ui import charts, words
from dropforge_ui.markup import Markup, card, chip, empty, facts, frame, join, table, tag
from dropforge_ui.shapes import Identity, Ledger, LedgerEntry, Version

Card = Mapping[str, Any]  # a model card as GET /models/{name}/{version}/card tells it
Key = str  # "name/version"
_LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "mae", "rmse"})


def key(version: Mapping[str, Any]) -> Key:
    return f"{version['name']}/{version['version']}"


def title(version: Mapping[str, Any]) -> str:
    return f"{version['name']} version {version['version']}"


def leaderboard(found: Sequence[Version], cards: Mapping[Key, Card], active: Key, chosen: Key) -> Markup:
    """Best first by the held-out metric, with its interval where the model card states one."""
    if not found:
        text = "Every accepted upload trains one version of each model in settings.yaml."
        return card("Leaderboard", empty("No models yet", text, "Add a file under Data to begin."))
    metric = _metric(found)
    ordered = sorted(found, key=lambda v: v.get("heldout", {}).get(metric, float("-inf")), reverse=True)
    if metric in _LOWER_IS_BETTER:
        ordered.reverse()
    scale = _scale(ordered, cards, metric)
    rows = [_row(v, cards.get(key(v), {}), metric, scale, active, chosen) for v in ordered]
    header = ("model", "labels", metric.replace("_", " "), "interval", "on rows", "data set")
    return card(
        "Leaderboard", table(header, rows, numeric=(2,), caption="versions, best first"), aside=_aside(metric, cards)
    )


def _aside(metric: str, cards: Mapping[Key, Card]) -> str:
    level = next((c["confidence"] for c in cards.values() if c.get("confidence")), None)
    return f"held-out {metric.replace('_', ' ')}" + (f", {level:.0%} interval" if isinstance(level, float) else "")


def _row(v: Version, told: Card, metric: str, scale: tuple[float, float], active: Key, chosen: Key) -> Markup:
    score = v.get("heldout", {}).get(metric)
    low, high = _interval(told, metric)
    name = tag(
        "button", v["name"], tag("small", f"version {v['version']}"), type="button", data_pick=key(v), class_="df-pick"
    )
    labels = [(chip("active", "good"), " ")] if key(v) == active else []
    labels += [(chip(a, "accent"), " ") for a in v.get("aliases", ())]
    drawn = words_ = None
    if score is not None:
        drawn = charts.interval(score, low if low is not None else score, high if high is not None else score, scale)
        words_ = tag("small", f"{low:.4f} to {high:.4f}") if low is not None and high is not None else None
    cells = (
        tag("td", name),
        tag("td", labels or tag("small", "none")),
        tag("td", f"{score:.4f}" if score is not None else "", class_="n"),
        tag("td", drawn, words_),
        tag("td", f"{told['heldout_rows']:,}" if isinstance(told.get("heldout_rows"), int) else ""),
        tag("td", tag("code", v.get("dataset_id", "")[:8])),
    )
    return tag("tr", cells, class_="on" if key(v) == chosen else None)


def _metric(found: Sequence[Version]) -> str:
    return next((k for v in found for k in v.get("heldout", {})), "score")


def _interval(told: Card, metric: str) -> tuple[float | None, float | None]:
    pair = (told.get("intervals") or {}).get(metric)
    return (float(pair[0]), float(pair[1])) if pair else (None, None)


def _scale(found: Sequence[Version], cards: Mapping[Key, Card], metric: str) -> tuple[float, float]:
    ends = [v["heldout"][metric] for v in found if metric in v.get("heldout", {})]
    ends += [e for v in found for e in _interval(cards.get(key(v), {}), metric) if e is not None]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def chosen(v: Version | None) -> Markup:
    if v is None:
        return card("Chosen version", empty("No version chosen", "Choose one in the leaderboard."))
    labels = [(chip(a, "accent"), " ") for a in v.get("aliases", ())] or "none"
    pairs = [
        ("Labels", labels),
        ("Run", tag("code", v.get("run_id", ""))),
        ("Data set", tag("code", v.get("dataset_id", ""))),
    ]
    return join(tag("h2", title(v)), facts(pairs))


def active(found: Identity | None, ledger: Ledger) -> Markup:
    """What answers now, and whether the chain of changes holds."""
    if not found:
        return join(tag("h2", "Active model"), empty("No model is active", "Label a version, then set it active."))
    last = next(iter(ledger.get("entries", ())), None)
    pairs = [
        ("Label", chip(found["alias"], "accent") if found.get("alias") else ""),
        ("Since", words.ago(last["at"]) if last else ""),
        ("Set by", who(last["by"]) if last else ""),
    ]
    return join(tag("h2", "Active model"), tag("p", tag("b", title(found))), facts(pairs))


def who(by: str) -> str:
    """The last part of a principal's ARN; anything else as it is."""
    return by.rpartition("/")[2] or by if by.startswith("arn:") and "/" in by else by.rpartition(":")[2] or by


def ledger(found: Ledger) -> Markup:
    """Every change, newest first; each earlier one can be gone back to."""
    entries = found.get("entries", [])
    if not entries:
        return card(
            "Ledger", empty("No changes yet", "Every change of the active model is kept here, with who and why.")
        )
    verified = found.get("verified", {})
    aside = chip("chain verified", "good") if verified.get("ok") else chip("chain broken", "bad")
    rows = [_entry(e, current=e["number"] == found.get("active")) for e in entries]
    header = ("no.", "when", "by", "change", "why", "")
    problems = [tag("p", str(p), class_="df-note") for p in verified.get("problems") or ()]
    return card(
        "Ledger", table(header, rows, caption="changes of the active model, newest first"), problems, aside=aside
    )


def _entry(e: LedgerEntry, *, current: bool) -> Markup:
    before, to = e.get("from"), e["to"]
    change = (tag("b", title(to)), tag("small", f"before: {title(before)}") if before else tag("small", "the first"))
    back = tag("button", "Back to this", type="button", data_pick=e["number"], class_="df-link")
    action = {"set_model": "set", "rollback": "roll back"}.get(e.get("action", ""), e.get("action", ""))
    cells = (
        tag("td", e["number"]),
        tag("td", words.ago(e["at"])),
        tag("td", who(e["by"])),
        tag("td", change),
        tag("td", tag("span", chip(action), " ", e.get("why") or "")),
        tag("td", chip("now", "good") if current else back),
    )
    return tag("tr", cells)


def question(words: str) -> Markup:
    return tag(
        "div", tag("strong", words), tag("p", "The change is kept in the ledger."), class_="df-warn", role="alert"
    )


def comparison(a: Card, b: Card) -> Markup:
    """Two model cards, metric by metric: values, intervals, the difference, and which is better."""
    rows = []
    for metric, left in a.get("metrics", {}).items():
        right = b.get("metrics", {}).get(metric)
        if metric == "rows" or not isinstance(left, int | float) or not isinstance(right, int | float):
            continue
        gain = (left - right) if metric in _LOWER_IS_BETTER else (right - left)
        verdict = chip("second better", "good") if gain > 0 else chip("first better") if gain < 0 else chip("equal")
        rows.append((metric.replace("_", " "), _value(a, metric), _value(b, metric), f"{right - left:+.4f}", verdict))
    header = ("metric", "first", "second", "difference", "")
    same = a.get("dataset_id") == b.get("dataset_id") and a.get("heldout_rows") == b.get("heldout_rows")
    note = "Both on the same held-out rows." if same else "On different held-out rows: small differences say nothing."
    return join(
        table(header, rows, numeric=(1, 2, 3), caption="two versions compared"), tag("p", note, class_="df-note")
    )


def _value(told: Card, metric: str) -> Markup:
    low, high = _interval(told, metric)
    small = tag("small", f"{low:.4f} to {high:.4f}") if low is not None and high is not None else None
    return join(f"{told['metrics'][metric]:.4f}", small)


def model_card(page: str, name: str) -> Markup:
    return card("Model card", frame(page, f"model card of {name}"), class_="flush")
