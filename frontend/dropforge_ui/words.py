"""Numbers, times and states as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

STATE_TONES: Final = {
    "concluded": "good", "accepted": "good", "scored": "good", "skipped": "warn", "rejected": "bad", "blocked": "bad", "failed": "bad",
    "awaiting_approval": "warn", "stored": "good", "pass": "good", "reference": "accent", "warn": "warn", "block": "bad",
}  # fmt: skip
TERMINAL: Final = frozenset({"concluded", "accepted", "scored", "rejected", "blocked", "failed", "skipped", "stored"})


_METRICS: Final = {
    "roc_auc": "ROC AUC", "f1": "F1", "brier": "Brier score", "ece": "calibration error", "mcc": "Matthews correlation",
    "rmse": "root mean squared error", "mae": "mean absolute error", "mape": "mean absolute percentage error", "r2": "R²",
}  # fmt: skip


LOWER_IS_BETTER: Final = frozenset(
    {"log_loss", "brier", "ece", "mae", "rmse", "mape", "median_absolute_error", "mean_error"}
)


def metric(name: str) -> str:
    """A metric as the reports write it."""
    return _METRICS.get(name, name.replace("_", " "))


def score(value: float, sign: str = "") -> str:
    """Four decimals of a score, four significant digits of an error in units of the target."""
    size = abs(value)
    return f"{value:{sign}.4f}" if size < 10 else f"{value:{sign},.4g}" if size < 9_999.5 else f"{value:{sign},.0f}"


def best(name: str, value: float) -> str:
    """The best score of a search as its metric is read: the API negates errors, so that larger is better."""
    return score(-value if name in LOWER_IS_BETTER else value)


def who(by: str) -> str:
    """The person a principal acts for, else the last part of its ARN; anything else as it is."""
    by = by.partition(" via ")[0]
    return by.rpartition("/" if "/" in by else ":")[2] if by.startswith("arn:") else by


def moment(text: str) -> datetime | None:
    """An ISO 8601 time of the API; None for anything else."""
    try:
        result = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return result if result.tzinfo else result.replace(tzinfo=UTC)


def ago(text: str, now: datetime | None = None) -> str:
    """`3 min ago`; the date when it is older than two days; the text itself when it is no time."""
    at = moment(text)
    if at is None:
        return text or ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f}\N{NO-BREAK SPACE}{unit}\N{NO-BREAK SPACE}ago"
    return f"{at:%d %b %Y}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def count(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def filename(key: str) -> str:
    """The file's own name of an S3 key."""
    return key.rpartition("/")[2] or key


def number(value: float) -> str:
    """Up to four significant digits without a needless tail; from ten thousand on whole, so that an amount has no exponent."""
    whole = float(value).is_integer() or abs(value) >= 9_999.5
    return f"{value:,.0f}" if whole and abs(value) < 1e15 else f"{value:,.4g}"


def contribution(value: float) -> str:
    """What a feature adds to a prediction: with its sign, in three decimals or whole."""
    return f"{value:+.3f}" if abs(value) < 100 else f"{value:+,.4g}" if abs(value) < 9_999.5 else f"{value:+,.0f}"
