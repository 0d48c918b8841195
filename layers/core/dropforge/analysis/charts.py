"""Pictures of the report as SVG text: no script, every text escaped, colours by class so that one style serves all."""

from __future__ import annotations

from html import escape

from dropforge.analysis.facts import Bars, ColumnReport, Matrix

_WIDTH, _HEIGHT = 360, 120


def chart(column: ColumnReport) -> str:
    """Numbers as overlaid histograms, categories as paired horizontal bars; empty without data."""
    draw = _histogram if column.kind in {"integer", "number", "datetime"} else _categories
    return draw(column.bars) if column.bars.labels else ""


def heatmap(matrix: Matrix) -> str:
    """Strength of association of every pair as a square of colour; the numbers are in the squares' titles."""
    n = len(matrix.columns)
    if n < 2:
        return ""
    size, left, top = max(16, min(30, 480 // n)), 132, 112
    parts = []
    for i, (name, row) in enumerate(zip(matrix.columns, matrix.strengths, strict=True)):
        y = top + i * size
        short = escape(_short(name))
        parts.append(f'<text x="{left - 6}" y="{y + size / 2 + 4:.0f}" text-anchor="end">{short}</text>')
        x = left + i * size + size / 2
        parts.append(f'<text transform="translate({x + 3:.0f} {top - 6}) rotate(-60)">{short}</text>')
        for j, strength in enumerate(row):
            told = f"{escape(name)} · {escape(matrix.columns[j])}: {strength:.2f}"
            opacity = 0.04 + 0.96 * strength
            parts.append(
                f'<rect class="heat" x="{left + j * size}" y="{y}" width="{size - 1}" height="{size - 1}" '
                f'fill-opacity="{opacity:.2f}"><title>{told}</title></rect>'
            )
    width, height = left + n * size + 60, top + n * size + 4
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" '
        f'aria-label="strength of association of every pair of columns">{"".join(parts)}</svg>'
    )


def standalone(svg: str) -> bytes:
    """The same picture as a file of its own, for light and dark."""
    style = (
        "<style>svg{background:#fff;font:10px system-ui,sans-serif}text{fill:#616a75;font-size:10px}line{stroke:#e3e5e8}"
        ".ref{fill:#8b96a5;fill-opacity:.55}.new{fill:#2459c4;fill-opacity:.6}.solid{fill-opacity:1}.heat{fill:#2459c4}"
        "@media (prefers-color-scheme:dark){svg{background:#1c2026}text{fill:#9aa4b0}}</style>"
    )
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{style}", 1).encode()


def _short(label: str, longest: int = 20) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def _histogram(bars: Bars) -> str:
    n = len(bars.labels)
    highest = max((*bars.reference, *bars.new, 1e-9))
    step = _WIDTH / n
    base = _HEIGHT - 18
    parts = []
    for i in range(n):
        for series, css in ((bars.new, "new"), (bars.reference, "ref")):
            if series and series[i] > 0:
                h = max(1.0, (base - 6) * series[i] / highest)
                parts.append(
                    f'<rect class="{css}" x="{i * step + 1:.1f}" y="{base - h:.1f}" width="{step - 2:.1f}" height="{h:.1f}"/>'
                )
    ticks = [0, n // 2, n - 1]
    centres = {i: min(max(i * step + step / 2, 12), _WIDTH - 16) for i in ticks}
    axis = f'y="{_HEIGHT - 4}" text-anchor="middle"'
    texts = "".join(f'<text x="{x:.0f}" {axis}>{escape(bars.labels[i])}</text>' for i, x in centres.items())
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="distribution, reference and new">{"".join(parts)}'
        f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}"/><text x="2" y="10">{highest:.0%}</text>{texts}</svg>'
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
