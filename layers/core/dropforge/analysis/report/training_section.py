"""How the training ended, in the report: the analysis wrote it before there was a training.

By hand: conclude writes it, without the analysis layer and so without Jinja2.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

# Everything else in the report is escaped: no file can hold these.
BEGIN, END = "<!-- training -->", "<!-- end of training -->"
_VERDICTS = {
    "better": "better",
    "not_better": "not better",
    "no_model_served": "first model",
    "not_comparable": "not comparable",
    "no_metric": "no metric",
}


def with_decision(report: str, decision: Mapping[str, Any], failed: Mapping[str, str]) -> str:
    """The report with the gate's decision (gate.json's content) and the models that failed, by name, with their reasons.

    Told again, it replaces what was told before. A report without the place for it comes back as it is.
    """
    head, begin, rest = report.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        return report
    return f"{head}{begin}\n{_section(decision, failed)}\n{end}{tail}"


def _section(decision: Mapping[str, Any], failed: Mapping[str, str]) -> str:
    metric = decision["rule"]["metric"]
    rows = [
        (
            c["version"],
            _VERDICTS.get(c["verdict"], c["verdict"]),
            "–" if c["score"] is None else _score(c["score"]),
            c["reason"].removeprefix(f"{c['model']}: "),
        )
        for c in decision["candidates"]
    ]
    rows += [(model, "failed", "–", reason) for model, reason in failed.items()]
    lines = "".join(
        f'<tr><td>{escape(version)}</td><td class="n">{score}</td>'
        f'<td>{escape(verdict)}<br><span class="soft">{escape(reason)}</span></td></tr>'
        for version, verdict, score, reason in rows
    )
    return (
        f"<h2>Training</h2>\n<p>{_ending(decision)}</p>\n"
        f'<div class="scroll"><table><thead><tr><th>candidate</th><th class="n">{escape(metric)}</th><th>verdict</th></tr>'
        f"</thead><tbody>{lines}</tbody></table></div>"
    )


def _score(value: float) -> str:
    """Four decimals of a score; of an error in units of the target four digits, and thousands whole."""
    size = abs(value)
    return f"{value:.4f}" if size < 10 else f"{value:,.4g}" if size < 9_999.5 else f"{value:,.0f}"


def _ending(decision: Mapping[str, Any]) -> str:
    if decision["winner"]:
        return f"The challenger is <b>{escape(decision['winner'])}</b>."
    return "The served model stays." if decision["candidates"] else "No model was trained."
