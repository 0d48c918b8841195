"""The training part of docs/benchmarks.md and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from recorded import Recorded

COLOURS = ("#2f6fde", "#d9822b", "#8b96a5", "#3d9970", "#a05195")
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 620, 12, 250


def section(figures: Sequence[dict[str, Any]], workers: Recorded | None, warm: Recorded | None, measured: str) -> str:
    """Markdown: the table, the picture's address, the figures of several workers and of warm starts when there are some."""
    table = ["| system | seconds given | seconds used | AUC | log loss | ECE |", "|---|---:|---:|---:|---:|---:|"]
    table += [
        f"| {f['system']} | {f['budget'] or '–'} | {f['seconds']:.1f} | {f['auc']:.4f} | {f['log_loss']:.4f} | {f['ece']:.4f} |"
        for f in figures
    ]
    text = f"""
## Training

`make bench-training`: Adult's official split (32,561 rows to train on, 16,281 to score), `fnlwgt` left out, the same two cores, one
process after the other, each in an environment of its own. Seconds run from the first fit to the end of the last one. adult.test
is scored once for each row of the table; nobody chooses by it. {measured}
Dropforge is its xgboost with `bag: 4`; its first trial is the model class's own starting point, which was chosen on tables like this
one: more seconds add little here.

{chr(10).join(table)}

![AUC on adult.test over the seconds used](pictures/training.svg)
"""
    if workers:
        speed, kills = workers.figures["speed"], workers.figures["kills"]
        ratio, wait, seeds = speed["ratio_of_sums"], speed["wait"], speed["seeds"]
        lost, noted = kills["finished_trials_lost"], kills["finished_trials_noted_before_kills"]
        twice, versions = kills["versions_registered_twice"], kills["versions"]
        text += f"""
`make bench-workers`: two workers on one study reach the best score of one worker in {ratio:.2f} of its time (trials that wait
{wait} s each, {seeds} seeds). {kills["runs"]} uploads trained by two tuners each, {kills["kills"]} workers killed with `kill -9`
at random points: {lost} of {noted} finished trials lost, {twice} of {versions} versions registered twice. {workers.sentence}
"""
    if warm:
        text += _warm(warm)
    return text


def _warm(measured: Recorded) -> str:
    figures = measured.figures
    runs, trials = figures["runs"], figures["trials"]
    table = [
        "| seed | best before | trials it took | warm start: trials to it | best from scratch | warm start: trials to that |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for r in runs:
        before = r["warm_trials_to_earlier_best"] or f"not ({r['warm_best']:.4f})"
        scratch = r["warm_trials_to_cold_best"] or f"not ({r['warm_best']:.4f})"
        table.append(
            f"| {r['seed']} | {r['earlier_best']:.4f} | {r['earlier_trials_to_best']} | {before} "
            f"| {r['cold_best']:.4f} | {scratch} |"
        )
    return f"""
`make bench-warm-start`: {trials} trials on 20,000 rows of Adult drawn at random, then 5,000 rows more and a retrain of
{trials // 10} trials that starts with the last study's best points, beside {trials} trials from scratch on the same rows. AUC on
the first study's validation rows, which the others do not fit on: {figures["reached_within_a_tenth"]} of {len(runs)} retrains reached
the earlier best score within a tenth of the trials. More rows help by themselves, so the last two columns compare with a search
from scratch on as many rows. On the same rows, {figures["reached_at_once_on_the_same_rows"]} of {len(runs)} retrains reached it with
their first trial. {measured.sentence}

{chr(10).join(table)}
"""


def promotions(measured: Recorded) -> str:
    """What a reader of the gate's rule needs to know of its errors, as one line."""
    f = measured.figures
    worst, result = max(f["stays"]["gate_worst"], f["promotes"]["gate_worst"]), f["found"]
    shares = ", ".join(f"{share:.0%} of the time at look {look}" for look, share in result["share_by_look"].items())
    return (
        f"Measured on simulated uploads: of {f['uploads']} uploads without any gain, {f['candidates']} candidates each, at most "
        f"{worst:.1%} had a challenger in any history ({f['single'][1]['gate']:.1%} of first looks); "
        f"a true gain of {result['gain']} AUC on {result['rows']:,} held-out rows is found {shares} "
        f"([benchmarks](../benchmarks.md#promotions), {measured.day})."
    )


def gate(measured: Recorded) -> str:
    """The part about promotions with and without a gain."""
    figures = measured.figures
    rows = [
        "| active model | held-out rows | uploads with a challenger: mean, worst history | each candidate at 5 %: mean, worst |"
    ]
    rows.append("|---|---:|---:|---:|")
    rows += [
        f"| {h['active_model']} | {h['rows']:,} | {h['gate_mean']:.1%}, {h['gate_worst']:.1%} "
        f"| {h['per_candidate_mean']:.1%}, {h['per_candidate_worst']:.1%} |"
        for h in (figures["stays"], figures["promotes"])
    ]
    single = [
        f"| {f['rows']:,} | {f['positives']:.0%} | {f['gate']:.1%} | {f['per_candidate']:.1%} |"
        for f in figures["single"]
    ]
    result = figures["found"]
    shares = ", ".join(f"{share:.0%} at look {look}" for look, share in result["share_by_look"].items())
    return f"""
## Promotions

`make bench-gate`: the product's own comparison and gate on simulated models with {figures["candidates"]} candidates an upload.
{figures["uploads"]} uploads on one held-out set without any gain, {figures["stays"]["histories"]} histories each:

{chr(10).join(rows)}

First looks at held-out rows of their own, without any gain, {figures["single"][0]["draws"]} draws each:

| held-out rows | positives | with a challenger | each candidate at 5 % |
|---:|---:|---:|---:|
{chr(10).join(single)}

A true gain of {result["gain"]} AUC (0.9 to {0.9 + result["gain"]:.3f}) in one of the candidates on {result["rows"]:,} held-out
rows, 25 % positives, 70 % of the models' errors in common, is found by {shares} ({result["draws"]} draws). {measured.sentence}
"""


def coverage(measured: Recorded) -> str:
    """The part about prediction sets."""
    figures = measured.figures
    rows = [
        f"| {t['table']} | {t['model']} | {t['coverage']:.0%} | {t['covered']:.1%} ± {t['standard_error']:.1%} "
        f"| {t['mean_size']:.2f} |"
        for t in figures["tables"]
    ]
    return f"""
## Prediction sets

`make bench-coverage`: {figures["splits"]} random splits of each table; sets of the exported bundle, through the API's predictor, on
the 30 % of the rows that no part of the training saw. The promise is class-conditional and at least the coverage; ± is a standard
error. {measured.sentence}

| table | model | coverage | covered | mean size |
|---|---|---:|---:|---:|
{chr(10).join(rows)}
"""


def intervals(measured: Recorded) -> str:
    """The part about prediction intervals of regressions."""
    figures = measured.figures
    rows = [
        f"| {t['table']} | {t['rows']:,} | {t['covered']:.1%} ± {t['standard_error']:.1%} | {t['mean_width']:,.4g} "
        f"| {t['plain_covered']:.1%} | {t['plain_mean_width']:,.4g} | {t['width_of_plain']:.2f} |"
        for t in figures["tables"]
    ]
    return f"""
## Prediction intervals

`make bench-intervals`: random splits of each table ({figures["tables"][0]["splits"]}), intervals for {figures["coverage"]:.0%}
of the exported bundle through the API's predictor, on the 30 % of the rows that no part of the training saw. Beside them plain
split conformal prediction of the same model: one width for all rows.
Widths are in units of the target; ± is a standard error. {measured.sentence}

| table | rows | covered | mean width | plain: covered | mean width | width of plain's |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
"""


def budget(measured: Recorded) -> str:
    """The part about seconds asked for and seconds waited."""
    rows = [
        f"| {f['table']} | {f['rows']:,} | {f['classes']} | {f['model']} | {f['seconds_asked']:g} s | {f['seconds_waited']:.1f} s "
        f"| {f['trials']} | {f['accuracy']:.4f} | {f['roc_auc']:.4f} |"
        for f in measured.figures
    ]
    return f"""
## Seconds asked for

`make bench-budget`: one training job of the product with `budget.seconds`, from the first row read to the last artifact logged:
search, out-of-fold fits, last fit, evaluation, importance, export, parity, MLflow. {measured.sentence}

| table | rows | classes | model | asked | waited | trials | accuracy | AUC |
|---|---:|---:|---|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
"""


def picture(figures: Sequence[dict[str, Any]]) -> str:
    """AUC over seconds used, a line for each system; a dot where there is one run only."""
    longest = max(f["seconds"] for f in figures)
    low = min(f["auc"] for f in figures) - 0.0005
    high = max(f["auc"] for f in figures) + 0.0005
    parts = []
    for step in range(5):
        value = low + (high - low) * step / 4
        y = _y(value, low, high)
        parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4f}</text>')
    for step in range(0, int(longest) + 1, 10):
        x = _x(step, longest)
        parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{step} s</text>')
    for number, system in enumerate(dict.fromkeys(f["system"] for f in figures)):
        colour = COLOURS[number % len(COLOURS)]
        points = sorted((f["seconds"], f["auc"]) for f in figures if f["system"] == system)
        path = " ".join(f"{_x(s, longest):.1f},{_y(a, low, high):.1f}" for s, a in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{_x(s, longest):.1f}" cy="{_y(a, low, high):.1f}" r="3.5" fill="{colour}"/>'
            for s, a in points
        ]
        y = _BOTTOM + 40 + 18 * number
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 16}" y="{y}">{escape(system)}</text>')
    height = _BOTTOM + 40 + 18 * len({f["system"] for f in figures})
    style = "<style>text{font:12px system-ui,sans-serif;fill:#444}@media (prefers-color-scheme:dark){text{fill:#ccc}}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}">{style}{"".join(parts)}</svg>\n'


def _x(seconds: float, longest: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * seconds / longest


def _y(auc: float, low: float, high: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * (auc - low) / (high - low)
