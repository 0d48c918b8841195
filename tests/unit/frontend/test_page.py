"""The page as Gradio describes it, without a browser."""

from __future__ import annotations

from dropforge_ui.client import Api
from dropforge_ui.config import Options


def test_opening_the_page_and_a_tab_at_once_makes_one_form() -> None:
    """One event asks which model the form is for, once at a time: buttons of a form made before would do nothing."""
    from dropforge_ui.app import build

    created = build(Api(Options("http://127.0.0.1:9", "key"))).get_config_file()
    header = next(c["id"] for c in created["components"] if c["props"].get("elem_id") == "header")
    opens = [
        d
        for d in created["dependencies"]
        if header in d["outputs"] and {e for _, e in d["targets"]} & {"load", "select"}
    ]
    assert [(len(d["targets"]), d["trigger_mode"]) for d in opens] == [(5, "once")]
