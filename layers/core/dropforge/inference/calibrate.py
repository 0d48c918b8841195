"""Probabilities of a model as frequencies: the same few float64 operations in training and in the prediction API.

Needs numpy and nothing else. Fitted by dropforge_training.fit.calibration, kept in the bundle's manifest.
"""

from __future__ import annotations

import numpy as np

from dropforge.inference.bundle_manifest import Calibration


def calibrate(calibration: Calibration | None, probabilities: np.ndarray) -> np.ndarray:
    """Calibrated probabilities, float64, shape [rows, classes], rows sum to 1. None: the model's own, as float64.

    temperature, sigmoid: softmax(slope · ln(p + floor) + intercepts), Guo et al. 2017 and Platt 1999 on log-odds.
    isotonic: a rising line through `knots` by class (binary: of the second class), scaled to sum 1 (Zadrozny & Elkan 2002).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if calibration is None:
        return p
    if calibration.kind == "isotonic":
        return _along_knots(calibration, p)
    logits = calibration.slope * np.log(p + calibration.floor) + np.asarray(calibration.intercepts)
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def _along_knots(calibration: Calibration, p: np.ndarray) -> np.ndarray:
    if p.shape[1] == 2:
        x, y = calibration.knots[0]
        second = np.interp(p[:, 1], x, y)
        return np.column_stack([1 - second, second])
    risen = np.column_stack([np.interp(p[:, k], x, y) for k, (x, y) in enumerate(calibration.knots)])
    return np.asarray(risen / risen.sum(axis=1, keepdims=True))
