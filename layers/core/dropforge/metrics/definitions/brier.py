"""Brier score; in the model card."""

from __future__ import annotations

from typing import Final

from dropforge.metrics import Metric

METRIC: Final = Metric("brier", greater_is_better=False)
