"""Controls as every tab has them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dropforge_ui.markup import card, tag


def html(value: str = "", **given: Any) -> Any:
    """A place for markup of ours, without Gradio's own look."""
    return gr.HTML(value, apply_default_css=False, **given)


def drop(what: str, types: list[str], name: str) -> Any:
    """A place to drop one file, or to choose it."""
    return gr.File(label=what, file_types=types, type="filepath", height=120, elem_id=name, elem_classes=["df-drop"])


def waiting(title: str) -> str:
    """What stands in a place until the API has answered."""
    return card(title, tag("p", "Asking the API …", class_="df-note df-wait"))
