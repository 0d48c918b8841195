"""Pictures of the model card as SVG text: no script, every text escaped, colours by class so that one style serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from dropforge.analysis.report import axes
from dropforge_training.card.style import number

Points = Sequence[Sequence[float]]
_WIDE = 560  # from here on a picture keeps its width on a phone and is scrolled: its texts could not be read smaller
_LETTER = 6.6  # width of a digit at the pictures' size of text


def ticks(low: float, high: float, most: int = 4) -> list[tuple[float, str]]:
    """Round numbers between both, with their texts: steps of 1, 2 or 5 times a power of ten, `most` steps at the most."""
    if not low < high:
        return [(low, number(low))]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= most)
    values = [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return list(zip(values, axes.apart(values), strict=True))


def square(
    series: Sequence[tuple[str, Points]], *, x: str, y: str, title: str, diagonal: bool = False, dots: bool = False
) -> str:
    """Lines in the unit square; `series`: (css class, points). `diagonal`: the line of chance or of perfect calibration."""
    left, top, side = 44, 10, 250
    levels = [(i / 4, label) for i, label in enumerate(("0", "0.25", "0.5", "0.75", "1"))]
    parts = [_grid(left, top, side, side, levels)]
    for fraction, label in levels:
        parts.append(
            f'<text x="{left + side * fraction:.0f}" y="{top + side + 15}" text-anchor="middle">{label}</text>'
        )
    if diagonal:
        parts.append(f'<line class="guide" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
    for css, points in series:
        at = [(left + side * a, top + side * (1 - b)) for a, b, *_ in points]
        parts.append(f'<polyline class="{css}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}"/>')
        if dots:
            parts += [f'<circle class="{css} dot" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in at]
    parts.append(f'<text x="{left + side / 2:.0f}" y="{top + side + 32}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text transform="translate(12 {top + side / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return _svg(left + side + 12, top + side + 40, title, parts)


def _grid(left: int, top: int, width: int, height: int, levels: Sequence[tuple[float, str]]) -> str:
    """Lines across with their texts; `levels`: fractions of the height from below."""
    parts = []
    for fraction, label in levels:
        y = top + height * (1 - fraction)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    return "".join(parts)


def bars(
    rows: Sequence[tuple[str, float, float]], *, title: str, form: Callable[[float], str] = number, width: int = 760
) -> str:
    """Horizontal bars with whiskers; `rows`: (name, value, half width of the whisker); negative values go to the left."""
    left, step = 150, 22
    highest = max([v + e for _, v, e in rows] + [1e-12])
    lowest = min([v - e for _, v, e in rows] + [0.0])
    scale = width / (highest - lowest)
    zero = left - lowest * scale
    parts = []
    for i, (name, value, spread) in enumerate(rows):
        y = i * step + 4
        css = "bar" if value >= 0 else "bar less"
        start, length = min(zero, zero + value * scale), abs(value) * scale
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(_short(name))}</text>')
        parts.append(
            f'<rect class="{css}" x="{start:.1f}" y="{y + 2}" width="{max(length, 0.8):.1f}" height="12" rx="2"/>'
        )
        tip = zero + value * scale
        if spread:
            parts.append(
                f'<line class="whisker" x1="{tip - spread * scale:.1f}" y1="{y + 8}" x2="{tip + spread * scale:.1f}" y2="{y + 8}"/>'
            )
        parts.append(f'<text x="{max(tip + spread * scale, zero) + 6:.1f}" y="{y + 12}">{form(value)}</text>')
    room = 12 + _LETTER * max((len(form(v)) for _, v, _ in rows), default=0)
    return _svg(left + width + room, len(rows) * step + 8, title, parts)


def whiskers(rows: Sequence[tuple[str, float, float, float]], *, title: str, marks: Sequence[float] = (0.0,)) -> str:
    """Dots with intervals on one axis; `rows`: (name, value, low, high); `marks`: values drawn as upright lines."""
    left, width, step = 190, 700, 24
    lowest = min([low for _, _, low, _ in rows] + list(marks))
    highest = max([high for _, _, _, high in rows] + list(marks))
    room = (highest - lowest or 1e-9) * 0.06
    lowest, highest = lowest - room, highest + room
    scale = width / (highest - lowest)
    height = len(rows) * step + 6

    def at(value: float) -> float:
        return left + (value - lowest) * scale

    parts = [f'<line class="guide" x1="{at(m):.1f}" y1="0" x2="{at(m):.1f}" y2="{height}"/>' for m in marks]
    parts += [
        f'<text x="{at(v):.1f}" y="{height + 14}" text-anchor="middle">{label}</text>'
        for v, label in ticks(lowest, highest)
    ]
    for i, (name, value, low, high) in enumerate(rows):
        y = i * step + 14
        css = "more" if low > 0 else "less" if high < 0 else "even"
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(_short(name, 26))}</text>')
        parts.append(f'<line class="span {css}" x1="{at(low):.1f}" y1="{y}" x2="{at(high):.1f}" y2="{y}"/>')
        parts.append(f'<circle class="{css} dot" cx="{at(value):.1f}" cy="{y}" r="4"/>')
        parts.append(f'<text x="{left + width + 8}" y="{y + 4}">{number(value, "+")}</text>')
    longest = max((len(number(v, "+")) for _, v, _, _ in rows), default=0)
    return _svg(left + width + 14 + _LETTER * longest, height + 20, title, parts)


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """True classes down, predicted across; the shade is the share of the true class."""
    n = len(classes)
    size = max(34, min(104, 420 // n))
    left, top = 120, 44
    parts = [f'<text x="{left + n * size / 2:.0f}" y="12" text-anchor="middle">predicted</text>']
    for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
        y = top + i * size
        total = sum(row) or 1
        parts.append(
            f'<text x="{left - 8}" y="{y + size / 2 + 4:.0f}" text-anchor="end">{escape(_short(name, 16))}</text>'
        )
        parts.append(
            f'<text x="{left + i * size + size / 2:.0f}" y="{top - 8}" text-anchor="middle">{escape(_short(name, size // 7))}</text>'
        )
        for j, count in enumerate(row):
            x = left + j * size
            share = count / total
            css = "cell strong" if share > 0.85 else "cell middle" if share > 0.6 else "cell"
            words = f"{name} predicted as {classes[j]}: {count}"
            parts.append(
                f'<rect class="heat" x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" rx="3" '
                f'fill-opacity="{0.05 + 0.85 * share:.2f}"><title>{escape(words)}</title></rect>'
            )
            if size >= 44:
                middle = f'x="{x + size / 2 - 1:.0f}" text-anchor="middle"'
                parts.append(f'<text class="count {css}" {middle} y="{y + size / 2:.0f}">{count:,}</text>')
                parts.append(f'<text class="{css}" {middle} y="{y + size / 2 + 15:.0f}">{share:.0%}</text>')
    return _svg(
        left + n * size + 10,
        top + n * size + 6,
        title="confusion matrix: true classes down, predicted across",
        parts=parts,
    )


def scatter(points: Points, *, x: str, y: str, title: str) -> str:
    """Points over one range on both axes, with the line on which both are equal."""
    left, top, side = 64, 10, 250
    values = [v for p in points for v in p[:2]]
    low, high = min(values), max(values)
    low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
    levels = [((value - low) / (high - low), label) for value, label in ticks(low, high)]
    parts = [_grid(left, top, side, side, levels)]
    for fraction, label in levels:
        parts.append(
            f'<text x="{left + side * fraction:.0f}" y="{top + side + 15}" text-anchor="middle">{label}</text>'
        )
    parts.append(f'<line class="guide" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
    scale = side / (high - low)
    for a, b, *_ in points:
        cx, cy = left + (a - low) * scale, top + side - (b - low) * scale
        parts.append(f'<circle class="model dot" fill-opacity=".45" cx="{cx:.1f}" cy="{cy:.1f}" r="2.4"/>')
    parts.append(f'<text x="{left + side / 2}" y="{top + side + 32}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text transform="translate(12 {top + side / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return _svg(left + side + 14, top + side + 38, title, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], *, x: str, title: str) -> str:
    """Upright bars over a number line, with a mark at 0."""
    left, top, width, height = 24, 10, 310, 250
    low, high = edges[0], edges[-1]
    scale, tallest = width / (high - low), max(*counts, 1)
    parts = []
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        tall = height * count / tallest
        at = left + (start - low) * scale
        wide = max(0.8, (end - start) * scale - 1)
        y = top + height - tall
        parts.append(f'<rect class="bar" x="{at:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>')
    if low < 0 < high:
        zero = left - low * scale
        parts.append(f'<line class="guide" x1="{zero:.1f}" y1="{top}" x2="{zero:.1f}" y2="{top + height}"/>')
    for value, label in ticks(low, high):
        at = left + (value - low) * scale
        parts.append(f'<text x="{at:.0f}" y="{top + height + 15}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 32}" text-anchor="middle">{escape(x)}</text>')
    return _svg(left + width + 24, top + height + 38, title, parts)


def beeswarm(columns: Sequence[dict[str, Any]], *, title: str) -> str:
    """One row a column: every point a prediction, to the right where it speaks for the class; the shade is the column's value."""
    left, width, step = 150, 820, 34
    largest = max([abs(p[0]) for c in columns for p in c["points"]] + [1e-9])
    middle, scale = left + width / 2, width / 2 / largest
    height = len(columns) * step + 6
    parts = [f'<line class="guide" x1="{middle}" y1="0" x2="{middle}" y2="{height}"/>']
    for i, column in enumerate(columns):
        y = i * step + step / 2 + 3
        parts.append(
            f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{escape(_short(column["column"]))}</text>'
        )
        filled: dict[int, int] = {}
        for value, shade in sorted(column["points"], key=lambda p: p[0]):
            x = middle + value * scale
            lane = filled.get(int(x // 4), 0)
            filled[int(x // 4)] = lane + 1
            offset = min((lane + 1) // 2, 6) * 2.2 * (1 if lane % 2 else -1)
            css = "none" if shade is None else f"v{min(4, int(shade * 5))}"
            parts.append(f'<circle class="{css}" cx="{x:.1f}" cy="{y + offset:.1f}" r="2.1"/>')
    parts += [
        f'<text x="{middle + value * scale:.0f}" y="{height + 12}" text-anchor="middle">{label}</text>'
        for value, label in ticks(-largest, largest)
    ]
    return _svg(left + width + 24, height + 18, title, parts)


def line(points: Points, *, x: str, title: str, steps: bool = False) -> str:
    """One line over a free range; `steps`: a value holds until the next one."""
    left, top, width, height = 58, 10, 900, 170
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    room = (high - low) * 0.08 or 0.01
    low, high = low - room, high + room
    longest = max(*xs, 1e-9)
    levels = [((value - low) / (high - low), label) for value, label in ticks(low, high)]
    at = [(left + width * a / longest, top + height * (1 - (b - low) / (high - low))) for a, b in points]
    if steps:
        at = [
            q
            for before, here in zip(at, [*at[1:], (left + width, at[-1][1])], strict=True)
            for q in (before, (here[0], before[1]))
        ]
    parts = [
        _grid(left, top, width, height, levels),
        f'<polyline class="model" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}"/>',
        f'<text x="{left}" y="{top + height + 16}">0</text>',
        f'<text x="{left + width}" y="{top + height + 16}" text-anchor="end">{longest:.0f} {escape(x)}</text>',
    ]
    return _svg(left + width + 12, top + height + 22, title, parts)


def _short(label: str, longest: int = 22) -> str:
    return label if len(label) <= longest else f"{label[: max(1, longest - 1)]}…"


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    css = ' class="wide"' if width > _WIDE else ""
    return (
        f'<svg{css} viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
