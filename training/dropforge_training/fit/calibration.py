"""Which calibration a model needs, decided by log loss on out-of-fold rows; most models need none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from dropforge.inference.bundle_manifest import Calibration
from dropforge.inference.calibrate import calibrate

METHODS = ("temperature", "sigmoid", "isotonic")
_FOLDS = 5
_FEWEST = 200  # rows under which a calibration is noise
_FEWEST_ISOTONIC = 1000
_KNOTS = 40
_APART = 0.025
_FLOORS = (1e-6, 1e-5, 1e-4, 1e-3)
_SMALLEST = 1e-6  # a log loss of a probability of 0 would be infinite
_ROUNDING = 1e-7  # what float32 may change in a probability,
_GROWN = 5e-6  # and what a calibration may make of it: half of what a bundle may differ from its pipeline


@dataclass(frozen=True, slots=True)
class Choice:
    """`losses`: log loss of each way, measured on rows it was not fitted on; `reason` in words."""

    calibration: Calibration | None
    losses: dict[str, float]
    reason: str


def choose(mode: str, y: np.ndarray, probabilities: np.ndarray, seed: int) -> Choice:
    """The calibration `training.calibration` asks for. `auto`: the one with the least log loss, if it gains for sure.

    y: codes, shape [rows]; probabilities: out-of-fold, shape [rows, classes]. For sure: the mean gain over the rows exceeds
    its standard error twice. A calibration that magnifies float32's rounding is refused: the bundle must equal its pipeline.
    """
    if mode == "none":
        return Choice(None, {}, "training.calibration is none")
    if len(y) < _FEWEST:
        return Choice(None, {}, f"{len(y)} out-of-fold rows are too few to calibrate on ({_FEWEST})")
    plain = _row_losses(y, probabilities)
    losses = {"none": float(plain.mean())}
    best, reason = None, "no calibration lowers the log loss for sure"
    least = losses["none"]
    for method in METHODS if mode == "auto" else (mode,):
        if method == "isotonic" and len(y) < _FEWEST_ISOTONIC and mode == "auto":
            continue
        # The least floor with which rounding stays small: next to 0 a logarithm is as steep as one lets it be.
        floor = next(
            (f for f in _FLOORS if not _magnifies(_fit(method, y, probabilities, f), probabilities, seed)), None
        )
        if floor is None:
            reason = f"{method} would magnify rounding beyond what a bundle may differ" if best is None else reason
            continue
        gain = plain - _row_losses(y, _cross_fitted(method, y, probabilities, floor, seed))
        losses[method] = float(losses["none"] - gain.mean())
        fitted = _fit(method, y, probabilities, floor)
        sure = gain.mean() > 2 * gain.std() / np.sqrt(len(y))
        if mode != "auto" or (sure and losses[method] < least):
            best, least = fitted, losses[method]
            effect = "lowers" if least < losses["none"] else "does not lower"
            doubt = "" if sure or effect != "lowers" else ", which may be chance"
            reason = f"{method} {effect} the log loss: {losses['none']:.5f} without, {least:.5f} with it on out-of-fold rows{doubt}"
            reason = reason if mode == "auto" else f"training.calibration is {method}; {reason}"
    return Choice(best, losses, reason)


def _row_losses(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(np.clip(probabilities[np.arange(len(y)), y], _SMALLEST, 1)))


def _cross_fitted(method: str, y: np.ndarray, probabilities: np.ndarray, floor: float, seed: int) -> np.ndarray:
    fold = np.random.default_rng(seed).permutation(len(y)) % _FOLDS
    out = np.empty(probabilities.shape)
    for f in range(_FOLDS):
        out[fold == f] = calibrate(
            _fit(method, y[fold != f], probabilities[fold != f], floor), probabilities[fold == f]
        )
    return out


def _magnifies(calibration: Calibration, probabilities: np.ndarray, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    rows = probabilities[rng.permutation(len(probabilities))[:20_000]]
    moved = np.clip(rows + rng.choice([-_ROUNDING, _ROUNDING], rows.shape) * (rows > 0), 0, 1)
    return not np.abs(calibrate(calibration, moved) - calibrate(calibration, rows)).max() <= _GROWN  # NaN: it does


def _fit(method: str, y: np.ndarray, p: np.ndarray, floor: float) -> Calibration:
    return _isotonic(y, p) if method == "isotonic" else _softmax(y, p, floor, free_intercepts=method == "sigmoid")


def _softmax(y: np.ndarray, p: np.ndarray, floor: float, *, free_intercepts: bool) -> Calibration:
    """Least log loss over slope and, where free, one intercept a class (the first is 0: only differences matter)."""
    classes = p.shape[1]
    logs = np.log(p + floor)
    truth = np.eye(classes)[y]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        bias = np.concatenate([[0.0], theta[1:]]) if free_intercepts else np.zeros(classes)
        z = theta[0] * logs + bias
        z = z - z.max(axis=1, keepdims=True)
        log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        off = np.exp(log_q) - truth
        slope = float((off * logs).sum(axis=1).mean())
        gradient = [slope, *off.mean(axis=0)[1:]] if free_intercepts else [slope]
        return float(-(truth * log_q).sum(axis=1).mean()), np.array(gradient)

    start = np.concatenate([[1.0], np.zeros(classes - 1 if free_intercepts else 0)])
    bounds = [(0.05, 20.0)] + [(-10.0, 10.0)] * (len(start) - 1)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    intercepts = (0.0, *(float(b) for b in result[1:])) if free_intercepts else (0.0,) * classes
    return Calibration("sigmoid" if free_intercepts else "temperature", float(result[0]), intercepts, floor)


def _isotonic(y: np.ndarray, p: np.ndarray) -> Calibration:
    columns = [1] if p.shape[1] == 2 else range(p.shape[1])
    return Calibration("isotonic", knots=tuple(_knots(p[:, k], y == k) for k in columns))


def _knots(p: np.ndarray, hit: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Centred isotonic regression (Oron & Flournoy 2017): each level stands at its rows' mean, with lines between.

    Unlike steps it keeps the order of rows. Levels closer than _APART are one, which bounds how steep a line can be.
    """
    groups = np.array_split(np.argsort(p, kind="stable"), min(_KNOTS, max(2, len(p) // 50)))
    weight = np.array([len(g) for g in groups], dtype=float)
    # one row of each kind is added to a group (Laplace): no group says never or always
    rate = np.array([(hit[g].sum() + hit.mean()) / (len(g) + 1) for g in groups])
    level = IsotonicRegression().fit_transform(np.arange(len(groups)), rate, sample_weight=weight)
    merged: list[tuple[float, float, float]] = []  # mean p, level, rows
    for g, value, rows in zip(groups, level, weight, strict=True):
        at, risen, n = float(p[g].mean()), float(value), float(rows)
        if merged and (at - merged[-1][0] < _APART or risen <= merged[-1][1]):
            before = merged.pop()
            share = n / (n + before[2])
            at, risen = before[0] + share * (at - before[0]), before[1] + share * (risen - before[1])
            n += before[2]
        merged.append((at, risen, n))
    x, y = [m[0] for m in merged], [m[1] for m in merged]
    # beyond the outermost levels the line goes on halfway to certainty, where there is room for it
    if x[0] > _APART:
        x, y = [0.0, *x], [y[0] / 2, *y]
    if x[-1] < 1 - _APART:
        x, y = [*x, 1.0], [*y, (1 + y[-1]) / 2]
    return tuple(x), tuple(y)


def summary(choice: Choice) -> dict[str, Any]:
    """For the card."""
    return {
        "kind": choice.calibration.kind if choice.calibration else "none",
        "log_loss": choice.losses,
        "reason": choice.reason,
    }
