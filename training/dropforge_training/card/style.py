"""How the model card looks: its style (light, dark, print; as the analysis report), tables and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dropforge.analysis.report import palette
from dropforge.metrics import label

_SHARED = ("bg", "card", "ink", "soft", "line", "ref", "new", "warn")


def _colours(shared: Mapping[str, str], values: Sequence[str]) -> dict[str, str]:
    """The report's colours, and five of a feature's values from low to high."""
    own = {"good": shared["pass"], "bad": shared["block"], **{f"v{i}": colour for i, colour in enumerate(values)}}
    return {name: shared[name] for name in _SHARED} | own


STYLE = (
    palette.css(
        _colours(palette.LIGHT, ("#2459c4", "#6f8fd0", "#9a8fb0", "#cf7f72", "#d9483b")),
        _colours(palette.DARK, ("#7da8ff", "#8ea3dc", "#a99fbd", "#dd9387", "#ff7a6b")),
    )
    + """
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:22px;margin:0}h2{font-size:17px;margin:36px 0 4px}
h3{font-size:14px;margin:0 0 8px}p{margin:0 0 12px}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.head{display:flex;gap:6px 18px;align-items:baseline;flex-wrap:wrap;border-bottom:1px solid var(--line);padding-bottom:14px}
.mono{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px;overflow-wrap:anywhere}
.box{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;break-inside:avoid}
.verdict{margin:20px 0;border-left:6px solid var(--tone)}.verdict b{font-size:17px}.verdict p{margin:4px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}.tile{padding:12px 14px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}.tile small{color:var(--soft)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:14px;margin-bottom:14px}
.facts td:nth-child(2){white-space:normal;overflow-wrap:anywhere}
.scroll{overflow-x:auto;padding:0;margin-bottom:14px}table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:7px 12px;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}th{font-weight:600;color:var(--soft);white-space:normal}
tr:last-child td{border-bottom:0}
svg{width:100%;height:auto;display:block;margin:0 auto}svg text{fill:var(--soft);font-size:11px}svg line{stroke:var(--line)}
svg line.guide{stroke:var(--ref);stroke-dasharray:4 4}svg polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.model{stroke:var(--new)}.dot.model,.bar,.heat{fill:var(--new)}.before{stroke:var(--ref)}.dot.before{fill:var(--ref)}
.c1{stroke:var(--warn)}.c2{stroke:var(--good)}.c3{stroke:var(--bad)}.c4{stroke:var(--ref)}.c5{stroke:var(--v2)}
.bar.less,.dot.less{fill:var(--bad)}.dot.more{fill:var(--good)}.dot.even{fill:var(--ref)}
line.span{stroke-width:2}line.more{stroke:var(--good)}line.less{stroke:var(--bad)}line.even{stroke:var(--ref)}line.whisker{stroke:var(--ink)}
svg text.count{font-size:15px;fill:var(--ink);font-weight:600}
svg text.cell{fill:var(--ink)}svg text.strong{fill:#fff}circle{fill-opacity:.8}
@media (prefers-color-scheme:dark){svg text.middle,svg text.strong{fill:#0d1117}}
.v0{fill:var(--v0)}.v1{fill:var(--v1)}.v2{fill:var(--v2)}.v3{fill:var(--v3)}.v4{fill:var(--v4)}.none{fill:var(--ref)}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 12px;vertical-align:-1px;background:var(--c)}
@media screen and (max-width:640px){main{padding:18px 12px 40px}.box:has(svg.wide){overflow-x:auto}svg.wide{width:820px}}
@media print{:root{color-scheme:light}body{background:#fff}main{max-width:none;padding:0}}
"""
)
_THOUSANDS = 9_999.5  # written whole from here on: four significant digits would need an exponent
NAMES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "ece": "calibration error (ECE)",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "mape": "mean absolute percentage error",
    "r2": "R²",
}


def metric_name(metric: str) -> str:
    """A metric for people: of one of the project's own the function's name in words."""
    return NAMES.get(metric, label(metric).replace("_", " "))


def interval(low_high: Any, sign: str = "") -> str:
    """Low to high as text; empty without an interval."""
    return f"{number(low_high[0], sign)} to {number(low_high[1], sign)}" if low_high else ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], css: str = "") -> str:
    """An HTML table. `css`: `facts` for one of names and values, whose values may be sentences."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="box scroll"><table class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def number(value: float, sign: str = "") -> str:
    """Four decimals of a score, four significant digits of an error in units of the target; no exponent. `sign`: `+` for a gain."""
    size = abs(value)
    if size >= _THOUSANDS or not math.isfinite(value):
        return f"{value:{sign},.0f}"
    if size >= 10:
        return f"{value:{sign},.4g}"
    return f"{value:{sign}.2g}" if 0 < size < 0.00005 else f"{value:{sign}.4f}"


def text(value: Any) -> str:
    """A value as text."""
    return number(value) if isinstance(value, float) else str(value)
