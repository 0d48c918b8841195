"""What the buttons of the tab Models do, and what it shows afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gradio as gr

from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import done, problem
from dropforge_ui.pages import page
from dropforge_ui.pages.models import markup as views
from dropforge_ui.shapes import ModelInfo

_CARDS = 24  # the last ones compared; older ones are read again
_SHOWN = 12  # places that `look` fills


@dataclass(slots=True)
class Chosen:
    """The version one visitor looks at, and the one whose card stands on the page.

    Changed in place, so that an answer on its way shows what is chosen when it arrives.
    """

    key: str = ""
    card: str = ""


Card = TypeVar("Card")


class Cards(Generic[Card]):
    """Model cards never change once written: each is asked for once."""

    def __init__(self, read: Callable[[str, str], Card]) -> None:
        """`read`: a card by name and version."""
        self._read = read
        self._stored: dict[str, Card] = {}

    def get(self, key: str) -> Card:
        """Raises ApiError for a version without a card."""
        if key in self._stored:
            return self._stored[key]
        name, _, version = key.partition("/")
        card = self._read(name, version)
        while len(self._stored) >= _CARDS:
            self._stored.pop(next(iter(self._stored)))
        return self._stored.setdefault(key, card)


class Board:
    """What the tab shows, as the API has it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cards, self.card_pages = Cards(api.card), Cards(api.card_html)

    def active(self) -> ModelInfo | None:
        """The active model; None where none is active."""
        try:
            return self.api.model_info()
        except ApiError as error:
            if error.status in {404, 409}:
                return None
            raise


_FIXES = {
    "candidate_is_active": "Choose another version in the leaderboard.",
    "candidate_unlike": "It cannot run as canary or shadow. Activate replaces the active model.",
    "no_active_model": "Activate a version first, then start a canary or shadow of another one.",
    "no_candidate": "It was promoted or aborted meanwhile. Start another one.",
}  # what the page offers where the API's own advice is about calls


class Actions:
    """What the buttons do; every one answers with what to tell."""

    def __init__(self, board: Board) -> None:
        self.board, self.api = board, board.api

    def label(self, now: Chosen, alias: str) -> Any:
        """Set an alias on the chosen version."""
        model, _, version = now.key.partition("/")
        try:
            self.api.label(alias, model, version)
        except ApiError as error:
            return _tell(page.error(error))
        return _tell(done(f"{model} version {version} is now {alias}.", "Activate makes it the active model."))

    def activate(self, now: Chosen, alias: str, reason: str) -> tuple[Any, Any]:
        """Activate the version behind an alias."""
        model, _, version = now.key.partition("/")
        try:
            if not self._carries(now, alias):
                return _tell(_alias_missing(alias, "Activate")), gr.skip()
            self.api.set_model(alias, model, reason or "")
        except ApiError as error:
            return _tell(page.error(error)), gr.skip()
        return _tell(done(f"{model} version {version} is active.")), ""

    def beside(self, now: Chosen, alias: str, percent: float | None, shadow: bool, reason: str) -> tuple[Any, Any]:
        """Begin a trial of the chosen version beside the active one, or change the share of the one that goes on."""
        model = now.key.partition("/")[0]
        share = (percent or 0) / 100
        if not 0 <= share < 1 or not (share or shadow):
            fix = "Enter a percentage above 0 and below 100, or choose shadow mode. Activate sends all requests."
            return _tell(
                problem("nothing_to_try", "A canary needs a percentage above 0 and below 100.", fix)
            ), gr.skip()
        try:
            if not self._carries(now, alias):
                return _tell(_alias_missing(alias, "Start canary or shadow")), gr.skip()
            candidate = self.api.start_rollout(alias, model, share, shadow=shadow, reason=reason or "")["candidate"]
        except ApiError as error:
            return _tell(_problem(error)), gr.skip()
        return _tell(
            done(f"{views.tried(candidate)}.", "Promote it, change its percentage or abort it at any time.")
        ), ""

    def _carries(self, now: Chosen, alias: str) -> bool:
        mine = next((v for v in self.api.models() if views.key(v) == now.key), None)
        return mine is not None and alias in mine.get("aliases", ())

    def ask(self, to: int | None = None) -> tuple[Any, ...]:
        """Going back is asked for once more; nothing is changed yet. What is asked is what will be done: a numbered entry."""
        try:
            stored = self.api.ledger()
        except ApiError as error:
            return _tell(page.error(error)), None, *_buttons(asking=False)
        entry = next((e for e in stored["entries"] if e["number"] == to), None) if to else views.previous(stored)
        if entry is None:
            output = problem("nothing_to_roll_back_to", "There is no earlier model.", "Activate a version instead.")
            return _tell(output), None, *_buttons(asking=False)
        output = views.question(f"Go back to {views.title(entry['to'])}?")
        return _tell(output), {"to": entry["number"]}, *_buttons(asking=True)

    def ask_for(self, event: gr.EventData) -> tuple[Any, ...]:
        """Ask before a rollback to the entry that was picked."""
        return self.ask(int(event._data["pick"]))

    def leave(self, now: dict[str, Any] | None, reason: str) -> tuple[Any, ...]:
        """Roll back."""
        try:
            model = self.api.rollback((now or {}).get("to"), reason or "")["model"]
            output, reason = done(f"{model['name']} version {model['version']} is active again."), ""
        except ApiError as error:
            output = page.error(error)
        return _tell(output), *_buttons(asking=False), reason

    def decide(self, action: str, reason: str) -> tuple[Any, Any]:
        """Promote or abort the canary or shadow deployment."""
        try:
            model = self.api.decide(action, reason or "")["model"]
        except ApiError as error:
            return _tell(_problem(error)), gr.skip()
        predicted = "is active." if action == "promote" else "is active alone."
        return _tell(done(f"{views.title(model)} {predicted}")), ""

    def stay(self) -> tuple[Any, ...]:
        """Close the question; nothing changes."""
        return gr.update(visible=False), *_buttons(asking=False)

    def compare(self, one: str | None, other: str | None) -> Any:
        """Two versions side by side."""
        if not one or not other:
            return gr.skip()
        if one == other:
            return '<p class="df-note">Choose two different versions.</p>'
        try:
            return views.comparison(self.board.cards.get(one), self.board.cards.get(other))
        except ApiError:
            return problem("no_card", "One of them has no model card.", "Choose versions trained by this release.")

    def look(self, now: Chosen, one: str | None, other: str | None) -> Iterator[tuple[Any, ...]]:
        """Every part of the page, read again: the leaderboard first, then what the deployment history adds.

        One call after the other: calls at the same time start further instances of the API's function, each of which takes
        longer to start than one instance takes for all of them.
        """
        try:
            yield from _look(self.board, now, one, other)
        except ApiError as error:
            yield page.error(error), *(gr.skip() for _ in range(_SHOWN - 1))

    def detail(self, now: Chosen) -> Any:
        """What takes longer: the card of the chosen version, unless it stands there already."""
        key = now.key
        if key == now.card:
            return gr.skip()
        try:
            document = self.board.card_pages.get(key) if key else ""
        except ApiError:
            document = ""
        if key != now.key:
            return gr.skip()  # another one was chosen meanwhile, and is asked for by itself
        now.card = key if document else ""
        name, _, version = key.partition("/")
        title = views.title({"name": name, "version": version})
        return gr.update(value=views.model_card(document, title) if document else "", visible=bool(document))


def _tell(markup: str) -> Any:
    return gr.update(value=markup, visible=True)


def _problem(error: ApiError) -> str:
    fix = _FIXES.get(error.code, error.fix)
    return problem(error.code, error.message, fix, error.request_id)


def _alias_missing(alias: str, then: str) -> str:
    return problem(
        "alias_missing", f"This version does not have the alias {alias}.", f"Press Set alias first, then {then}."
    )


def _buttons(*, asking: bool) -> tuple[Any, ...]:
    """Of the question: yes, stay; and the button that asks."""
    return gr.update(visible=asking), gr.update(visible=asking), gr.update(visible=not asking)


def _look(board: Board, now: Chosen, one: str | None, other: str | None) -> Iterator[tuple[Any, ...]]:
    result, info = board.api.models(), board.active()
    active = views.key(info["model"]) if info else ""
    keys = [views.key(v) for v in views.ranked(result)]
    if now.key not in keys:
        now.key = active if active in keys else keys[0] if keys else ""
    at = views.stand(info, now.key)
    mine = next((v for v in result if views.key(v) == now.key), None)
    choices = [(views.title(v), views.key(v)) for v in views.ranked(result)]
    if one not in keys:  # what a person chose stays
        one = active if active in keys else keys[0] if keys else None
    if other not in keys:
        other = next((k for k in keys if k != one), None)
    leaderboard = (views.leaderboard(result, at), gr.update(visible=bool(result)), views.chosen(mine))
    compared = (gr.update(choices=choices, value=one), gr.update(choices=choices, value=other))
    yield *leaderboard, *(gr.skip() for _ in range(4)), *compared, *_tried(info, at)
    stored = board.api.ledger()
    yield (
        *(gr.skip() for _ in leaderboard),
        views.active(info, stored),
        gr.update(visible=bool(info and info.get("candidate"))),
        gr.update(interactive=views.previous(stored) is not None),
        views.ledger(stored),
        *(gr.skip() for _ in range(5)),
    )


def _tried(info: ModelInfo | None, at: views.At) -> tuple[Any, ...]:
    """The trial of the chosen version as it goes on; what a person entered for another one stays."""
    candidate = info.get("candidate") if info else None
    possible = bool(at.active) and at.chosen != at.active
    if candidate is None or at.chosen != at.beside:
        text = "Start canary or shadow" if candidate is None else "Replace the rollout"
        return gr.skip(), gr.skip(), gr.update(value=text, interactive=possible)
    return 100 * candidate["weight"], candidate["shadow"], gr.update(value="Update the rollout", interactive=True)
