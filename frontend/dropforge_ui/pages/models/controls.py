"""Models: leaderboard, labels, what answers, back again, comparison, model card."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from dropforge_ui import theme
from dropforge_ui.client import Api
from dropforge_ui.pages.models.actions import Actions, Board, Chosen
from dropforge_ui.pages.parts import html, waiting

_ALIASES = ("Production", "Staging")


def build(api: Api, changed: Callable[[Any], Any]) -> Any:
    """Controls into the open tab; returns what hangs them on the opening of the tab.

    `changed` is given the events after which another model may answer.
    """
    actions = Actions(Board(api))
    picked, pending = gr.State(Chosen()), gr.State(None)
    leaderboard = html(waiting("Leaderboard"), js_on_load=theme.pick_script(), elem_id="leaderboard")
    output = html(visible=False, elem_id="models-message")
    with gr.Column(visible=False, elem_classes=["df-side"]) as rest:
        with gr.Row(elem_classes=["df-split"]):
            with gr.Column(elem_classes=["df-card"], scale=1), gr.Column():
                chosen = html(elem_id="chosen")
                alias, reason = _alias()
                with gr.Row(elem_classes=["df-actions"]):
                    label = gr.Button("Set alias", elem_id="set-alias")
                    activate = gr.Button("Activate", variant="primary", elem_id="set-active")
                share, shadow, attempt = _trial()
            with gr.Column(elem_classes=["df-card"], scale=1), gr.Column():
                active = html(elem_id="active")
                with gr.Row(elem_classes=["df-actions"], visible=False) as beside:
                    promote = gr.Button("Promote", variant="primary", elem_id="promote")
                    abort = gr.Button("Abort", elem_id="abort")
                with gr.Row(elem_classes=["df-actions"]):
                    back = gr.Button("Roll back", elem_id="roll-back")
                    sure = gr.Button("Yes, go back", variant="primary", visible=False, elem_id="roll-back-sure")
                    stay = gr.Button("Stay", visible=False)
        ledger = html(js_on_load=theme.pick_script(), elem_id="ledger")
        first, second, compared = _compare(actions)
        card = html(visible=False, elem_id="model-card")
    shown = [leaderboard, rest, chosen, active, beside, back, ledger, first, second, share, shadow, attempt]
    quiet, brief = {"show_progress": "hidden"}, {"show_progress": "minimal"}

    again, more = (actions.look, [picked, first, second], shown), (actions.detail, picked, card)
    compare = (actions.compare, [first, second], compared)
    leaderboard.select(_picked, picked, None, **quiet).then(*again, **brief).then(*more, **quiet)
    label.click(actions.label, [picked, alias], output, **brief).then(*again, **quiet)
    changed(
        activate.click(actions.activate, [picked, alias, reason], [output, reason], **brief).then(*again, **quiet).then
    )
    requests_seen = [picked, alias, share, shadow, reason]
    changed(attempt.click(actions.beside, requests_seen, [output, reason], **brief).then(*again, **quiet).then)
    for button, action in ((promote, "promote"), (abort, "abort")):
        run = functools.partial(actions.decide, action)
        changed(button.click(run, reason, [output, reason], **brief).then(*again, **quiet).then)
    confirm, buttons = [output, pending, sure, stay, back], [output, sure, stay, back]
    back.click(actions.ask, None, confirm, **quiet)
    ledger.select(actions.ask_for, None, confirm, **quiet)
    changed(sure.click(actions.leave, [pending, reason], [*buttons, reason], **brief).then(*again, **quiet).then)
    stay.click(actions.stay, None, buttons, **quiet)
    return lambda event: event(*again, **quiet).then(*more, **quiet).then(*compare, **quiet)


def _alias() -> tuple[Any, Any]:
    """Which alias, and the reason that the deployment history shows."""
    with gr.Row(elem_classes=["df-two"]):
        alias = gr.Dropdown(
            label="Alias",
            choices=list(_ALIASES),
            value=_ALIASES[0],
            allow_custom_value=True,
            elem_classes=["df-field"],
        )
        reason = gr.Textbox(
            label="Reason", placeholder="for the deployment history", max_lines=1, elem_classes=["df-field"]
        )
    return alias, reason


def _trial() -> tuple[Any, Any, Any]:
    """Share of requests, shadow, and the button that begins or changes a trial of the chosen version."""
    with gr.Row(elem_classes=["df-two", "df-trial"]):
        share = gr.Number(label="Percent of requests", value=10, elem_classes=["df-field"], elem_id="share")
        shadow = gr.Checkbox(label="Shadow mode for the others", value=False, elem_id="shadow")
    with gr.Row(elem_classes=["df-actions"]):
        attempt = gr.Button("Start canary or shadow", elem_id="start-rollout")
    return share, shadow, attempt


def _compare(actions: Actions) -> tuple[Any, Any, Any]:
    with gr.Column(elem_classes=["df-card"]), gr.Column():
        html("<h2>Compare two versions</h2>")
        with gr.Row(elem_classes=["df-two", "df-compare"]):
            first = gr.Dropdown(label="First", choices=[], value=None, elem_classes=["df-field"], elem_id="first")
            second = gr.Dropdown(label="Second", choices=[], value=None, elem_classes=["df-field"], elem_id="second")
        compared = html('<p class="df-note">Choose two versions.</p>', elem_id="compared")
    gr.on([first.input, second.input], actions.compare, [first, second], compared, show_progress="minimal")
    return first, second, compared


def _picked(now: Chosen, event: gr.EventData) -> None:
    now.key = str(event._data["pick"])
