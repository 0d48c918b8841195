"""Predict: one row by a form, its reasons, a what-if; many rows by a file."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dropforge_ui import batch, form
from dropforge_ui.client import Api, ApiError
from dropforge_ui.pages import page
from dropforge_ui.pages.parts import drop, html, waiting
from dropforge_ui.pages.predict import markup as views
from dropforge_ui.shapes import Feature, ModelInfo

_CHOOSE = '<p class="df-note">Choose a feature to see how the prediction changes with it alone.</p>'
# Events of a form that is drawn again come after `app.build` has closed the others to programs.
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass(frozen=True)
class _Places:
    """Components outside the form that it writes to; `row` is the state with the row that was predicted last."""

    result: Any
    reasons: Any
    row: Any
    vary: Any
    curve: Any


def build(api: Api, info: Any) -> Any:
    """Controls into the open tab. `info` is a gr.State with the active model's ModelInfo, None while there is none.

    Returns the place for what stands there without a model.
    """
    notice = html(waiting("Predict"), elem_id="notice")
    with gr.Column(visible=False, elem_classes=["df-side"]) as ready:
        with gr.Row(elem_classes=["df-split", "df-predict"]):
            with gr.Column(scale=3, elem_classes=["df-side"]):
                form_place = gr.Column(elem_classes=["df-side"])
                with gr.Column(elem_classes=["df-card", "df-what-if"]), gr.Column():
                    html("<h2>What if</h2>")
                    vary = gr.Dropdown(label="Vary one feature", choices=[], interactive=True, elem_id="vary")
                    curve = html(_CHOOSE)
            with gr.Column(scale=2, elem_classes=["df-side"]):
                result = html(views.waiting(), elem_id="result")
                reasons = html(visible=False, elem_id="reasons")
        _many_rows(api)
    model = gr.State(None)
    places = _Places(result, reasons, gr.State(None), vary, curve)
    # One after the other: answers of the old model go before the new form stands there, never after somebody has used it.
    info.change(_clear, info, [ready, result, reasons, vary, curve, model])

    with form_place:

        def draw(model: ModelInfo | None, row: dict[str, Any] | None) -> None:
            if model is not None:
                _form(api, model, row, places)

        gr.render(inputs=[model, places.row], triggers=[model.change], show_progress="hidden")(draw)
    return notice


def _clear(model: ModelInfo | None) -> tuple[Any, ...]:
    if model is None:
        return gr.update(visible=False), *(gr.skip() for _ in range(5))
    vary = gr.update(choices=form.variable(model["features"]), value=None)
    return gr.update(visible=True), views.waiting(), gr.update(visible=False), vary, _CHOOSE, model


def _form(api: Api, info: ModelInfo, row: dict[str, Any] | None, places: _Places) -> None:
    """The model's name and a form for its features, drawn as one: nobody types into the form of another model than is named above.

    `row`, the one predicted last, fills the form again when this model has the same features.
    """
    features, example = info["features"], info.get("example", {})
    present = row if row is not None and set(row) == {f["name"] for f in features} else example
    html(views.model_line(info), elem_id="lead")
    with gr.Column(elem_classes=["df-card", "df-form"]):
        controls, buttons = _fields(features, present)

    def predict(*given: Any) -> Any:
        record = form.record(features, given)
        started = time.monotonic()
        try:
            answer = api.explained(record)
        except ApiError as error:
            return page.error(error), gr.update(visible=False), record
        output = views.result(answer, info, (time.monotonic() - started) * 1000)
        explanation = views.contributions(answer["predictions"][0], record)
        return output, gr.update(value=explanation or "", visible=explanation is not None), record

    def what_if(name: str | None, *given: Any) -> Any:
        return _what_if(api, info, form.record(features, given), name) if name else gr.skip()

    requested = gr.on(
        [buttons["Predict"].click, *(c.submit for c in controls if hasattr(c, "submit"))],
        predict,
        controls,
        [places.result, places.reasons, places.row],
        **_PRIVATE,
    )
    sweep = [places.vary, *controls]
    requested.then(what_if, sweep, places.curve, show_progress="hidden", **_PRIVATE)
    places.vary.input(what_if, sweep, places.curve, show_progress="minimal", trigger_mode="always_last", **_PRIVATE)
    filled = [form.initial(f, example.get(f["name"])) for f in features]
    empty = [form.initial(f, None) for f in features]
    for button, values in (("Example", filled), ("Clear", empty)):
        buttons[button].click(functools.partial(list, values), None, controls, show_progress="hidden", **_PRIVATE)


def _fields(features: Sequence[Feature], present: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """A control for every feature with its value of the row, and the buttons below by their words."""
    html(
        "<h2>One row</h2><p class='df-note'>An example row fills the form. Leave a field empty for a missing value.</p>"
    )
    with gr.Row(elem_classes=["df-fields"]):
        controls = [form.control(f, present.get(f["name"])) for f in features]
    with gr.Row(elem_classes=["df-actions"]):
        predict = gr.Button("Predict", variant="primary", elem_id="predict", min_width=120)
        return controls, {"Predict": predict, **{w: gr.Button(w, min_width=100) for w in ("Example", "Clear")}}


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
