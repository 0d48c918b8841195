"""Monitoring: health, traffic, latency, drift over time, last problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from dropforge_ui.client import UNREACHABLE, Api, ApiError
from dropforge_ui.pages import page
from dropforge_ui.pages.monitoring import live as live_views
from dropforge_ui.pages.monitoring import markup as views
from dropforge_ui.pages.parts import html, waiting
from dropforge_ui.shapes import UploadLine

_REPORTS = 12
_SPANS = [("15 minutes", 15), ("1 hour", 60), ("6 hours", 360), ("1 day", 1440)]


def build(api: Api) -> Any:
    """Controls into the open tab; returns what hangs them on the opening of the tab."""
    reports = Reports(api)
    with gr.Row(elem_classes=["df-bar-row"]):
        span = gr.Dropdown(
            label="Look back", choices=_SPANS, value=60, elem_classes=["df-field"], scale=0, min_width=160
        )
        again = gr.Button("Refresh", scale=0, min_width=100, elem_id="refresh")
    health = html(waiting("Health"), elem_id="health")
    traffic = html(waiting("Traffic and latency"), elem_id="traffic")
    live = html(waiting("Live traffic"), elem_id="live")
    drift = html(waiting("Drift over uploads"), elem_id="drift")
    problems = html(waiting("Last problems"), elem_id="problems")

    def activity(minutes: int) -> tuple[Any, Any]:
        try:
            result = api.activity(int(minutes))
        except ApiError as error:
            return _besides(error), ""
        return views.traffic(result), views.problems(result)

    def look(minutes: int) -> Iterator[tuple[Any, ...]]:
        """One part after the other as the API answers. One event: of several the browser sends each when the one before has ended."""
        skip = gr.skip()
        yield _or_error(lambda: views.health(api.health()), page.error), *[skip] * 4
        yield skip, *activity(minutes), skip, skip
        yield *[skip] * 3, _or_error(lambda: live_views.traffic(api.monitoring()), _besides), skip
        yield *[skip] * 4, _or_error(reports.drift, _besides)

    def hang(event: Any) -> Any:
        event(look, span, [health, traffic, problems, live, drift], show_progress="hidden")

    hang(again.click)
    span.input(activity, span, [traffic, problems], show_progress="minimal")
    return hang


class Reports:
    """Reports never change once written: each is asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, dict[str, Any]] = {}

    def drift(self) -> str:
        """Drift of the last uploads."""
        listed = [u for u in self._api.uploads() if u.get("verdict")][:_REPORTS]
        with ThreadPoolExecutor(4) as pool:
            for u, report in zip(listed, pool.map(self._report, listed), strict=True):
                if report:
                    self._known[u["upload_id"]] = report
        return views.drift(listed, self._known)

    def _report(self, u: UploadLine) -> dict[str, Any]:
        try:
            return self._known.get(u["upload_id"]) or self._api.report(u["upload_id"])
        except ApiError:
            return {}  # not written yet


def _besides(error: ApiError) -> str:
    """That the API does not answer is message_of once, in the place of its health."""
    return "" if error.code == UNREACHABLE else page.error(error)


def _or_error(read: Callable[[], str], message_of: Callable[[ApiError], str]) -> str:
    try:
        return read()
    except ApiError as error:
        return message_of(error)
