"""The page put together."""

from __future__ import annotations

import functools
from typing import Any

import gradio as gr

from dropforge_ui import theme
from dropforge_ui.client import Api, ApiError
from dropforge_ui.config import Options
from dropforge_ui.shapes import ModelInfo
from dropforge_ui.tabs import data, models, monitoring, predict
from dropforge_ui.tabs.parts import html
from dropforge_ui.views import page
from dropforge_ui.views import predict as views

_WIDE_ENOUGH = 40  # callers at the same time; each waits for the API, none computes


def build(api: Api) -> Any:
    """The whole app as gr.Blocks. Nothing is asked of the API before somebody opens the page."""
    with gr.Blocks(
        title="Dropforge", analytics_enabled=False, elem_id="dropforge", delete_cache=(3600, 86_400)
    ) as blocks:
        header = html(page.header(None, asked=False), elem_id="header")
        info = gr.State(None)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Predict", id="predict") as predict_tab:
                notice = predict.build(api, info)

            def look(event: Any, **given: Any) -> Any:
                """What stands on every tab, and which model the form is for."""
                shown = [header, info, notice]
                return event(lambda now: _asked(api, now), info, shown, show_progress="hidden", **given)

            with gr.Tab("Data", id="data") as data_tab:
                look_data = data.build(api)
            with gr.Tab("Models", id="models") as models_tab:
                look_models = models.build(api, look)
            with gr.Tab("Monitoring", id="monitoring") as monitoring_tab:
                look_monitoring = monitoring.build(api)

        # One event for all of them, once at a time: two answers would make the form twice, and the buttons of the first do nothing.
        opened = [blocks.load, *(t.select for t in (predict_tab, data_tab, models_tab, monitoring_tab))]
        look(functools.partial(gr.on, opened), trigger_mode="once")
        for event in (blocks.load, data_tab.select):
            look_data(event)
        look_models(models_tab.select)
        look_monitoring(monitoring_tab.select)
    blocks.queue(default_concurrency_limit=_WIDE_ENOUGH)
    _rest(blocks)
    return blocks


def _asked(api: Api, now: ModelInfo | None) -> tuple[Any, ...]:
    """Header, active model (skipped while it is the same), and what stands in place of a form without one."""
    try:
        health = api.health()
    except ApiError as error:
        return page.header(None), gr.skip(), gr.update(value=page.error(error), visible=True)
    try:
        found = api.model_info()
    except ApiError as error:
        nothing = views.no_model() if error.status in {404, 409} else page.error(error)
        return page.header(health), None, gr.update(value=nothing, visible=True)
    same = now is not None and now["model"] == found["model"]
    return page.header(health), gr.skip() if same else found, gr.update(visible=False)


def _rest(blocks: Any) -> None:
    """Gradio's queue looks for work every millisecond, which costs 5 % of a core for nothing; people do not see 40 ms."""
    queue = blocks._queue
    queue.sleep_when_free, queue.progress_update_sleep_when_free = 0.04, 0.1


def serve(options: Options, *, wait: bool = True) -> Any:
    """Run until stopped; without `wait` it returns the running gr.Blocks, to be closed by the caller."""
    blocks = build(Api(options))
    blocks.launch(
        server_name=options.host,
        server_port=options.port,
        theme=theme.theme(),
        css=theme.css(),
        js=theme.script(),
        footer_links=[],
        show_error=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        share=False,
        enable_monitoring=False,
        prevent_thread_lock=not wait,
    )
    return blocks
