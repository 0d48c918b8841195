"""A regression's model card as one self-contained HTML page: no script, no address of any other machine, every value escaped."""

from __future__ import annotations

from html import escape
from typing import Any

from dropforge_training.card import html_page, svg_charts
from dropforge_training.card.style import metric_name, table, text
from dropforge_training.fit import prediction_intervals

_MEANINGLESS = 1e6  # an error of a hundred million percent


def parts(card: dict[str, Any]) -> list[str]:
    """The sections of the page, in order; card_html.render puts them between head and foot."""
    return [
        html_page.comparison_verdict(card),
        html_page.warning(card),
        _tiles(card),
        _errors(card),
        _intervals(card),
        html_page.periods(card),
        html_page.slices(card),
        html_page.importance(card),
        html_page.against(card["comparison"]),
        html_page.making(card),
    ]


def _tiles(card: dict[str, Any]) -> str:
    tiles = []
    for name in ("rmse", "mae", "r2"):
        if name in card["metrics"]:
            low_high = card["intervals"].get(name)
            small = f"{text(low_high[0])} – {text(low_high[1])}" if low_high else ""
            tiles.append((text(card["metrics"][name]), metric_name(name), small))
    tiles.append((f"{card['heldout_rows']:,}", "held-out rows", f"{card['train_rows']:,} for training"))
    cells = "".join(
        f'<div class="box tile"><b>{escape(v)}</b><span>{escape(n)}</span><br><small>{escape(s)}</small></div>'
        for v, n, s in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _score_texts(name: str, value: float, interval: Any) -> tuple[str, str]:
    """Value and interval. A fraction of a true 0 is none: the metric divides by the smallest step from 0, and says nothing."""
    if name == "mape" and value > _MEANINGLESS:
        return "not defined: an observed value is 0", ""
    return text(value), interval_text(interval)


def _errors(card: dict[str, Any]) -> str:
    scatter = svg_charts.scatter(
        card["predicted_observed"], x="predicted", y="observed", title="predicted against observed on held-out rows"
    )
    shown = card["residuals"]
    histogram = svg_charts.histogram(shown["edges"], shown["counts"], x="observed - predicted", title="residuals")
    rows = [
        (metric_name(k), *_score_texts(k, v, card["intervals"].get(k)))
        for k, v in card["metrics"].items()
        if k != "rows"
    ]
    groups = [
        (f"{g['rows']:,}", text(g["predicted"]), text(g["observed"]), text(g["mae"])) for g in card["by_prediction"]
    ]
    fitted = {"log1p": "It was fitted on the logarithm of the target."}.get(card["transform"], "")
    return (
        f'<h2>Errors</h2><p class="soft">On held-out rows, in units of {escape(card["target"])}. {fitted} '
        "Intervals: 95 %, bootstrap.</p>"
        f'<div class="pair"><div class="box"><h3>Predicted and observed</h3>{scatter}</div>'
        f'<div class="box"><h3>Residuals</h3>{histogram}</div></div>'
        f'<div class="pair"><div>{table(("metric", "value", "95 % interval"), rows)}</div>'
        f"<div>{table(('rows, by predicted number', 'predicted', 'observed', 'mean absolute error'), groups)}</div></div>"
    )


def interval_text(low_high: Any) -> str:
    """Both ends with as many digits as they need."""
    return f"{text(float(low_high[0]))} to {text(float(low_high[1]))}" if low_high else ""


def _not_stated(rows: int) -> str:
    """Which coverages so few held-out rows cannot show, and how many would."""
    short = [(float(c), prediction_intervals.fewest_rows(float(c))) for c in prediction_intervals.COVERAGES]
    words = [f"{c:.0%} (needs {needed:,})" for c, needed in short if needed > rows]
    return f" {rows:,} held-out rows cannot show intervals of {', '.join(words)}." if words else ""


def _intervals(card: dict[str, Any]) -> str:
    unknown = _not_stated(card["heldout_rows"])
    if not card["conformal"]:
        return f'<h2>Prediction intervals</h2><p class="soft">Too few held-out rows to measure any.{unknown}</p>'
    rows = [
        (f"{c['coverage']:.0%}", f"{c['covered']:.1%}", text(c["mean_width"]), text(c["median_width"]))
        for c in card["conformal"]
    ]
    unit = "of the logarithm" if card["interval_transform"] == "log1p" else f"in units of {escape(card['target'])}"
    return (
        '<h2>Prediction intervals</h2><p class="soft">Over many rows like these an interval holds the number at least as often as '
        "promised (split conformal prediction, locally weighted, calibrated on the held-out rows; measured here half against half)."
        f"{unknown}</p>{table(('coverage promised', 'covered', f'mean width, {unit}', 'median width'), rows)}"
    )
