"""Pictures of the report as SVG text: no script, every text escaped, colours by class so that one style serves all."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

from dropforge.analysis.report import palette
from dropforge.analysis.report_model import Bars, ColumnReport, Matrix

_WIDTH, _HEIGHT = 360, 120
_BELOW, _GAP = 54, 14  # height of the differences, with their label above them
_WIDE = 1000
_LEANING = 64  # right of the last column of a heat map: how far a name of the greatest length leans over
_DWARFS = 4.0


def chart(column: ColumnReport) -> str:
    """Numbers as overlaid steps with the difference below, categories as paired horizontal bars; empty without data."""
    draw = _histogram if column.kind in {"integer", "number", "datetime"} else _categories
    return draw(column.bars) if column.bars.labels else ""


def heatmap(matrix: Matrix) -> str:
    """Strength of association of every pair: a square of colour with its number, over the full width."""
    n = len(matrix.columns)
    if n < 2:
        return ""
    left, top, height = 150, 118, 26
    size = (_WIDE - left - _LEANING) / n
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
        f".step{{fill-opacity:.25}}.step.ref{{stroke:{day['ref']}}}.step.new{{stroke:{day['new']};stroke-width:1.6}}.line{{fill:none}}.solid{{fill-opacity:1}}.heat{{fill:{day['new']}}}text.on{{fill:{day['on']}}}.trend{{fill:none;stroke-width:1.5}}.trend.ref{{stroke:{day['ref']}}}.trend.new{{stroke:{day['new']}}}.band{{fill-opacity:.2}}.cut{{stroke:{day['card']};stroke-width:3}}"
        f"@media (prefers-color-scheme:dark){{svg{{background:{night['card']}}}.cut{{stroke:{night['card']}}}"
        f"text{{fill:{night['soft']}}}}}</style>"
    )
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{style}", 1).encode()


def _points(change: float) -> str:
    """A change of a share in percentage points; one that rounds to nothing has no sign."""
    text = f"{100 * change:+.1f}"
    return text if float(text) else "0.0"


def _short(label: str, longest: int = 20) -> str:
    """Cut to so many columns of text; a letter of East Asian scripts takes two."""
    total = 0
    for i, letter in enumerate(label):
        total += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if total > longest:
            return f"{label[: max(1, i - 1)]}…"
    return label


def _histogram(bars: Bars) -> str:
    """Both distributions as steps over one axis; below them, when there are two, the difference by bin."""
    n = len(bars.labels)
    series = [s for s in (bars.reference, bars.new) if s]
    ranked = sorted((max(s[i] for s in series) for i in range(n)), reverse=True)
    highest = max(ranked[0], 1e-9)
    # One bin that dwarfs all others is cut, and says how high it is.
    cut = n > 2 and ranked[0] > _DWARFS * ranked[1] > 0
    scale = 1.5 * ranked[1] if cut else highest
    step, base = _WIDTH / n, _HEIGHT - 18
    parts = [_steps(bars.reference, scale, base, "ref")] if bars.reference else []
    parts.append(_steps(bars.new, scale, base, "new line" if bars.reference else "new"))
    for i in range(n):
        tallest = max(s[i] for s in series)
        if cut and tallest > scale:
            x = min(i * step + step + 3, _WIDTH - 34)
            parts.append(f'<text x="{x:.0f}" y="20">{tallest:.0%}</text>')
    top = "" if cut else f'<text x="2" y="10">{highest:.0%}</text>'
    notch = f'<path class="cut" d="M0 30 H{_WIDTH}"/>' if cut else ""
    # The outer labels start and end with the axis, so that none is cut off.
    ends = {0: (0.0, "start"), n - 1: (float(_WIDTH), "end")} if n > 1 else {}
    ticks = {n // 2: (n // 2 * step + step / 2, "middle"), **ends} if n != 2 else ends
    texts = "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{escape(_short(bars.labels[i], 26))}</text>'
        for i, (x, anchor) in ticks.items()
    )
    below = _differences(bars) if bars.reference else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + (_BELOW if below else 0)}" role="img" '
        f'aria-label="distribution{", reference and new, and their difference" if below else ""}">{"".join(parts)}'
        f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}"/>{top}{texts}{notch}{below}</svg>'
    )


def _steps(shares: Sequence[float], scale: float, base: int, css: str) -> str:
    """The outline of a histogram, filled: one path, so that 24 bins cost no more bytes than a few."""
    step = _WIDTH / len(shares)
    heights = [base - (base - 14) * min(1.0, s / scale) for s in shares]
    path = "".join(f"V{y:.1f}H{(i + 1) * step:.1f}" for i, y in enumerate(heights))
    return f'<path class="step {css}" d="M0 {base}{path}V{base}"/>'


def _differences(bars: Bars) -> str:
    """New minus reference by bin, in percentage points, on a scale of its own: up where the upload has more."""
    differences = [new - old for new, old in zip(bars.new, bars.reference, strict=True)]
    most = max(map(abs, differences))
    half, step = (_BELOW - _GAP) / 2, _WIDTH / len(differences)
    middle = _HEIGHT + _GAP + half
    parts = []
    for i, d in enumerate(differences):
        if most > 0 and abs(d) / most > 0.02:
            bar = f"M{i * step + 0.5:.1f} {middle:g}h{step - 1:.1f}v{-half * d / most:.1f}h{1 - step:.1f}z"
            parts.append(f'<path class="{"new" if d > 0 else "ref"} solid" d="{bar}"/>')
    return (
        f'{"".join(parts)}<line x1="0" y1="{middle:g}" x2="{_WIDTH}" y2="{middle:g}"/>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 9}" text-anchor="end">difference, up to {100 * most:.1f} points</text>'
    )


def _categories(bars: Bars) -> str:
    """Reference and new side by side; those that contribute most to the drift first, each with its change."""
    change = [new - old for new, old in zip(bars.new, bars.reference, strict=True)] if bars.reference else []
    order = range(len(bars.labels))
    shown = (sorted(order, key=lambda i: -abs(change[i])) if change else list(order))[:8]
    height = 22 * len(shown) + 4
    highest = max((*bars.reference, *bars.new, 1e-9))
    length = 112 if change else 190
    parts = []
    for row, i in enumerate(shown):
        y = row * 22 + 2
        parts.append(f'<text x="124" y="{y + 13}" text-anchor="end">{escape(_short(bars.labels[i]))}</text>')
        for series, css, offset in ((bars.reference, "ref solid", 1), (bars.new, "new solid", 10)):
            if series:
                w = length * series[i] / highest
                parts.append(f'<rect class="{css}" x="130" y="{y + offset}" width="{max(w, 0.6):.1f}" height="8"/>')
        end = 134 + length * max((*bars.reference[i : i + 1], bars.new[i])) / highest
        parts.append(f'<text x="{end:.0f}" y="{y + 14}">{bars.new[i]:.1%}</text>')
        if change:
            parts.append(f'<text x="{_WIDTH}" y="{y + 14}" text-anchor="end">{_points(change[i])} points</text>')
    more = len(bars.labels) - len(shown)
    less = sum(abs(change[i]) for i in order if i not in shown) if change else 0.0
    rest = f", {100 * less:.1f} points together" if less >= 0.0005 else ""
    note = f'<text x="130" y="{height + 10}">and {more} more{rest}</text>' if more else ""
    caption = ", reference and new, by contribution to the drift" if change else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height + (14 if more else 0)}" role="img" aria-label="categories{caption}">'
        f"{''.join(parts)}{note}</svg>"
    )
