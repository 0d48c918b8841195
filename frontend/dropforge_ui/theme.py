"""The look: one palette for light and dark, system fonts, one accent. Nothing is fetched from anywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

LIGHT: Final = {
    "bg": "#fafaf8", "card": "#ffffff", "sunk": "#f3f4f4", "ink": "#1b1f24", "soft": "#5b6470", "line": "#e2e4e8",
    "accent": "#2459c4", "accent-ink": "#ffffff", "accent-soft": "#e9effb", "mute": "#a9b2be",
    "good": "#1a7446", "warn": "#8a5300", "bad": "#b3261e",
    "good-soft": "#e6f4ec", "warn-soft": "#fbf1de", "bad-soft": "#fcebea",
}  # fmt: skip
DARK: Final = {
    "bg": "#14171b", "card": "#1b1f25", "sunk": "#15181d", "ink": "#e8eaed", "soft": "#a0a9b5", "line": "#2e343c",
    "accent": "#7da8ff", "accent-ink": "#0f1420", "accent-soft": "#1f2a40", "mute": "#5d6875",
    "good": "#5ecb92", "warn": "#e5ab53", "bad": "#f48b83",
    "good-soft": "#17291f", "warn-soft": "#2d2416", "bad-soft": "#33201f",
}  # fmt: skip
_SANS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
_MONO: Final = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
_HERE: Final = Path(__file__).parent


@cache
def css() -> str:
    """Variables of both palettes, then the style sheet."""
    light = "".join(f"--df-{k}:{v};" for k, v in LIGHT.items())
    dark = "".join(f"--df-{k}:{v};" for k, v in DARK.items())
    return f":root{{{light}color-scheme:light}}\n.dark{{{dark}color-scheme:dark}}\n" + _read("style.css")


@cache
def script() -> str:
    """What runs when the page opens: light or dark as it was chosen."""
    return _read("page.js")


@cache
def pick_script() -> str:
    """For a view with buttons: `data-pick` tells the page which one was pressed."""
    return _read("pick.js")


@cache
def quarantine_script() -> str:
    """For the rows quarantined: hands the corrected ones over."""
    return _read("quarantine.js")


def theme() -> Any:
    """Gradio's variables in our palette."""
    import gradio as gr

    both = {
        "body_background_fill": "bg", "background_fill_primary": "card", "background_fill_secondary": "sunk",
        "body_text_color": "ink", "body_text_color_subdued": "soft", "border_color_primary": "line",
        "border_color_accent": "accent", "color_accent_soft": "accent-soft", "link_text_color": "accent",
        "block_background_fill": "card", "block_border_color": "line", "block_label_text_color": "soft",
        "block_title_text_color": "ink", "block_info_text_color": "soft", "panel_background_fill": "card",
        "input_background_fill": "card", "input_border_color": "line", "input_border_color_focus": "accent",
        "input_placeholder_color": "soft", "input_background_fill_focus": "card",
        "button_primary_background_fill": "accent", "button_primary_background_fill_hover": "accent",
        "button_primary_text_color": "accent-ink", "button_primary_border_color": "accent",
        "button_primary_border_color_hover": "accent",
        "button_secondary_background_fill": "card", "button_secondary_background_fill_hover": "sunk",
        "button_secondary_text_color": "ink", "button_secondary_border_color": "line",
        "button_cancel_background_fill": "card", "button_cancel_text_color": "bad", "button_cancel_border_color": "bad",
        "checkbox_background_color": "card", "checkbox_border_color": "mute", "checkbox_background_color_selected": "accent",
        "checkbox_border_color_selected": "accent", "checkbox_label_background_fill": "card",
        "checkbox_label_background_fill_selected": "accent-soft", "checkbox_label_text_color": "ink",
        "checkbox_label_text_color_selected": "ink", "table_even_background_fill": "card", "table_odd_background_fill": "card",
        "table_border_color": "line", "loader_color": "accent", "slider_color": "accent", "error_text_color": "bad",
    }  # fmt: skip
    values = {k: LIGHT[v] for k, v in both.items()} | {f"{k}_dark": DARK[v] for k, v in both.items()}
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO, radius_size="md", text_size="md"
    ).set(
        **values,
        block_shadow="none",
        block_border_width="0px",
        block_padding="0px",
        block_title_text_weight="600",
        block_label_text_weight="600",
        button_primary_shadow="none",
        button_secondary_shadow="none",
        button_large_text_weight="600",
        button_small_text_weight="600",
        button_transition="background-color .12s",
        input_border_width="1px",
        input_radius="8px",
        input_shadow="none",
        input_shadow_focus="none",
        layout_gap="16px",
        form_gap_width="0px",
    )


def _read(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8")
