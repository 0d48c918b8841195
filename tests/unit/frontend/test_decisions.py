"""Decisions made in the web app: which buttons there are for an upload, and what a click asks the API for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dropforge_ui.client import Api
from dropforge_ui.config import Options

from .conftest import Server

UPLOAD, DATASET = "0123456789abcdef0123", "00112233445566ff"
IN_USE = {"dataset_id": DATASET, "upload_id": UPLOAD, "accepted_at": "", "revoked": "", "reference": False}


@pytest.fixture
def api(server: Server, credentials: None) -> Api:
    return Api(Options(api_url=server.url, api_key="k", region="eu-west-1"))


@pytest.mark.parametrize(
    ("state", "dataset", "offered"),
    [
        ("awaiting_approval", None, {"approve", "reject"}),
        ("concluded", IN_USE, {"revoke", "set_reference"}),
        ("training", IN_USE, {"revoke", "set_reference"}),
        ("concluded", {**IN_USE, "revoked": "revoked by ann"}, {"restore"}),
        ("concluded", {**IN_USE, "reference": True}, set()),
        ("rejected", None, set()),
    ],
)
def test_only_what_can_be_done_is_offered(
    api: Api, server: Server, state: str, dataset: Any, offered: set[str]
) -> None:
    """A button stands there exactly when the API would carry it out."""
    server.answers["GET", "/datasets"] = (200, {"datasets": [dataset] if dataset else []})
    from dropforge_ui.pages.data import decisions

    updates = decisions.for_record(api, {"state": state, "upload_id": UPLOAD, "dataset_id": DATASET})
    panel, *buttons = (u["visible"] for u in updates)
    actions = ("approve", "reject", "revoke", "restore", "set_reference")
    assert {a for a, visible in zip(actions, buttons, strict=True) if visible} == offered
    assert panel == bool(offered)


@pytest.mark.parametrize("action", ["approve", "reject", "revoke", "restore", "set_reference"])
def test_a_click_is_a_decision_with_its_reason(api: Api, server: Server, action: str) -> None:
    """The route, the action and the reason, signed; what follows is told on the page."""
    path = f"/uploads/{UPLOAD}" if action in {"approve", "reject"} else f"/datasets/{DATASET}"
    server.answers["POST", path] = (200, {"action": action})
    server.answers["GET", f"/uploads/{UPLOAD}"] = (200, {"upload_id": UPLOAD, "dataset_id": DATASET})
    from dropforge_ui.pages.data import controls, decisions

    output, reason = decisions._decide(api, action)(controls.Chosen(upload_id=UPLOAD), "looked at it")
    method, requested, headers, body = server.requests[-1]
    assert (method, requested, json.loads(body)) == ("POST", path, {"action": action, "reason": "looked at it"})
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert (output["visible"], reason) == (True, "")


def test_a_refused_decision_is_told_and_its_reason_kept(api: Api, server: Server) -> None:
    """Message and fix of the API stand on the page; what was typed stays."""
    error = {"code": "decided_before", "message": "was decided before", "fix": "revoke it"}
    server.answers["POST", f"/uploads/{UPLOAD}"] = (409, error)
    import gradio as gr

    from dropforge_ui.pages.data import controls, decisions

    output, reason = decisions._decide(api, "approve")(controls.Chosen(upload_id=UPLOAD), "x")
    assert "was decided before" in str(output["value"])
    assert reason == gr.skip()
