"""Models: leaderboard, labels, what answers, back again, comparison, model card."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dropforge_ui import theme
from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import done, problem
from dropforge_ui.shapes import ModelInfo, Version
from dropforge_ui.tabs.parts import html, waiting
from dropforge_ui.views import models as views
from dropforge_ui.views import page

_CARDS = 24  # read for the leaderboard; older versions stand there without an interval
_ALIASES = ("Production", "Staging")
_SHOWN = 9  # places that `look` fills


@dataclass(slots=True)
class Chosen:
    """The version one visitor looks at. Changed in place, so that an answer on its way shows what is chosen when it arrives."""

    key: str = ""


class Board:
    """Model cards never change once written: each is asked for once."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._cards: dict[str, dict[str, Any]] = {}

    @property
    def known(self) -> dict[str, dict[str, Any]]:
        return self._cards

    def learn(self, found: list[Version]) -> bool:
        """Ask for the cards of the newest versions that are not known; whether there were any."""
        wanted = [v for v in found[:_CARDS] if views.key(v) not in self._cards]
        with ThreadPoolExecutor(2) as pool:
            for v, told in zip(wanted, pool.map(self.card, wanted), strict=True):
                if told:
                    self._cards[views.key(v)] = told
        return bool(wanted)

    def card(self, v: Version) -> dict[str, Any]:
        """Empty for a version without a card."""
        if views.key(v) in self._cards:
            return self._cards[views.key(v)]
        try:
            return self.api.card(v["name"], v["version"])
        except ApiError:
            return {}

    def active(self) -> ModelInfo | None:
        try:
            return self.api.model_info()
        except ApiError as error:
            if error.status in {404, 409}:
                return None
            raise


class Actions:
    """What the buttons do; every one answers with what to tell."""

    def __init__(self, board: Board) -> None:
        self.board, self.api = board, board.api

    def label(self, now: Chosen, alias: str) -> Any:
        model, _, version = now.key.partition("/")
        try:
            self.api.label(alias, model, version)
        except ApiError as error:
            return _tell(page.error(error))
        return _tell(done(f"{model} version {version} is now {alias}.", "Set active makes it the one that answers."))

    def activate(self, now: Chosen, alias: str, why: str) -> tuple[Any, Any]:
        model, _, version = now.key.partition("/")
        try:
            mine = next((v for v in self.api.models() if views.key(v) == now.key), None)
            if mine is None or alias not in mine.get("aliases", ()):
                fix = "Press Put label first, then Set active."
                return _tell(
                    problem("label_missing", f"This version does not carry the label {alias}.", fix)
                ), gr.skip()
            self.api.set_model(alias, model, why or "")
        except ApiError as error:
            return _tell(page.error(error)), gr.skip()
        return _tell(done(f"{model} version {version} answers now.")), ""

    def ask(self, to: int | None = None) -> tuple[Any, ...]:
        """Going back is asked for once more; nothing is changed yet. What is asked is what will be done: a numbered entry."""
        try:
            kept = self.api.ledger()
        except ApiError as error:
            return _tell(page.error(error)), None, *_buttons(asking=False)
        entry = next((e for e in kept["entries"] if e["number"] == to), None) if to else views.previous(kept)
        if entry is None:
            told = problem("nothing_to_roll_back_to", "There is no earlier model.", "Set a version active instead.")
            return _tell(told), None, *_buttons(asking=False)
        told = views.question(f"Go back to {views.title(entry['to'])}?")
        return _tell(told), {"to": entry["number"]}, *_buttons(asking=True)

    def ask_for(self, event: gr.EventData) -> tuple[Any, ...]:
        return self.ask(int(event._data["pick"]))

    def leave(self, now: dict[str, Any] | None, why: str) -> tuple[Any, ...]:
        try:
            model = self.api.rollback((now or {}).get("to"), why or "")["model"]
            told, why = done(f"{model['name']} version {model['version']} answers again."), ""
        except ApiError as error:
            told = page.error(error)
        return _tell(told), *_buttons(asking=False), why

    def decide(self, action: str, why: str) -> tuple[Any, Any]:
        try:
            model = self.api.decide(action, why or "")["model"]
        except ApiError as error:
            return _tell(page.error(error)), gr.skip()
        said = "answers now." if action == "promote" else "answers alone."
        return _tell(done(f"{views.title(model)} {said}")), ""

    def stay(self) -> tuple[Any, ...]:
        return gr.update(visible=False), *_buttons(asking=False)

    def compare(self, one: str | None, other: str | None) -> Any:
        if not one or not other:
            return gr.skip()
        if one == other:
            return '<p class="df-note">Choose two different versions.</p>'
        cards = [self.board.card({"name": k.partition("/")[0], "version": k.partition("/")[2]}) for k in (one, other)]
        if not all(cards):
            return problem("no_card", "One of them has no model card.", "Choose versions trained by this release.")
        return views.comparison(*cards)

    def look(self, now: Chosen, one: str | None, other: str | None) -> tuple[Any, ...]:
        try:
            return _look(self.board, now, one, other)
        except ApiError as error:
            return page.error(error), *(gr.skip() for _ in range(_SHOWN - 1))

    def detail(self, now: Chosen) -> tuple[Any, ...]:
        """What takes longer: the intervals of the leaderboard, and the card of the chosen version."""
        try:
            found = self.api.models()
            fresh, info = self.board.learn(found), self.board.active()
            mine = next((v for v in found if views.key(v) == now.key), None)
            card = _card(self.api, mine)
        except ApiError as error:
            return gr.skip(), gr.update(value=page.error(error), visible=True)
        active = views.key(info["model"]) if info else ""
        board = views.leaderboard(found, self.board.known, active, now.key) if fresh else gr.skip()
        return board, card if mine is None or views.key(mine) == now.key else gr.skip()


def build(api: Api, changed: Callable[[Any], Any]) -> Any:
    """Controls into the open tab; returns what hangs them on the opening of the tab.

    `changed` is given the events after which another model may answer.
    """
    actions = Actions(Board(api))
    picked, pending = gr.State(Chosen()), gr.State(None)
    leaderboard = html(waiting("Leaderboard"), js_on_load=theme.pick_script(), elem_id="leaderboard")
    told = html(visible=False, elem_id="models-told")
    with gr.Column(visible=False, elem_classes=["df-side"]) as rest:
        with gr.Row(elem_classes=["df-split"]):
            with gr.Column(elem_classes=["df-card"], scale=1), gr.Column():
                chosen = html(elem_id="chosen")
                with gr.Row(elem_classes=["df-two"]):
                    alias = gr.Dropdown(
                        label="Label",
                        choices=list(_ALIASES),
                        value=_ALIASES[0],
                        allow_custom_value=True,
                        elem_classes=["df-field"],
                    )
                    why = gr.Textbox(
                        label="Why", placeholder="kept in the ledger", max_lines=1, elem_classes=["df-field"]
                    )
                with gr.Row(elem_classes=["df-actions"]):
                    label = gr.Button("Put label", elem_id="put-label")
                    activate = gr.Button("Set active", variant="primary", elem_id="set-active")
            with gr.Column(elem_classes=["df-card"], scale=1), gr.Column():
                active = html(elem_id="active")
                with gr.Row(elem_classes=["df-actions"], visible=False) as beside:
                    promote = gr.Button("Promote what is tried", variant="primary", elem_id="promote")
                    abort = gr.Button("Give it up", elem_id="abort")
                with gr.Row(elem_classes=["df-actions"]):
                    back = gr.Button("Roll back", elem_id="roll-back")
                    sure = gr.Button("Yes, go back", variant="primary", visible=False, elem_id="roll-back-sure")
                    stay = gr.Button("Stay", visible=False)
        ledger = html(js_on_load=theme.pick_script(), elem_id="ledger")
        first, second, compared = _compare(actions)
        card = html(visible=False, elem_id="model-card")
    shown = [leaderboard, rest, chosen, active, beside, back, ledger, first, second]
    quiet, brief = {"show_progress": "hidden"}, {"show_progress": "minimal"}

    again, more = (actions.look, [picked, first, second], shown), (actions.detail, picked, [leaderboard, card])
    compare = (actions.compare, [first, second], compared)
    leaderboard.select(_picked, picked, None, **quiet).then(*again, **brief).then(*more, **quiet)
    label.click(actions.label, [picked, alias], told, **brief).then(*again, **quiet)
    changed(activate.click(actions.activate, [picked, alias, why], [told, why], **brief).then(*again, **quiet).then)
    for button, action in ((promote, "promote"), (abort, "abort")):
        run = functools.partial(actions.decide, action)
        changed(button.click(run, why, [told, why], **brief).then(*again, **quiet).then)
    confirm, buttons = [told, pending, sure, stay, back], [told, sure, stay, back]
    back.click(actions.ask, None, confirm, **quiet)
    ledger.select(actions.ask_for, None, confirm, **quiet)
    changed(sure.click(actions.leave, [pending, why], [*buttons, why], **brief).then(*again, **quiet).then)
    stay.click(actions.stay, None, buttons, **quiet)
    return lambda event: event(*again, **quiet).then(*more, **quiet).then(*compare, **quiet)


def _compare(actions: Actions) -> tuple[Any, Any, Any]:
    with gr.Column(elem_classes=["df-card"]), gr.Column():
        html("<h2>Compare two versions</h2>")
        with gr.Row(elem_classes=["df-two", "df-compare"]):
            first = gr.Dropdown(label="First", choices=[], value=None, elem_classes=["df-field"], elem_id="first")
            second = gr.Dropdown(label="Second", choices=[], value=None, elem_classes=["df-field"], elem_id="second")
        compared = html('<p class="df-note">Choose two versions.</p>', elem_id="compared")
    gr.on([first.input, second.input], actions.compare, [first, second], compared, show_progress="minimal")
    return first, second, compared


def _tell(markup: str) -> Any:
    return gr.update(value=markup, visible=True)


def _picked(now: Chosen, event: gr.EventData) -> None:
    now.key = str(event._data["pick"])


def _buttons(*, asking: bool) -> tuple[Any, ...]:
    """Of the question: yes, stay; and the button that asks."""
    return gr.update(visible=asking), gr.update(visible=asking), gr.update(visible=not asking)


def _look(board: Board, now: Chosen, one: str | None, other: str | None) -> tuple[Any, ...]:
    found, info, kept = board.api.models(), board.active(), board.api.ledger()
    active = views.key(info["model"]) if info else ""
    keys = [views.key(v) for v in views.ranked(found)]
    if now.key not in keys:
        now.key = active if active in keys else keys[0] if keys else ""
    mine = next((v for v in found if views.key(v) == now.key), None)
    choices = [(views.title(v), views.key(v)) for v in views.ranked(found)]
    if one not in keys:  # what a person chose stays
        one = active if active in keys else keys[0] if keys else None
    if other not in keys:
        other = next((k for k in keys if k != one), None)
    return (
        views.leaderboard(found, board.known, active, now.key),
        gr.update(visible=bool(found)),
        views.chosen(mine),
        views.active(info, kept),
        gr.update(visible=bool(info and info.get("candidate"))),
        gr.update(interactive=views.previous(kept) is not None),
        views.ledger(kept),
        gr.update(choices=choices, value=one),
        gr.update(choices=choices, value=other),
    )


def _card(api: Api, v: Version | None) -> Any:
    if v is None:
        return gr.update(visible=False)
    try:
        return gr.update(value=views.model_card(api.card_html(v["name"], v["version"]), views.title(v)), visible=True)
    except ApiError:
        return gr.update(visible=False)
