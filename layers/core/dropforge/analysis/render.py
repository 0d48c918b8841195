"""The report as one self-contained HTML file: no script, no address, readable under a strict content policy."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from dropforge.analysis.facts import Bars, ColumnReport, Report
from dropforge.errors import RejectedUpload

_WIDTH, _HEIGHT = 360, 120
_WORDS = {
    "pass": "No attention needed",
    "warn": "Look before you trust it",
    "block": "Training was stopped",
    "reference": "This is the reference",
}
_OUTCOMES = {"drift": "drift", "no_drift": "no drift", "too_few_rows": "too few rows to tell", "not_compared": "–"}


def html(report: Report) -> str:
    """Needs jinja2 (analysis layer)."""
    order = {"drift": 0, "too_few_rows": 1, "no_drift": 2, "not_compared": 3}
    columns = sorted(report.columns, key=lambda c: (c.role != "target", order[c.outcome], -(c.effect_corrected or 0)))
    return str(
        _template("report.html").render(
            r=report, columns=columns, words=_WORDS, outcomes=_OUTCOMES, chart=chart, fact=fact, percent=percent
        )
    )


def prepare() -> None:
    """Compile the template ahead of its use, for a caller who waits for something else anyway."""
    _template("report.html")


@cache
def _template(name: str) -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def percent(share: float | None) -> str:
    if share is None:
        return "–"
    return "0 %" if share == 0 else f"{share * 100:.1f} %" if share >= 0.001 else "< 0.1 %"


def fact(value: float | str | None) -> str:
    """Four significant digits; whole numbers with thousands marks."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 10_000 or value == int(value) else f"{value:.4g}"


def chart(column: ColumnReport) -> Any:
    """Inline SVG: numbers as overlaid histograms, categories as paired horizontal bars."""
    import markupsafe

    draw = _histogram if column.kind in {"integer", "number", "datetime"} else _categories
    return markupsafe.Markup(draw(column.bars, markupsafe.escape)) if column.bars.labels else ""  # noqa: S704 - every text in it is escaped


def _histogram(bars: Bars, escape: Any) -> str:
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


def _categories(bars: Bars, escape: Any) -> str:
    shown = list(range(min(8, len(bars.labels))))
    height = 22 * len(shown) + 4
    highest = max((*bars.reference, *bars.new, 1e-9))
    parts = []
    for row, i in enumerate(shown):
        y = row * 22 + 2
        label = bars.labels[i] if len(bars.labels[i]) <= 20 else f"{bars.labels[i][:19]}…"
        parts.append(f'<text x="124" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
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


def rejection(key: str, error: RejectedUpload) -> str:
    """The page of a file that could not be used: what, where, how to mend it."""
    return str(_template("rejection.html").render(key=key, error=error))
