"""The rooms of the buckets: first parts of keys, for which the roles' permissions are measured and tested."""

from __future__ import annotations

ROOMS = {
    "data": (
        "incoming",
        "batch",
        "config",
        "datasets",
        "uploads",
        "quarantine",
        "tuning",
        "progress",
        "serving",
        "integrity",
        "decisions",
        "predictions",
        "captured",
        "labels",
        "monitoring",
    ),
    "artifacts": ("reports", "mlflow"),
}
