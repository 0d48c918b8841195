"""The report as one self-contained HTML file: one small script of its own, allowed by its hash, no
address of anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from dropforge.analysis.report import axes, charts, palette, report_changes, time_charts
from dropforge.analysis.report_model import Report
from dropforge.errors import DropforgeError

_TEMPLATES = Path(__file__).parent / "templates"
_PLOTS = 60
_STATUS = {"pass": "passed", "warn": "warning", "block": "training blocked", "reference": "reference"}
_OUTCOMES = {"drift": "drift", "no_drift": "no drift", "insufficient_data": "insufficient data", "not_compared": "–"}


def html(report: Report) -> str:
    """Needs jinja2 (analysis layer)."""
    order = {"drift": 0, "insufficient_data": 1, "no_drift": 2, "not_compared": 3}
    columns = sorted(report.columns, key=lambda c: (c.role != "target", order[c.outcome], -(c.effect_corrected or 0)))
    import markupsafe

    def picture(svg: str) -> Any:
        return markupsafe.Markup(svg)  # noqa: S704 - charts escapes every text

    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    return str(
        _template("report.html").render(
            r=report,
            columns=columns,
            anchors={c.name: f"column-{i}" for i, c in enumerate(columns)},
            changes=report_changes.since(report.previous, report) if report.previous else (),
            status=_STATUS,
            outcomes=_OUTCOMES,
            chart=lambda column: picture(charts.chart(column)),
            time_chart=lambda series: (
                picture(time_charts.chart(series, report.over_time.unit)) if report.over_time else ""
            ),
            heatmap=lambda: picture(charts.heatmap(report.matrix)),
            fact=fact,
            apart=axes.texts_apart,
            percent=percent,
            chance=chance,
            script=markupsafe.Markup(script),  # noqa: S704 - our own file
            palette=markupsafe.Markup(palette.css()),  # noqa: S704 - our own colours
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def plots(report: Report) -> dict[str, bytes]:
    """The report's pictures as files: `plots/{column}.svg`, `plots/time_{series}.svg` and `plots/associations.svg`."""
    files = {}
    for i, column in enumerate(report.columns[:_PLOTS]):
        if svg := charts.chart(column):
            files[f"plots/{i + 1:02d}_{_safe(column.name)}.svg"] = charts.standalone(svg)
    if report.over_time:
        for i, series in enumerate(report.over_time.series):
            if svg := time_charts.chart(series, report.over_time.unit):
                files[f"plots/time_{i + 1:02d}_{_safe(series.title)}.svg"] = charts.standalone(svg)
    if svg := charts.heatmap(report.matrix):
        files["plots/associations.svg"] = charts.standalone(svg)
    return files


def _safe(text: str) -> str:
    return re.sub(r"[^\w\-]+", "_", text)[:60]


def prepare() -> None:
    """Load the template ahead of its use, for a caller who waits for something else anyway."""
    _template("report.html")


@cache
def _template(name: str) -> Any:
    from dropforge.analysis.report import compiled_templates

    return compiled_templates.environment().get_template(name)


def percent(share: float | None) -> str:
    """A fraction as percent; a dash for None."""
    if share is None:
        return "–"
    return "0 %" if share == 0 else f"{share * 100:.1f} %" if share >= 0.001 else "< 0.1 %"


def chance(p_value: float | None) -> str:
    """A p-value with two digits; one that a double cannot hold is small, not 0."""
    if p_value is None:
        return "–"
    return f"{p_value:.2g}" if p_value >= 1e-300 else "< 1e-300"


def fact(value: float | str | None) -> str:
    """Three significant digits or more; whole numbers with thousands marks; never an exponent that a reader must decode."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else axes.value_text("number", value)


def rejection(key: str, error: DropforgeError) -> str:
    """The page of a file that could not be used: what, where, how to correct it."""
    return str(_template("rejection.html").render(key=key, error=error))
