"""Decisions about the upload that is looked at: approve or reject it, revoke or restore its dataset, make it the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dropforge_ui.client import Api, ApiError
from dropforge_ui.markup import done
from dropforge_ui.pages import page
from dropforge_ui.pages.parts import html

_WAITS = "awaiting_approval"
_UPLOAD = {"approve": "Approve", "reject": "Reject"}
_DATASET = {"revoke": "Revoke dataset", "restore": "Restore dataset", "set_reference": "Make reference"}
_DONE = {
    "approve": "Approved. It goes on to its training.",
    "reject": "Rejected. Nothing is trained on it.",
    "revoke": "Revoked. A training without it starts.",
    "restore": "Restored. A training with it starts.",
    "set_reference": "Later uploads are compared with it.",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """`shown`: controls whose visibility follows the record, in the order of `for_record`; `clicks`: to look again after."""

    shown: Sequence[Any]
    clicks: Sequence[Any]


def build(api: Api, chosen: gr.State) -> Panel:
    """The controls, hidden until an upload needs them."""
    with gr.Column(visible=False, elem_id="decision") as panel:
        html("<h2>Decide</h2>")
        reason = gr.Textbox(label="Reason", lines=1, max_lines=1, max_length=500)
        with gr.Row():
            buttons = {
                action: gr.Button(label, visible=False, elem_id=action.replace("_", "-"), min_width=120)
                for action, label in (_UPLOAD | _DATASET).items()
            }
        output = html(visible=False)
    clicks = [b.click(_decide(api, action), [chosen, reason], [output, reason]) for action, b in buttons.items()]
    return Panel([panel, *buttons.values()], clicks)


def _decide(api: Api, action: str) -> Callable[[Any, str], Any]:
    def decide(now: Any, reason: str) -> Any:
        try:
            if action in _UPLOAD:
                api.decide_upload(now.upload_id, action, reason)
            else:
                api.decide_dataset(str(api.upload(now.upload_id).get("dataset_id", "")), action, reason)
        except ApiError as error:
            return gr.update(value=page.error(error), visible=True), gr.skip()
        return gr.update(value=done(_DONE[action]), visible=True), ""

    return decide


def for_record(api: Api, record: Any) -> tuple[Any, ...]:
    """What can be decided about this upload, as updates of the controls."""
    return tuple(gr.update(visible=v) for v in _visible(_possible(api, record)))


def hidden() -> tuple[Any, ...]:
    """Nothing to decide."""
    return tuple(gr.update(visible=v) for v in _visible(set()))


def _visible(possible: set[str]) -> list[bool]:
    return [bool(possible), *(action in possible for action in (*_UPLOAD, *_DATASET))]


def _possible(api: Api, record: Any) -> set[str]:
    if record["state"] == _WAITS:
        return set(_UPLOAD)
    if record["state"] not in {"concluded", "training", "accepted", "waiting"}:
        return set()
    result = next((d for d in api.datasets() if d["dataset_id"] == record.get("dataset_id")), None)
    if result is None or result["reference"]:
        return set()
    return {"restore"} if result["revoked"] else {"revoke", "set_reference"}
