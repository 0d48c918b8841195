"""The page put together."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from socket import socket
from typing import Any

import gradio as gr
import uvicorn

from dropforge_ui import login, theme
from dropforge_ui.client import UNREACHABLE, Api, ApiError
from dropforge_ui.config import Options
from dropforge_ui.pages import page
from dropforge_ui.pages.data import controls
from dropforge_ui.pages.models import controls as models
from dropforge_ui.pages.monitoring import controls as monitoring
from dropforge_ui.pages.parts import html
from dropforge_ui.pages.predict import controls as predict
from dropforge_ui.pages.predict import markup as views
from dropforge_ui.perimeter import LIVE, Perimeter
from dropforge_ui.shapes import Health, ModelInfo

_WIDE_ENOUGH = 40  # callers at the same time; each waits for the API, none computes


def build(api: Api) -> Any:
    """The whole app as gr.Blocks. Nothing is asked of the API before somebody opens the page."""
    with gr.Blocks(title="Dropforge", analytics_enabled=False, elem_id="dropforge", delete_cache=(600, 3600)) as blocks:
        header = html(page.header(None, requested=False), elem_id="header")
        info = gr.State(None)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Predict", id="predict") as predict_tab:
                notice = predict.build(api, info)

            def look(event: Any, **given: Any) -> Any:
                """What stands on every tab, and which model the form is for."""
                shown = [header, info, notice]
                return event(functools.partial(_fetch, api), info, shown, show_progress="hidden", **given)

            with gr.Tab("Data", id="data") as data_tab:
                load_data = controls.build(api)
            with gr.Tab("Models", id="models") as models_tab:
                load_models = models.build(api, look)
            with gr.Tab("Monitoring", id="monitoring") as monitoring_tab:
                load_monitoring = monitoring.build(api)

        # The tab's own content first: of a click's events the browser sends each when the one before has ended.
        load_data(data_tab.select)
        load_models(models_tab.select)
        load_monitoring(monitoring_tab.select)
        # One event for all of them, once at a time: two answers would make the form twice, and the buttons of the first do nothing.
        opened = [blocks.load, *(t.select for t in (predict_tab, data_tab, models_tab, monitoring_tab))]
        look(functools.partial(gr.on, opened), trigger_mode="once")
    blocks.queue(default_concurrency_limit=_WIDE_ENOUGH, api_open=False)
    for event in blocks.fns.values():
        event.api_visibility = "private"  # events of the page, not endpoints for programs: those have the API
    _rest(blocks)
    return blocks


def _fetch(api: Api, now: ModelInfo | None) -> Iterator[tuple[Any, ...]]:
    """Active model (skipped while it is the same), and what stands in place of a form without one; then the header."""
    model, notice = gr.skip(), gr.update(visible=False)
    try:
        result = api.model_info()
    except ApiError as error:
        missing = error.status in {404, 409}
        notice = gr.update(value=views.no_model() if missing else page.error(error), visible=True)
        if error.code != UNREACHABLE:  # else the form stays, with what a person typed
            model = None
    else:
        if now is None or now["model"] != result["model"]:
            model = result
    yield gr.skip(), model, notice
    yield page.header(_health(api)), gr.skip(), gr.skip()


def _health(api: Api) -> Health | None:
    try:
        return api.health()
    except ApiError:
        return None


def _rest(blocks: Any) -> None:
    """Gradio's queue looks for work every millisecond, which costs 5 % of a core for nothing; people do not see 40 ms."""
    queue = blocks._queue
    queue.sleep_when_free, queue.progress_update_sleep_when_free = 0.04, 0.1


def serve(options: Options, *, wait: bool = True, listening: socket | None = None) -> Server:
    """Run until stopped; without `wait` it returns the running server, to be closed by the caller.

    `listening`: a socket that listens on the options' address already; else one is opened when the app can answer.
    """
    server = Server(application(options), options, [listening] if listening else None)
    if wait:
        server.run()
    else:
        server.start()
    return server


def application(options: Options) -> Any:
    """The page behind its perimeter, as an ASGI application; with a login where one is configured."""
    from fastapi import FastAPI
    from starlette.middleware.cors import CORSMiddleware

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outer.add_middleware(
        CORSMiddleware, allow_origins=()
    )  # no other origin; Gradio leaves its own rule out beside this one
    outer.add_middleware(Perimeter, hosts=options.hosts, upload_bytes=options.upload_bytes)
    outer.add_api_route(LIVE, lambda: {"live": True})
    blocks = build(Api(options, login.person))
    gr.mount_gradio_app(
        outer,
        blocks,
        path="/",
        server_name=options.host,
        server_port=options.port,
        theme=theme.theme(),
        css=theme.css(),
        js=theme.script(),
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=options.upload_bytes,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        **login.parameters(options),
    )
    return outer


class Server:
    """Uvicorn on the options' address, in this thread or in one of its own."""

    def __init__(self, app: Any, options: Options, sockets: list[socket] | None = None) -> None:
        config = uvicorn.Config(
            app,
            options.host,
            options.port,
            log_level="warning",
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,  # an open page holds a connection for as long as it is open
            limit_concurrency=512,
        )
        self._server, self._sockets = uvicorn.Server(config), sockets
        self._thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Serve until the process ends."""
        self._server.run(self._sockets)

    def start(self) -> None:
        """Returns when it answers; raises RuntimeError when it ended instead."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the page did not start")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join()
