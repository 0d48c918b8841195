"""Predicted numbers and their intervals: the same few float64 operations in training and in the prediction API.

Needs numpy and nothing else. The parameters are fitted by dropforge_training and stored in the bundle's manifest.
"""

from __future__ import annotations

import numpy as np

from dropforge.inference.bundle_manifest import Regression

LOG1P = "log1p"


def forward(transform: str, y: np.ndarray) -> np.ndarray:
    """What a model is fitted on, float64, shape [rows]: y itself, or sign(y)·ln(1 + |y|)."""
    y = np.asarray(y, dtype=np.float64)
    return np.asarray(np.sign(y) * np.log1p(np.abs(y))) if transform == LOG1P else y


def inverse(transform: str, output: np.ndarray) -> np.ndarray:
    """The number whose `forward` is `output`, float64."""
    z = np.asarray(output, dtype=np.float64)
    return np.asarray(np.sign(z) * np.expm1(np.abs(z))) if transform == LOG1P else z


def values(rule: Regression, output: np.ndarray) -> np.ndarray:
    """Predicted numbers in units of the target, float64, of the graph's output; the shape stays."""
    return _clipped(rule, inverse(rule.transform, np.asarray(output, dtype=np.float64) + rule.center))


def interval_scale(rule: Regression) -> str:
    """The transform after which intervals are a number plus and minus multiples of a row's width."""
    return rule.transform if rule.interval_transform is None else rule.interval_transform


def middle(rule: Regression, output: np.ndarray) -> np.ndarray:
    """What `output` predicts on the scale of the intervals, not clipped, float64; the shape stays."""
    z = np.asarray(output, dtype=np.float64) + rule.center
    scale = interval_scale(rule)
    return z if scale == rule.transform else forward(scale, inverse(rule.transform, z))


def interval(
    rule: Regression, output: np.ndarray, width: np.ndarray, limits: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the prediction intervals, shape [rows]: inverse(middle - below·w) … inverse(middle + above·w).

    output, width: shape [rows]; limits: (below, above) of one coverage. The scale is monotone in the target: the coverage of the
    interval there is the coverage of the interval of the target.
    """
    z, scale = middle(rule, output), interval_scale(rule)
    low, high = z - limits[0] * width, z + limits[1] * width
    return _clipped(rule, inverse(scale, low)), _clipped(rule, inverse(scale, high))


def widths(rule: Regression, logarithm: np.ndarray) -> np.ndarray:
    """Widths, float64, of what the graph of widths gives; the shape stays."""
    return np.asarray(np.exp(np.clip(np.asarray(logarithm, dtype=np.float64), *rule.width_range)))


def _clipped(rule: Regression, numbers: np.ndarray) -> np.ndarray:
    if rule.minimum is None and rule.maximum is None:
        return numbers
    return np.asarray(np.clip(numbers, rule.minimum, rule.maximum))
