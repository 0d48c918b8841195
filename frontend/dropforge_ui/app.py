"""The page put together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dropforge_ui import theme
from dropforge_ui.client import Api, ApiError
from dropforge_ui.config import Options
from dropforge_ui.shapes import ModelInfo
from dropforge_ui.tabs import data, models, monitoring, predict
from dropforge_ui.tabs.parts import html
from dropforge_ui.views import page

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
                predict.build(api, info)
            with gr.Tab("Data", id="data") as data_tab:
                look_data = data.build(api)
            with gr.Tab("Models", id="models") as models_tab:
                look_models = models.build(api)
            with gr.Tab("Monitoring", id="monitoring") as monitoring_tab:
                look_monitoring = monitoring.build(api)

        def asked(now: ModelInfo | None) -> tuple[Any, ...]:
            try:
                health = api.health()
            except ApiError:
                return page.header(None), gr.skip()
            try:
                found = api.model_info()
            except ApiError:
                return page.header(health), None
            same = now is not None and now["model"] == found["model"]
            return page.header(health), gr.skip() if same else found

        quiet = {"show_progress": "hidden"}
        blocks.load(asked, info, [header, info], **quiet)
        predict_tab.select(asked, info, [header, info], **quiet)
        for event in (blocks.load, data_tab.select):
            look_data(event)
        look_models(models_tab.select)
        look_monitoring(monitoring_tab.select)
    blocks.queue(default_concurrency_limit=_WIDE_ENOUGH)
    return blocks


def serve(options: Options) -> None:
    """Run until stopped."""
    build(Api(options)).launch(
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
    )
