"""Pictures of the report as SVG text: no script, every text escaped, colours by class so that one style serves all."""

from __future__ import annotations

import unicodedata
from html import escape

from dropforge.analysis.report import palette
from dropforge.analysis.report_model import Bars, ColumnReport, Matrix

_WIDTH, _HEIGHT = 360, 120
_WIDE = 1000
_DWARFS = 4.0


def chart(column: ColumnReport) -> str:
    """Numbers as overlaid histograms, categories as paired horizontal bars; empty without data."""
    draw = _histogram if column.kind in {"integer", "number", "datetime"} else _categories
    return draw(column.bars) if column.bars.labels else ""


def heatmap(matrix: Matrix) -> str:
    """Strength of association of every pair: a square of colour with its number, over the full width."""
    n = len(matrix.columns)
    if n < 2:
        return ""
    left, top, height = 150, 118, 26
    size = (_WIDE - left) / n
    parts = []
    for i, (name, row) in enumerate(zip(matrix.columns, matrix.strengths, strict=True)):
        y = top + i * height
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(_short(name))}</text>')
        x = left + i * size + size / 2
        parts.append(f'<text transform="translate({x + 3:.0f} {top - 6}) rotate(-55)">{escape(_short(name))}</text>')
        for j, strength in enumerate(row):
            x = left + j * size
            shown = f"{strength:.2f}".removeprefix("0") if strength < 1 else "1"
            css = ' class="on"' if strength > 0.4 else ""
            parts.append(
                f'<rect class="heat" x="{x:.0f}" y="{y}" width="{size - 1:.0f}" height="{height - 1}" '
                f'fill-opacity="{0.04 + 0.96 * strength:.2f}"/>'
                f'<text{css} x="{x + size / 2:.0f}" y="{y + 17}" text-anchor="middle">{shown}</text>'
            )
    return (
        f'<svg viewBox="0 0 {_WIDE} {top + n * height + 4}" class="wide" role="img" '
        f'aria-label="strength of association of every pair of columns">{"".join(parts)}</svg>'
    )


def standalone(svg: str) -> bytes:
    """The same picture as a file of its own, for light and dark."""
    day, night = palette.LIGHT, palette.DARK
    style = (
        f"<style>svg{{background:{day['card']};font:10px system-ui,sans-serif}}text{{fill:{day['soft']};font-size:10px}}"
        f"line{{stroke:{day['line']}}}.ref{{fill:{day['ref']};fill-opacity:.55}}.new{{fill:{day['new']};fill-opacity:.6}}"
        f".solid{{fill-opacity:1}}.heat{{fill:{day['new']}}}text.on{{fill:{day['on']}}}.cut{{stroke:{day['card']};stroke-width:3}}"
        f"@media (prefers-color-scheme:dark){{svg{{background:{night['card']}}}.cut{{stroke:{night['card']}}}"
        f"text{{fill:{night['soft']}}}}}</style>"
    )
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{style}", 1).encode()


def _short(label: str, longest: int = 20) -> str:
    """Cut to so many columns of text; a letter of East Asian scripts takes two."""
    total = 0
    for i, letter in enumerate(label):
        total += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if total > longest:
            return f"{label[: max(1, i - 1)]}…"
    return label


def _histogram(bars: Bars) -> str:
    n = len(bars.labels)
    ranked = sorted((max((*bars.reference[i : i + 1], bars.new[i])) for i in range(n)), reverse=True)
    highest = max(ranked[0], 1e-9)
    # One bar that dwarfs all others is cut, and says how high it is.
    cut = n > 2 and ranked[0] > _DWARFS * ranked[1] > 0
    scale = 1.5 * ranked[1] if cut else highest
    step = _WIDTH / n
    base = _HEIGHT - 18
    parts = []
    for i in range(n):
        tallest = max((*bars.reference[i : i + 1], bars.new[i]))
        if cut and tallest > scale:
            x = min(i * step + step + 3, _WIDTH - 34)
            parts.append(f'<text x="{x:.0f}" y="20">{tallest:.0%}</text>')
        for series, css in ((bars.new, "new"), (bars.reference, "ref")):
            if series and series[i] > 0:
                h = max(1.0, (base - 14) * min(1.0, series[i] / scale))
                parts.append(
                    f'<rect class="{css}" x="{i * step + 1:.1f}" y="{base - h:.1f}" width="{step - 2:.1f}" height="{h:.1f}"/>'
                )
    top = "" if cut else f'<text x="2" y="10">{highest:.0%}</text>'
    notch = f'<path class="cut" d="M0 30 H{_WIDTH}"/>' if cut else ""
    # The outer labels start and end with the axis, so that none is cut off.
    ends = {0: (0.0, "start"), n - 1: (float(_WIDTH), "end")} if n > 1 else {}
    ticks = {n // 2: (n // 2 * step + step / 2, "middle"), **ends} if n != 2 else ends
    texts = "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{escape(_short(bars.labels[i], 26))}</text>'
        for i, (x, anchor) in ticks.items()
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="distribution, reference and new">{"".join(parts)}'
        f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}"/>{top}{texts}{notch}</svg>'
    )


def _categories(bars: Bars) -> str:
    shown = list(range(min(8, len(bars.labels))))
    height = 22 * len(shown) + 4
    highest = max((*bars.reference, *bars.new, 1e-9))
    parts = []
    for row, i in enumerate(shown):
        y = row * 22 + 2
        parts.append(f'<text x="124" y="{y + 13}" text-anchor="end">{escape(_short(bars.labels[i]))}</text>')
        for series, css, offset in ((bars.reference, "ref solid", 1), (bars.new, "new solid", 10)):
            if series:
                w = 190 * series[i] / highest
                parts.append(f'<rect class="{css}" x="130" y="{y + offset}" width="{max(w, 0.6):.1f}" height="8"/>')
        end = 134 + 190 * max((*bars.reference[i : i + 1], bars.new[i])) / highest
        parts.append(f'<text x="{end:.0f}" y="{y + 14}">{bars.new[i]:.1%}</text>')
    more = len(bars.labels) - len(shown)
    note = f'<text x="130" y="{height + 10}">and {more} more</text>' if more else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height + (14 if more else 0)}" role="img" aria-label="categories, reference and new">'
        f"{''.join(parts)}{note}</svg>"
    )
