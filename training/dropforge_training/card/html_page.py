"""A model card as one self-contained HTML page: no script, no address of any other machine, every value escaped.

By hand: most of it is SVG of computed points; texts go through `style.text`, which escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from dropforge.metrics import sign
from dropforge_training.card import svg_charts
from dropforge_training.card.style import NAMES, STYLE, interval, metric_name, number, table, text

_LINES = ("model", "c1", "c2", "c3", "c4", "c5")


def render(card: dict[str, Any]) -> str:
    """The page of a card as `card.card` makes it."""
    title = f"{card['model']} · {card['project']}"
    head = (
        f'<div class="head"><h1>{escape(title)}</h1><span class="soft">predicts {escape(card["target"])}</span>'
        f'<span class="mono">run {escape(card["run_id"])} · data {escape(card["dataset_id"])}</span></div>'
    )
    if card.get("task") == "regression":
        from dropforge_training.card import regression_page  # it uses the shared sections of this module

        parts = [head, *regression_page.parts(card)]
    else:
        parts = [head, *_classification(card)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _classification(card: dict[str, Any]) -> list[str]:
    return [
        comparison_verdict(card),
        warning(card),
        _tiles(card),
        _ranking(card),
        _decisions(card),
        _honesty(card),
        _sets(card),
        periods(card),
        slices(card),
        importance(card),
        against(card["comparison"]),
        making(card),
    ]


def comparison_verdict(card: dict[str, Any]) -> str:
    """Whether it is better than the served model, as far as its held-out rows can tell."""
    output = card["comparison"]
    everything = next((s for s in output["slices"] if s["slice"] == "all"), None)
    metric = metric_name(output["metric"])
    if output["served"] is None:
        tone, head, reason = (
            "ref",
            "No active model to compare with",
            "None was active when this model was trained.",
        )
    elif everything is None:
        tone, head, reason = "warn", "It cannot be compared with the served model", output["reason"]
    else:
        low, high = everything["low"], everything["high"]
        tone, head = "ref", "As good as the served model, as far as these rows can tell"
        if low > 0:
            tone, head = "good", "Better than the served model"
        if high < 0:
            tone, head = "bad", "Worse than the served model"
        reason = (
            f"{metric} {number(everything['candidate'])} against {number(everything['served'])} on the same "
            f"{everything['rows']:,} held-out rows: gain {number(everything['gain'], '+')} "
            f"(95 % interval {interval((low, high), '+')})."
        )
    words = f'<b>{escape(head)}</b><p class="soft">{escape(reason)}</p>'
    return f'<section class="box verdict" style="--tone:var(--{tone})">{words}</section>'


def warning(card: dict[str, Any]) -> str:
    """For a model with too few held-out rows: the cross-validated scores first."""
    if not card["warning"]:
        return ""
    crossed = "; ".join(
        f"{metric_name(k)} {number(value)}, 95 % interval {interval((low, high))}"
        for k, (value, low, high) in card["cross_validated"].items()
    )
    words = f'<b>Few rows</b><p class="soft">{escape(card["warning"])}. Cross-validated: {escape(crossed or "not measured")}.</p>'
    return f'<section class="box verdict" style="--tone:var(--warn)">{words}</section>'


def _tiles(card: dict[str, Any]) -> str:
    tiles = []
    for name in ("roc_auc", "average_precision", "accuracy", "log_loss", "ece"):
        low_high = card["intervals"].get(name)
        small = f"{low_high[0]:.4f} – {low_high[1]:.4f}" if low_high else "0 is perfect"
        tiles.append((f"{card['metrics'][name]:.4f}", metric_name(name), small))
    tiles.append((f"{card['heldout_rows']:,}", "held-out rows", f"{card['train_rows']:,} for training"))
    cells = "".join(
        f'<div class="box tile"><b>{escape(v)}</b><span>{escape(n)}</span><br><small>{escape(s)}</small></div>'
        for v, n, s in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _ranking(card: dict[str, Any]) -> str:
    curves = card["curves"]
    lines = [(_LINES[i % len(_LINES)], c) for i, c in enumerate(curves)]
    roc = svg_charts.square(
        [(css, c["roc"]) for css, c in lines],
        x="false positive rate", y="true positive rate", title="ROC curve on held-out rows", diagonal=True,
    )  # fmt: skip
    pr = svg_charts.square(
        [(css, c["precision_recall"]) for css, c in lines],
        x="recall", y="precision", title="precision-recall curve on held-out rows",
    )  # fmt: skip
    key = ""
    if len(lines) > 1:
        key = "".join(f'<i style="--c:var({_COLOUR[css]})"></i>{escape(c["class"])}' for css, c in lines)
        key = f'<p class="soft key">Each class against the rest: {key}</p>'
    what = f"positive class {escape(card['positive'])}" if card["positive"] else "each class against the rest"
    rows = _metrics(card, ("roc_auc", "average_precision", "log_loss", "brier"))
    return (
        f'<h2>ROC and precision-recall curves</h2><p class="soft">On held-out rows, {what}. Intervals: 95 %, bootstrap.</p>'
        f'{key}<div class="pair"><div class="box"><h3>ROC</h3>{roc}</div>'
        f'<div class="box"><h3>Precision and recall</h3>{pr}</div></div>'
        + table(("metric", "value", "95 % interval"), rows)
    )


_COLOUR = {"model": "--new", "c1": "--warn", "c2": "--good", "c3": "--bad", "c4": "--ref", "c5": "--v2"}


def _decisions(card: dict[str, Any]) -> str:
    shown = card["confusion"]
    output = (
        f"{escape(card['positive'])} is predicted from a probability of {card['threshold']:.4g} ({escape(card['threshold_reason'])})."
        if card["positive"]
        else "The most probable class is predicted."
    )
    return (
        f'<h2>Confusion matrix</h2><p class="soft">{output}</p>'
        f'<div class="pair"><div class="box">{svg_charts.confusion(shown["classes"], shown["counts"])}</div><div>'
        + table(("metric", "value", "95 % interval"), _metrics(card, ("accuracy", "balanced_accuracy", "f1", "mcc")))
        + "</div></div>"
    )


def _metrics(card: dict[str, Any], names: Sequence[str]) -> list[tuple[str, ...]]:
    return [(metric_name(k), text(card["metrics"][k]), interval(card["intervals"].get(k))) for k in names]


def _honesty(card: dict[str, Any]) -> str:
    calibrated = card["calibration"]["kind"] != "none"
    series = [("model", [(b["predicted"], b["observed"]) for b in card["reliability"]["after"]])]
    if calibrated:
        series.insert(0, ("before", [(b["predicted"], b["observed"]) for b in card["reliability"]["before"]]))
    picture = svg_charts.square(
        series, x="predicted probability", y="observed fraction", title="reliability diagram", diagonal=True, dots=True
    )
    metrics = card["metrics"]
    rows = [
        (metric_name(k), text(metrics[f"{k}_uncalibrated"]), text(metrics[k])) for k in ("ece", "log_loss", "brier")
    ]
    key = (
        '<p class="soft key"><i style="--c:var(--ref)"></i>before <i style="--c:var(--new)"></i>as served</p>'
        if calibrated
        else ""
    )
    bins = [(f"{b['predicted']:.3f}", f"{b['observed']:.3f}", f"{b['rows']:,}") for b in card["reliability"]["after"]]
    kind = f"{card['calibration']['kind']} calibration" if calibrated else "no calibration"
    return (
        "<h2>Calibration of probabilities</h2>"
        f'<p class="soft">Served with {escape(kind)}: {escape(card["calibration"]["reason"])}.</p>'
        f'<div class="pair"><div class="box"><h3>Reliability</h3>{key}{picture}</div>'
        f"<div>{table(('on held-out rows', 'uncalibrated', 'as served'), rows)}"
        f"{table(('predicted', 'observed', 'rows'), bins)}</div></div>"
    )


def _sets(card: dict[str, Any]) -> str:
    if not card["conformal"]:
        return ""
    heads = (
        "coverage promised",
        "covered, all rows",
        *(f"covered, {c}" for c in card["classes"][:6]),
        "mean size",
        "one class",
        "empty",
    )
    rows = [
        (
            f"{c['coverage']:.0%}",
            f"{c['covered']:.1%}",
            *("–" if v is None else f"{v:.1%}" for v in c["by_class"][:6]),
            f"{c['mean_size']:.2f}",
            f"{c['single']:.0%}",
            f"{c['empty']:.0%}",
        )
        for c in card["conformal"]
    ]
    return (
        '<h2>Prediction sets</h2><p class="soft">Classes that cannot be ruled out: each true class is in its rows\' sets at least as '
        "often as promised, over many rows like these (split conformal prediction, class-conditional, calibrated on the held-out "
        "rows; measured here half against half).</p>" + table(heads, rows)
    )


def periods(card: dict[str, Any]) -> str:
    """How the score moves from period to period, where rows were split by time."""
    result = card.get("periods") or {}
    if not result.get("entries"):
        return ""
    name = metric_name(result["metric"])
    rows = [
        (
            f"{e['from']} to {e['to']}" if e["from"] != e["to"] else e["from"],
            "held out" if e["held_out"] else "training",
            f"{e['rows']:,}",
            text(e["score"]),
            f"{text(e['low'])} to {text(e['high'])}",
        )
        for e in result["entries"]
    ]
    return (
        f'<h2>Scores by period</h2><p class="soft">Every period is predicted by a model that knows earlier rows only, by '
        f"{escape(result['column'])}: of training periods by fits of the rows before. {_worse(result['metric'])} "
        "from period to period shows how soon to retrain.</p>"
        + table((result["column"], "rows of", "rows", name, "95 % interval"), rows)
    )


def _worse(metric: str) -> str:
    return "An error that grows" if sign(metric) < 0 else "A score that falls"


def slices(card: dict[str, Any]) -> str:
    """Scores by the values of sensitive columns."""
    result = card["slices"]
    if not result:
        return ""
    scores = [k for k in dict.fromkeys(k for s in result for k in s) if k not in {"column", "value", "rows"}]
    rows = [
        (f"{s['column']} = {s['value']}", f"{s['rows']:,}", *(f"{s[k]:.3f}" if k in s else "–" for k in scores))
        for s in result
    ]
    apart = [
        (
            d["column"],
            *(
                f"{d[k]:.3f}"
                for k in ("demographic_parity_difference", "equalised_odds_difference", "accuracy_difference")
            ),
        )
        for d in card["differences"]
    ]
    heads = ("column", "demographic parity difference", "equalised odds difference", "accuracy difference")
    return (
        '<h2>Slices and fairness</h2><p class="soft">By the sensitive columns of settings.yaml. '
        "Slices of few rows are counted, not scored. 0 means that all groups are treated alike.</p>"
        + (table(heads, apart) if apart else "")
        + table(("slice", "rows", *(metric_name(k) if k in NAMES else k.replace("_", " ") for k in scores)), rows)
    )


def importance(card: dict[str, Any]) -> str:
    """Importance of columns, and exact contributions where the model has them."""
    metric, columns = card["importance"]["metric"], card["importance"]["columns"]
    if not columns:
        return '<h2>Feature importance</h2><p class="soft">Too few rows of some class to say.</p>'
    shown = svg_charts.bars(
        [(c["column"], c["mean"], c["std"]) for c in columns[:20]], title="permutation importance by column"
    )
    parts = [
        "<h2>Feature importance</h2>",
        f'<div class="box"><h3>{escape(_shuffled(metric))} when a column is shuffled</h3>{shown}</div>',
    ]
    result = card["contributions"]
    if result and "beeswarm" in result:
        picture = svg_charts.beeswarm(result["beeswarm"], title="contributions of columns to single predictions")
        key = "".join(f'<i style="--c:var(--v{i})"></i>{t}' for i, t in ((0, "low value"), (2, "middle"), (4, "high")))
        parts.append(
            f'<div class="box" style="margin-top:14px"><h3>Exact contributions to {result["rows"]} predictions, {_unit(card)}</h3>'
            f'<p class="soft key">{key} <i style="--c:var(--ref)"></i>category</p>{picture}</div>'
        )
        parts.append(
            f'<div class="pair" style="margin-top:14px">{"".join(_example(e, card) for e in result["examples"])}</div>'
        )
    return "".join(parts)


def _shuffled(metric: str) -> str:
    name = metric_name(metric)
    return f"Growth of the {name}" if sign(metric) < 0 else f"{name} lost"


def _unit(card: dict[str, Any]) -> str:
    if card.get("task") == "regression":
        return "of the logarithm" if card["transform"] else f"in units of {escape(card['target'])}"
    return f"in log-odds of {escape(card['positive'])}"


def _example(example: dict[str, Any], card: dict[str, Any]) -> str:
    rows = [(f"{c['column']} = {c['value']}", c["contribution"], 0.0) for c in example["contributions"]]
    rows.append(("all other columns", example["rest"], 0.0))
    picture = svg_charts.bars(rows, title="contributions to one prediction", form=_signed, width=150)
    if "prediction" in example:
        observed = float(example["label"])
        predicted = f"{number(example['prediction'])} predicted, {number(observed)} observed"
    else:
        predicted = f"{card['positive']} with {example['probability']:.1%}; in truth {example['label']}"
    return f'<div class="box"><h3>{escape(predicted)}</h3>{picture}</div>'


def _signed(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < 10 else number(value, "+")


def against(title: dict[str, Any]) -> str:
    """The comparison with the served model, slice by slice."""
    if not title["slices"]:
        return ""
    rows = [(s["slice"], s["gain"], s["low"], s["high"]) for s in title["slices"]]
    picture = svg_charts.whiskers(rows, title="gain over the served model by slice, with 95 % intervals")
    names = [
        (
            s["slice"],
            f"{s['rows']:,}",
            number(s["candidate"]),
            number(s["served"]),
            number(s["gain"], "+"),
            interval((s["low"], s["high"]), "+"),
        )
        for s in title["slices"]
    ]
    who = f"{title['served']['model']} version {title['served']['version']}"
    return (
        f'<h2>Comparison with the champion</h2><p class="soft">{escape(who)}, on the same held-out rows; gain in '
        f"{escape(metric_name(title['metric']))}, paired bootstrap. To the right of 0 this model is better.</p>"
        f'<div class="box" style="margin-bottom:14px">{picture}</div>'
        + table(("slice", "rows", "this model", "served", "gain", "95 % interval"), names)
    )


def _one_row(known: dict[str, Any]) -> list[tuple[str, str]]:
    """What one row takes in the prediction API, and which members were left out for it."""
    if "milliseconds" not in known:
        return []
    members = f" · {known['members']} members" if known["members"] > 1 else ""
    reason = f" · {text(known['reason'])}" if known["reason"] else ""
    return [("one row, where it was trained", f"{known['milliseconds']:.2g} ms{members}{reason}")]


def making(card: dict[str, Any]) -> str:
    """Tuning, parameters, parity of the bundle."""
    tuning, metric = card["tuning"], card["importance"]["metric"]
    direction = sign(metric)  # tuning grows scores, and people read errors as they are
    curve = [(seconds, direction * score) for seconds, score in tuning.get("curve", [])]
    picture = ""
    if len(curve) > 1:
        picture = (
            '<div class="box" style="margin-bottom:14px"><h3>Best '
            + escape(metric_name(metric))
            + " so far while tuning</h3>"
            + svg_charts.line(curve, x="s", title="best validation score by seconds of tuning", steps=True)
            + "</div>"
        )
    facts = [
        ("trials", str(card["trials"])),
        ("seconds of tuning", f"{tuning['seconds']:.1f}"),
        (f"validated {metric_name(metric)}", number(direction * tuning["score"])),
        ("upload", card["upload_id"]),
        *_one_row(card.get("one_row", {})),
        *([("held out", f"{card['split']['words']} ({card['split']['share']:.0%})")] if "split" in card else []),
    ]
    parameters = [(k, text(v)) for k, v in card["params"].items()]
    checks = [
        (k.replace("_", " "), f"{v:.2g}" if k.startswith("max") else f"{v:,.0f}") for k, v in card["parity"].items()
    ]
    return (
        "<h2>Provenance</h2>" + picture + f'<div class="pair"><div>{table(("tuning", ""), facts, "facts")}</div>'
        f"<div>{table(('parameter', 'value'), parameters, 'facts')}</div>"
        f"<div>{table(('serving bundle against pipeline', ''), checks)}</div></div>"
    )
