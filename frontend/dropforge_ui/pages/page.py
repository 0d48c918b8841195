"""What stands on every tab."""

from __future__ import annotations

from dropforge_ui.client import ApiError
from dropforge_ui.markup import Markup, chip, problem, tag
from dropforge_ui.shapes import Health

_DROP = "M12 2c3.4 4.6 6.5 8 6.5 12.1a6.5 6.5 0 0 1-13 0C5.5 10 8.6 6.6 12 2zm0 16.8a4.6 4.6 0 0 0 4.6-4.6h-2a2.6 2.6 0 0 1-2.6 2.6z"
_MARK = tag(
    "svg", tag("path", fill="currentColor", d=_DROP), viewBox="0 0 24 24", width=22, height=22, aria_hidden="true"
)
_WORDS = {
    "ok": ("all services available", "good"),
    "degraded": ("degraded", "warn"),
    "not_ready": ("no active model", "warn"),
}


def header(health: Health | None, *, requested: bool = True) -> Markup:
    """Name, health, light and dark. Without a health the API does not answer, or was not asked yet."""
    if health is None:
        word, tone = ("API does not answer", "bad") if requested else ("asking the API …", "")
    else:
        word, tone = _WORDS.get(health["status"], (health["status"], "warn"))
    words = (tag("span", "Dark", class_="to-dark"), tag("span", "Light", class_="to-light"))
    look = tag("button", words, type="button", data_look=True, title="light or dark")
    return tag(
        "div",
        tag("div", _MARK, tag("h1", "Dropforge"), class_="brand"),
        tag("div", chip(word, f"dot {tone}"), look, class_="aside"),
        class_="df-header",
    )


def error(failure: ApiError) -> Markup:
    """An error of the API with its fix."""
    return problem(failure.code, failure.message, failure.fix, failure.request_id)
