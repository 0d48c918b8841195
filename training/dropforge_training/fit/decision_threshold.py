"""From which probability the positive class is predicted: a number, or the best one by a rule on out-of-fold rows."""

from __future__ import annotations

import numpy as np

from dropforge.config.settings import ServingSettings

_FALLBACK = 0.5
_CANDIDATES = 2000


def choose(serving: ServingSettings, hit: np.ndarray, chance: np.ndarray) -> tuple[float, str]:
    """Threshold and the reason in words. hit: is the row positive, shape [rows]; chance: its (calibrated) probability.

    max_f1, max_youden (J = sensitivity + specificity - 1), max_mcc; cost: least mean cost with `serving.costs`. Ties go to
    the threshold nearest 0.5. Candidates lie in the middle of gaps between probabilities, where rounding flips nothing;
    0 (every row is positive) and one above every probability are among them.
    """
    rule = serving.threshold
    if not isinstance(rule, str):
        return rule, "serving.threshold"
    if not len(hit) or hit.all() or not hit.any():
        return _FALLBACK, f"{rule} cannot be chosen without rows of both classes; 0.5 is used"
    candidates = _candidates(chance)
    order = np.argsort(-chance, kind="stable")
    # rows predicted positive at each candidate, and how many of them truly are
    taken = len(chance) - np.searchsorted(np.sort(chance), candidates)
    true_at = np.concatenate([[0], np.cumsum(hit[order])])[taken].astype(float)
    positives, rows = float(hit.sum()), float(len(hit))
    tp, fp = true_at, taken - true_at
    fn, tn = positives - tp, rows - positives - fp
    match rule:
        case "max_f1":
            value = 2 * tp / (2 * tp + fp + fn)
        case "max_youden":
            value = tp / positives - fp / (rows - positives)
        case "max_mcc":
            spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            value = np.where(spread > 0, (tp * tn - fp * fn) / np.where(spread > 0, spread, 1), 0)
        case _:
            value = -(serving.costs.false_positive * fp + serving.costs.false_negative * fn) / rows
    best = np.flatnonzero(value >= value.max() - 1e-12)
    at = float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])
    what = "mean cost" if rule == "cost" else rule
    shown = -value.max() if rule == "cost" else value.max()
    return at, f"{rule}: {what} {shown:.4f} on {len(hit)} out-of-fold rows"


def _candidates(chance: np.ndarray) -> np.ndarray:
    """Middles of the gaps between probabilities; 0, from which every row is positive; and one that no probability reaches."""
    distinct = np.unique(chance)
    middles, gaps = (distinct[1:] + distinct[:-1]) / 2, np.diff(distinct)
    wide = middles[gaps >= 1e-5]
    middles = wide if len(wide) else middles
    if len(middles):
        middles = middles[np.unique(np.linspace(0, len(middles) - 1, min(_CANDIDATES, len(middles))).astype(int))]
    return np.array([0.0, *middles, (1 + distinct[-1]) / 2])
