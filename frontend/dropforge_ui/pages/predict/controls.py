"""Predict: one row by a form, its reasons, a what-if; many rows by a file."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import gradio as gr

from dropforge_ui import batch, form
from dropforge_ui.client import Api, ApiError
from dropforge_ui.pages import page
from dropforge_ui.pages.parts import drop, html, waiting
from dropforge_ui.pages.predict import markup as views
from dropforge_ui.shapes import ModelInfo

_CHOOSE = '<p class="df-note">Choose a feature to see how the prediction changes with it alone.</p>'
# Events of a form that is drawn again come after `app.build` has closed the others to programs.
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}


def build(api: Api, info: Any) -> Any:
    """Controls into the open tab. `info` is a gr.State with the active model's ModelInfo, None while there is none.

    Returns the place for what stands there without a model.
    """
    notice = html(waiting("Predict"), elem_id="notice")
    with gr.Column(visible=False, elem_classes=["df-side"]) as ready:
        lead = html(elem_id="lead")
        with gr.Row(elem_classes=["df-split", "df-predict"]):
            with gr.Column(scale=3, elem_classes=["df-side"]):
                fields_place = gr.Column(elem_classes=["df-card", "df-form"])
                with gr.Column(elem_classes=["df-card", "df-what-if"]), gr.Column():
                    html("<h2>What if</h2>")
                    vary = gr.Dropdown(label="Vary one feature", choices=[], interactive=True, elem_id="vary")
                    curve = html(_CHOOSE)
            with gr.Column(scale=2, elem_classes=["df-side"]):
                result = html(views.waiting(), elem_id="result")
                reasons = html(visible=False, elem_id="reasons")
        _many_rows(api)
    info.change(_show, info, [ready, lead, result, reasons, vary, curve])

    with fields_place:

        def fields(model: ModelInfo | None) -> None:
            if model is not None:
                _form(api, model, result, reasons, curve, vary)

        gr.render(inputs=[info], triggers=[info.change], show_progress="hidden")(fields)
    return notice


def _show(model: ModelInfo | None) -> tuple[Any, ...]:
    if model is None:
        return gr.update(visible=False), *(gr.skip() for _ in range(5))
    vary = gr.update(choices=form.variable(model["features"]), value=None)
    return (
        gr.update(visible=True),
        views.model_line(model),
        views.waiting(),
        gr.update(visible=False),
        vary,
        _CHOOSE,
    )


def _form(api: Api, info: ModelInfo, result: Any, reasons: Any, curve: Any, vary: Any) -> None:
    features, example = info["features"], info.get("example", {})
    html(
        "<h2>One row</h2><p class='df-note'>An example row fills the form. Leave a field empty for a missing value.</p>"
    )
    with gr.Row(elem_classes=["df-fields"]):
        controls = [form.control(f, example.get(f["name"])) for f in features]
    with gr.Row(elem_classes=["df-actions"]):
        go = gr.Button("Predict", variant="primary", elem_id="predict", min_width=120)
        again = gr.Button("Example", min_width=100)
        clear = gr.Button("Clear", min_width=100)

    def predict(*given: Any) -> Any:
        record = form.record(features, given)
        started = time.monotonic()
        try:
            answer = api.explained(record)
        except ApiError as error:
            return page.error(error), gr.update(visible=False)
        output = views.result(answer, info, (time.monotonic() - started) * 1000)
        why = views.contributions(answer["predictions"][0], record)
        return output, gr.update(value=why or "", visible=why is not None)

    def what_if(name: str | None, *given: Any) -> Any:
        return _what_if(api, info, form.record(features, given), name) if name else gr.skip()

    requested = gr.on(
        [go.click, *(c.submit for c in controls if hasattr(c, "submit"))],
        predict,
        controls,
        [result, reasons],
        **_PRIVATE,
    )
    requested.then(what_if, [vary, *controls], curve, show_progress="hidden", **_PRIVATE)
    vary.input(what_if, [vary, *controls], curve, show_progress="minimal", trigger_mode="always_last", **_PRIVATE)
    again.click(lambda: [c.value for c in controls], None, controls, show_progress="hidden", **_PRIVATE)
    empty = [form.UNKNOWN if isinstance(c, gr.Dropdown) else None for c in controls]
    clear.click(lambda: empty, None, controls, show_progress="hidden", **_PRIVATE)


def _what_if(api: Api, info: ModelInfo, base: dict[str, Any], name: str) -> str:
    feature = next(f for f in info["features"] if f["name"] == name)
    values = form.sweep(feature, base.get(name))
    try:
        answer = api.predict(form.rows(base, name, values))
        if info.get("task") == "regression":
            numbers = [float(p["prediction"]) for p in answer["predictions"]]
            return views.what_if_number(name, values, numbers, base.get(name), info["target"])
        label = info.get("positive_class") or _likeliest(api, base)
    except ApiError as error:
        return page.error(error)
    matches = [p["probabilities"][label] for p in answer["predictions"]]
    return views.what_if(name, values, matches, base.get(name), label, answer.get("threshold"))


def _likeliest(api: Api, record: dict[str, Any]) -> str:
    return str(api.predict([record])["predictions"][0]["label"])


def _many_rows(api: Api) -> None:
    with gr.Column(elem_classes=["df-card"]), gr.Column():
        html(
            "<h2>Many rows</h2><p class='df-note'>A CSV file with a header line comes back with a prediction and probabilities.</p>"
        )
        file = drop("CSV file", [".csv", ".txt", ".tsv"], "batch-file")
        exact = gr.Checkbox(
            label="Keep texts that a spreadsheet would run (=, +, -, @) as they are", value=False, elem_id="batch-exact"
        )
        output = html(visible=False)
        with gr.Row(elem_classes=["df-actions"]):
            ready = gr.DownloadButton(
                "Download predictions", visible=False, variant="primary", elem_id="batch-download"
            )

    def run(path: str | None, keep: bool, progress: Any = gr.Progress()) -> Any:  # noqa: B008 - Gradio finds its progress bar by the default
        if not path:
            yield gr.update(visible=False), gr.update(visible=False)
            return
        started = time.monotonic()
        source = Path(path)
        folder = tempfile.mkdtemp(prefix="batch-", dir=".")
        target = Path(folder) / f"{source.stem}-predictions.csv"
        try:
            done = batch.predict_file(
                api,
                source,
                target,
                lambda n: progress((n, None), desc="predicting", unit="rows"),
                escape=not keep,
            )
            summary = views.batch_done(done.rows, done.labels, done.warned, time.monotonic() - started)
            yield gr.update(value=summary, visible=True), gr.update(value=str(target), visible=True)
        except ApiError as error:
            yield gr.update(value=page.error(error), visible=True), gr.update(visible=False)
        finally:  # Gradio has copied the result, and deletes the copy within the hour; an erasure does not look here
            shutil.rmtree(folder, ignore_errors=True)
            source.unlink(missing_ok=True)

    file.upload(run, [file, exact], [output, ready])
    file.clear(lambda: (gr.update(visible=False), gr.update(visible=False)), None, [output, ready])
