"""HTML that escapes by default, and the few pieces every view is made of.

By hand: fragments are trees of computed parts, one call a tag; templates would split each of the eighty into two files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already. Everything else is escaped when it becomes part of a tag."""

    __slots__ = ()


Part = Any  # Markup, text, number, None (nothing) or an iterable of them
_VOID = frozenset({"br", "hr", "img", "input", "line", "rect", "circle", "path", "polyline"})


def tag(name: str, *children: Part, **attributes: Any) -> Markup:
    """`tag("td", 3, class_="n", data_id="x")`. None and False leave an attribute out, True gives it no value."""
    given = "".join(_attribute(k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items())
    inner = join(*children)
    return Markup(f"<{name}{given}/>" if name in _VOID and not inner else f"<{name}{given}>{inner}</{name}>")


def join(*children: Part) -> Markup:
    """Parts one after the other, escaped unless they are markup."""
    return Markup("".join(_text(c) for c in children))


def _text(part: Part) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return str(part)
    if isinstance(part, str | int | float):
        return escape(str(part))
    return "".join(_text(p) for p in part)


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"'


def card(title: str, *children: Part, aside: Part = None, class_: str = "") -> Markup:
    """A titled box; `aside` stands at the right of the title."""
    head = tag("header", tag("h2", title), tag("div", aside, class_="aside") if aside else None) if title else None
    return tag("section", head, children, class_=f"df-card {class_}".strip())


def chip(text: str, tone: str = "") -> Markup:
    """A small label; tones: good, warn, bad, accent."""
    return tag("span", text, class_=f"df-chip {tone}".strip())


def empty(title: str, text: Part, hint: Part = None) -> Markup:
    """What stands where there is nothing yet, and how to change that."""
    inside = (tag("strong", title), tag("p", text), tag("p", hint, class_="hint") if hint else None)
    return tag("div", *inside, class_="df-empty")


def prose(text: str) -> Markup:
    """A sentence in which `commands` stand between backticks."""
    return join([tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))])


def problem(code: str, message: str, fix: str, request_id: str = "") -> Markup:
    """An error a person can act on."""
    small = " · ".join(p for p in (code, f"request {request_id}" if request_id else "") if p)
    return tag(
        "div",
        tag("strong", prose(message)),
        tag("p", tag("span", "What to do: "), prose(fix)) if fix else None,
        tag("small", small),
        class_="df-problem",
        role="alert",
    )


def done(message: Part, detail: Part = None) -> Markup:
    """A message of success."""
    return tag("div", tag("strong", message), tag("p", detail) if detail else None, class_="df-done", role="status")


def facts(pairs: Iterable[tuple[str, Part]]) -> Markup:
    """A list of names and values."""
    return tag("dl", [(tag("dt", k), tag("dd", v)) for k, v in pairs if v not in (None, "")], class_="df-facts")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `table` with a class of its own."""

    cells: Sequence[Part]
    class_: str = ""


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Part] | Row],
    numeric: Iterable[int] = (),
    caption: str = "",
    lead: int = 0,
    wide: Iterable[int] = (),
) -> Markup:
    """A table; on a phone each row becomes a block: column `lead` is its heading, those in `wide` take a line of their own.

    Columns in `numeric` are right-aligned.
    """
    right, broad = set(numeric), set(wide)

    def classes(i: int) -> str | None:
        return " ".join(n for n, on in (("n", i in right), ("lead", i == lead), ("wide", i in broad)) if on) or None

    def line(row: Sequence[Part] | Row) -> Markup:
        created = row if isinstance(row, Row) else Row(row)
        cells = [tag("td", c, class_=classes(i), data_label=header[i]) for i, c in enumerate(created.cells)]
        return tag("tr", cells, class_=created.class_ or None)

    named = tag("caption", caption, class_="sr") if caption else None
    head = tag("tr", [tag("th", h, class_="n" if i in right else None, scope="col") for i, h in enumerate(header)])
    grid = tag("table", named, tag("thead", head), tag("tbody", [line(r) for r in rows]))
    return tag("div", grid, class_="df-scroll df-stack", tabindex=0, role="region", aria_label=caption or None)


def halves(left: Part, right: Part) -> Markup:
    """Side by side where there is room."""
    return tag("div", tag("div", left), tag("div", right), class_="df-halves")


def bar(label: Part, share: float, value: str, tone: str = "", note: str = "") -> Markup:
    """One horizontal bar, `share` from 0 to 1 of its full width."""
    width = f"width:{max(0.0, min(1.0, share)) * 100:.2f}%"
    return tag(
        "div",
        tag("span", label, tag("small", note) if note else None, class_="name"),
        tag("span", tag("i", style=width), class_="track"),
        tag("span", value, class_="value"),
        class_=f"df-bar {tone}".strip(),
    )


def frame(page: str, title: str) -> Markup:
    """A whole document of ours inside the page, in a box of its own: it can run its scripts and reach nothing of this page."""
    return tag("iframe", srcdoc=page, title=title, sandbox="allow-scripts allow-popups", class_="df-frame")
