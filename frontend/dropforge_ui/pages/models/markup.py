"""Versions side by side, what answers now, and every change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropforge_ui import charts, words
from dropforge_ui.markup import Markup, Row, card, chip, empty, facts, frame, join, table, tag
from dropforge_ui.shapes import Beside, DeploymentHistory, HistoryEntry, ModelInfo, Version

_ACTIONS = {"set_model": "set", "rollback": "roll back", "candidate": "try", "abort": "give up"}
_NAMED = 4  # versions that one warning lists
Card = Mapping[str, Any]  # a model card as GET /models/{name}/{version}/card tells it
Key = str  # "name/version"


def key(version: Mapping[str, Any]) -> Key:
    """name/version."""
    return f"{version['name']}/{version['version']}"


def title(version: Mapping[str, Any]) -> str:
    """Name and version in words."""
    return f"{version['name']} version {version['version']}"


@dataclass(frozen=True, slots=True)
class At:
    """Which versions stand out: the active one, the one tried beside it, the chosen one. Empty: none."""

    active: Key = ""
    beside: Key = ""
    chosen: Key = ""


def leaderboard(response: Sequence[Version], at: At) -> Markup:
    """Best first by the held-out metric, with its 95 % interval where the training stated one."""
    if not response:
        text = "Every accepted upload trains one version of each model in settings.yaml."
        return card("Leaderboard", empty("No models yet", text, "Add a file under Data to begin."))
    metric, ordered = _metric(response), ranked(response)
    scale = _scale(ordered, metric)
    rows = [_row(v, metric, scale, at) for v in ordered]
    header = ("model", "aliases", words.metric(metric), "interval", "data set")
    return card(
        "Leaderboard",
        table(header, rows, numeric=(2,), caption="versions, best first", wide=(1,)),
        _warnings(ordered),
        aside=f"held-out {words.metric(metric)}, 95 % interval",
    )


def _warnings(response: Sequence[Version]) -> list[Markup]:
    """What to know before the scores are read, once a text with the versions it is about."""
    about: dict[str, list[str]] = {}
    for version in response:
        if text := version.get("warning"):
            about.setdefault(text, []).append(title(version))
    return [
        tag("p", f"{', '.join(named[:_NAMED])}{' and others' if len(named) > _NAMED else ''}: {text}", class_="df-note")
        for text, named in about.items()
    ]


def ranked(response: Sequence[Version]) -> list[Version]:
    """Best first; versions without a score last."""
    metric = _metric(response)
    sign = 1 if metric in words.LOWER_IS_BETTER else -1
    return sorted(
        response, key=lambda v: sign * v["heldout"][metric] if metric in v.get("heldout", {}) else float("inf")
    )


def _row(v: Version, metric: str, scale: tuple[float, float], at: At) -> Row:
    score = v.get("heldout", {}).get(metric)
    low, high = _stated(v, metric)
    name = tag(
        "button", v["name"], tag("small", f"version {v['version']}"), type="button", data_pick=key(v), class_="df-pick"
    )
    labels = [(chip("active", "good"), " ")] if key(v) == at.active else []
    labels += [(chip("tried", "warn"), " ")] if key(v) == at.beside else []
    labels += [(chip(a, "accent"), " ") for a in v.get("aliases", ())]
    drawn = interval_text = None
    if score is not None:
        drawn = charts.interval(score, low if low is not None else score, high if high is not None else score, scale)
        interval_text = (
            tag("small", f"{words.score(low)} to {words.score(high)}") if low is not None and high is not None else None
        )
    cells = (
        name,
        labels or tag("small", "none"),
        words.score(score) if score is not None else "",
        (drawn, interval_text),
        tag("code", v.get("dataset_id", "")[:8]),
    )
    return Row(cells, "on" if key(v) == at.chosen else "")


def _metric(response: Sequence[Version]) -> str:
    return next((k for v in response for k in v.get("heldout", {})), "score")


def _stated(v: Version, metric: str) -> tuple[float | None, float | None]:
    stated = v.get("interval", {}).get(metric)
    return (float(stated[1]), float(stated[2])) if stated else (None, None)


def _interval(model_card: Card, metric: str) -> tuple[float | None, float | None]:
    pair = (model_card.get("intervals") or {}).get(metric)
    return (float(pair[0]), float(pair[1])) if pair else (None, None)


def _scale(response: Sequence[Version], metric: str) -> tuple[float, float]:
    ends = [v["heldout"][metric] for v in response if metric in v.get("heldout", {})]
    ends += [e for v in response for e in _stated(v, metric) if e is not None]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def chosen(v: Version | None) -> Markup:
    """The chosen version as a card."""
    if v is None:
        return _stack(tag("h2", "Chosen version"), empty("No version chosen", "Choose one in the leaderboard."))
    labels = [(chip(a, "accent"), " ") for a in v.get("aliases", ())] or "none"
    pairs = [
        ("Aliases", labels),
        ("Run", tag("code", v.get("run_id", ""))),
        ("Data set", tag("code", v.get("dataset_id", ""))),
    ]
    return _stack(tag("h2", title(v)), facts(pairs))


def active(response: ModelInfo | None, ledger: DeploymentHistory) -> Markup:
    """The active model, its canary or shadow, and whether a rollback is possible."""
    if not response:
        return _stack(
            tag("h2", "Active model"), empty("No model is active", "Set an alias on a version, then activate it.")
        )
    model, last = response["model"], next(iter(ledger.get("entries", ())), None)
    pairs = [
        ("Version", tag("b", title(model))),
        ("Alias", chip(model["alias"], "accent") if model.get("alias") else ""),
        ("Rollout", tried(response.get("candidate"))),
        ("Since", words.ago(last["at"]) if last else ""),
        ("Set by", words.who(last["by"]) if last else ""),
    ]
    first = previous(ledger) is None
    note = tag("p", "There is no earlier model to roll back to yet.", class_="df-note") if first else None
    return _stack(tag("h2", "Active model"), facts(pairs), note)


def stand(info: ModelInfo | None, chosen: Key = "") -> At:
    """Where the versions stand by what /model_info says."""
    candidate = info.get("candidate") if info else None
    return At(key(info["model"]) if info else "", key(candidate) if candidate else "", chosen)


def tried(c: Beside | None) -> str:
    """`xgboost version 2 answers 10% of the requests and is scored in the shadow`; empty without a candidate."""
    if not c:
        return ""
    share = f"answers {100 * c['weight']:.3g}% of the requests" if c.get("weight") else ""
    shadow = "is scored in the shadow" if c.get("shadow") else ""
    return f"{title(c)} " + " and ".join(p for p in (share, shadow) if p)


def ledger(response: DeploymentHistory) -> Markup:
    """Every change, newest first; each earlier one can be gone back to."""
    entries = response.get("entries", [])
    if not entries:
        return card(
            "Deployment history",
            empty("No changes yet", "Every change of the active model is recorded here, with author and reason."),
        )
    verified = response.get("verified", {})
    aside = (
        chip("verified by key" if verified.get("keyed") else "chain verified", "good")
        if verified.get("ok")
        else chip("chain broken", "bad")
    )
    rows = [_entry(e, current=e["number"] == response.get("active")) for e in entries]
    header = ("no.", "when", "by", "change", "reason", "action")
    problems = [tag("p", str(p), class_="df-note") for p in verified.get("problems") or ()]
    return card(
        "Deployment history",
        table(header, rows, caption="changes of the active model, newest first", lead=3, wide=(4,)),
        problems,
        aside=aside,
    )


def _entry(e: HistoryEntry, *, current: bool) -> Row:
    before, to = e.get("from"), e["to"]
    change = (tag("b", title(to)), tag("small", f"before: {title(before)}") if before else tag("small", "the first"))
    back = tag("button", "Back to this", type="button", data_pick=e["number"], class_="df-link")
    action = _ACTIONS.get(e.get("action", ""), e.get("action", ""))
    reason = tag("span", chip(action), " ", e.get("reason") or "")
    here = chip("now", "good") if current else back
    return Row((e["number"], words.ago(e["at"]), words.who(e["by"]), change, reason, here))


def previous(response: DeploymentHistory) -> HistoryEntry | None:
    """The entry a roll back goes to: the newest of another model before the active one; what a roll back left is passed over."""
    stored = {e["number"]: e for e in response.get("entries", ())}
    now = stored.get(response.get("active", 0))
    if now is None:
        return None
    number = now.get("restores") or now["number"]
    while number > 1:
        number -= 1
        entry = stored.get(number)
        if entry and entry.get("restores"):
            number = (entry["restores"] or 0) + 1
        elif entry and key(entry["to"]) != key(now["to"]):
            return entry
    return None


def question(text: str) -> Markup:
    """A question before a change."""
    return tag(
        "div",
        tag("strong", text),
        tag("p", "The change is stored in the deployment history."),
        class_="df-warn",
        role="alert",
    )


def comparison(a: Card, b: Card) -> Markup:
    """Two model cards, metric by metric as they are served: values, intervals, the difference, and which is better.

    Where the intervals overlap, none is called better.
    """
    rows = []
    for metric, left in a.get("metrics", {}).items():
        right = b.get("metrics", {}).get(metric)
        output = metric != "rows" and not metric.endswith("_uncalibrated")
        if output and isinstance(left, int | float) and isinstance(right, int | float):
            better = _better(a, b, metric, left, right)
            rows.append(
                (words.metric(metric), _value(a, metric), _value(b, metric), words.score(right - left, "+"), better)
            )
    header = ("metric", "first", "second", "difference", "better")
    same = a.get("dataset_id") == b.get("dataset_id") and a.get("heldout_rows") == b.get("heldout_rows")
    note = "Both on the same held-out rows." if same else "On different held-out rows: small differences say nothing."
    compared = table(header, rows, numeric=(1, 2, 3), caption="two versions compared", wide=(4,))
    return _stack(compared, tag("p", note, class_="df-note"))


def _better(a: Card, b: Card, metric: str, left: float, right: float) -> Markup:
    if metric == "mean_error":  # a bias: the nearer to 0 the better
        left, right = abs(left), abs(right)
    gain = (left - right) if metric in words.LOWER_IS_BETTER else (right - left)
    name = "second" if gain > 0 else "first"
    (low, high), (low_b, high_b) = _interval(a, metric), _interval(b, metric)
    if None in (low, high, low_b, high_b):
        return tag("small", name if gain else "equal")
    clear = low > high_b or low_b > high  # type: ignore[operator] # both intervals were looked for above
    return chip(name, "good") if clear else tag("small", "within the intervals")


def _value(model_card: Card, metric: str) -> Markup:
    low, high = _interval(model_card, metric)
    small = tag("small", f"{words.score(low)} to {words.score(high)}") if low is not None and high is not None else None
    return join(words.score(model_card["metrics"][metric]), small)


def model_card(page: str, name: str) -> Markup:
    """The model card in a frame."""
    return card("Model card", frame(page, f"model card of {name}"), class_="flush")


def _stack(*parts: Any) -> Markup:
    return tag("div", parts, class_="df-stacked")
