"""Expected calibration error; in the model card."""

from __future__ import annotations

from typing import Final

from dropforge.metrics import Metric

METRIC: Final = Metric("ece", greater_is_better=False)
