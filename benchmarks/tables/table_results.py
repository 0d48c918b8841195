"""Results of compare.py: a row for each table, split, system and number of seconds, and what the rows say together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

OURS = "dropforge"
_COLOURS = {
    OURS: "#2f6fde",
    "autogluon": "#d9822b",
    "flaml": "#3d9970",
    "catboost": "#a05195",
    "hist_gradient_boosting": "#8b96a5",
}
_LEFT, _RIGHT, _TOP, _ROW = 150, 620, 30, 18
_Row = dict[str, Any]


def measured(rows: Sequence[_Row]) -> list[_Row]:
    """The rows without those of runs that failed."""
    return [row for row in rows if "scores" in row]


def metric(row: _Row) -> str:
    """What a table is judged by: RMSE, AUC of two classes, log loss of more."""
    if not row["classes"]:
        return "rmse"
    return "roc_auc" if row["classes"] == 2 else "log_loss"


def losses(rows: Sequence[_Row]) -> dict[tuple[str, int], dict[str, float]]:
    """Of each table and split the loss of each system, less is better."""
    table: dict[tuple[str, int], dict[str, float]] = {}
    for row in measured(rows):
        score = row["scores"][metric(row)]
        loss = -score if metric(row) == "roc_auc" else score
        table.setdefault((row["table"], row["split"]), {})[row["system"]] = loss
    return table


def summary(rows: Sequence[_Row]) -> list[_Row]:
    """Of each system: on which share of the tables and splits that both have ours is better (a tie is not), and where it is not.

    `error`: 0 for the best system of a table and split, 1 for the worst, mean over all that every system has.
    """
    table = losses(rows)
    systems = sorted({row["system"] for row in measured(rows)})
    complete = [t for t in table.values() if len(t) == len(systems)]
    answers = []
    for system in systems:
        both = {k: t for k, t in table.items() if system in t and OURS in t}
        lost = sorted(f"{name} {split}" for (name, split), t in both.items() if t[OURS] > t[system])
        errors = [(t[system] - min(t.values())) / ((max(t.values()) - min(t.values())) or 1.0) for t in complete]
        answers.append(
            {
                "system": system,
                "runs": len(both),
                "ours_better": round(float(np.mean([t[OURS] < t[system] for t in both.values()] or [np.nan])), 3),
                "error": round(float(np.mean(errors or [np.nan])), 3),
                "complete": len(complete),
                "seconds": _median(rows, system, "seconds"),
                "most_seconds": max(row["seconds"] for row in measured(rows) if row["system"] == system),
                "milliseconds": _median(rows, system, "milliseconds"),
                "lost": lost,
            }
        )
    return answers


def _median(rows: Sequence[_Row], system: str, key: str) -> float | None:
    values = [row[key] for row in measured(rows) if row["system"] == system and key in row]
    return round(float(np.median(values)), 2) if values else None


def section(rows: Sequence[_Row], sentence: str) -> str:
    """Markdown of the published page. sentence: when and on what was measured."""
    budgets = sorted({row["budget_seconds"] for row in rows})
    parts = [
        f"""
## Tables that nothing was set for

`make bench-tables TABLES=FOLDER`: the settings that `dropforge init` writes, beside other systems with the same training rows and
the same seconds on the same cores, one system after the other; scored on held-out rows that no system saw. RMSE, AUC of two
classes, log loss of more. Error is 0 for the best system of a table and split and 1 for the worst, mean over those that all systems
ran. {sentence}

![Distance from the best system of each table](pictures/tables.svg)
"""
    ]
    parts += [_of_seconds([row for row in rows if row["budget_seconds"] == seconds], seconds) for seconds in budgets]
    return "\n".join(parts)


def _of_seconds(rows: Sequence[_Row], seconds: float) -> str:
    lines = [
        "| system | tables and splits | ours is better on | error | seconds, median | longest | one row, ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for s in summary(rows):
        better = "–" if s["system"] == OURS else f"{s['ours_better']:.0%}"
        error = "–" if np.isnan(s["error"]) else f"{s['error']:.3f}"
        lines.append(
            f"| {_name(s['system'])} | {s['runs']} | {better} | {error} | {s['seconds']:.0f} | {s['most_seconds']:.0f} "
            f"| {s['milliseconds']} |"
        )
    systems = [s["system"] for s in summary(rows)]
    lines += ["", "| table | split | metric | " + " | ".join(_name(s) for s in systems) + " |"]
    lines.append("|---|---:|---|" + "---:|" * len(systems))
    names = {(row["table"], row["split"]): metric(row) for row in measured(rows)}
    for (name, split), t in sorted(losses(rows).items()):
        best = min(t.values())
        shown = [_number(t.get(s), best) for s in systems]
        lines.append(f"| {name} | {split} | {names[name, split]} | {' | '.join(shown)} |")
    return f"\n### {seconds:g} seconds\n\n" + "\n".join([*lines, *_calibration(rows)]) + "\n"


def _calibration(rows: Sequence[_Row]) -> list[str]:
    """How well our probabilities are calibrated on held-out rows, the largest table first."""
    ours = [row for row in measured(rows) if row["system"] == OURS and "ece" in row["scores"]]
    if not ours:
        return []
    lines = [
        "",
        "| table | split | training rows | ECE | log loss | without calibration |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(ours, key=lambda r: (-r["rows"], r["table"], r["split"])):
        s = row["scores"]
        lines.append(
            f"| {row['table']} | {row['split']} | {row['rows']:,} | {s['ece']:.4f} | {s['log_loss']:.4f} "
            f"| {s['log_loss_uncalibrated']:.4f} |"
        )
    return lines


def _name(system: str) -> str:
    return system.replace("_", " ")


def _number(loss: float | None, best: float) -> str:
    """Four digits; the best of a table in bold."""
    if loss is None:
        return ""
    shown = f"{abs(loss):.4g}"
    return f"**{shown}**" if loss == best else shown


def next_periods(rows: Sequence[_Row], sentence: str) -> str:
    """Markdown: how far held-out scores and intervals hold for the period that follows."""
    lines = [
        "| table | split | held-out RMSE | next period | gap | 90 % intervals cover | of its fifths, oldest first |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        for split in ("time", "random"):
            r = row[split]
            fifths = ", ".join(f"{c:.0%}" for c in r["coverage_by_period"])
            lines.append(
                f"| {row['name']} | {split} | {r['heldout']:.4g} | {r['next_period']:.4g} | {r['gap']:+.0%} "
                f"| {r['coverage']:.0%} | {fifths} |"
            )
    halved = sum(row["at_most_half"] for row in rows)
    return f"""
## The period that follows

`benchmarks/tables/temporal.py FOLDER`: the newest fifth of a table's rows is hidden; on the others the same model is trained with the
newest rows held out, and with random ones. The gap is how much worse the hidden rows are predicted than the held-out score said. By
time it is at most half of what a random split shows on {halved} of {len(rows)} tables. Intervals are calibrated on the held-out rows
and promise their coverage for rows like these: where a period is unlike the one before, they cover less. {sentence}

{chr(10).join(lines)}
"""


def picture(rows: Sequence[_Row]) -> str:
    """SVG: of each table the loss of each system as a share of the worst one's distance from the best, mean over the splits."""
    table = losses(rows)
    systems = [s for s in _COLOURS if any(s in t for t in table.values())]
    places: dict[str, dict[str, list[float]]] = {}
    for (name, _), t in table.items():
        spread = (max(t.values()) - min(t.values())) or 1.0
        for system, loss in t.items():
            places.setdefault(name, {}).setdefault(system, []).append((loss - min(t.values())) / spread)
    parts = []
    for number, (name, each) in enumerate(sorted(places.items())):
        y = _TOP + _ROW * number + _ROW / 2
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 4:.0f}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.0f}" y2="{y:.0f}" stroke="#8884"/>')
        for system in reversed(systems):  # ours on top
            if system in each:
                x = _LEFT + (_RIGHT - _LEFT) * float(np.mean(each[system]))
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.0f}" r="5" fill="{_COLOURS[system]}" fill-opacity=".85"/>')
    bottom = _TOP + _ROW * len(places)
    parts.append(f'<text x="{_LEFT}" y="18">best of the table</text>')
    parts.append(f'<text x="{_RIGHT}" y="18" text-anchor="end">worst</text>')
    for number, system in enumerate(systems):
        x = 20 + 120 * number
        parts.append(f'<circle cx="{x}" cy="{bottom + 22}" r="5" fill="{_COLOURS[system]}"/>')
        parts.append(f'<text x="{x + 10}" y="{bottom + 26}">{escape(_name(system))}</text>')
    style = "<style>text{font:12px system-ui,sans-serif;fill:#444}@media (prefers-color-scheme:dark){text{fill:#ccc}}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {bottom + 40}">{style}{"".join(parts)}</svg>\n'
