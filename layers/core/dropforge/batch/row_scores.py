"""What came of the rows of a file that was scored, or of one of its shards; shards add up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dropforge.batch.scoring_table import ScoringFile
from dropforge.inference import column_predictor
from dropforge.inference.predictor import Predictor
from dropforge.ingest.rejected_rows import Reject

CHUNK = 100_000  # rows in memory at a time


@dataclass(frozen=True, slots=True)
class Numbers:
    """Range and sum of a regression's predictions."""

    minimum: float
    maximum: float
    total: float


@dataclass(frozen=True, slots=True)
class RowScores:
    """`labels`: rows by place of their class; `numbers`: of a regression, None without a row; `warnings`: (code, field, rows)."""

    rows_in: int
    rows_used: int
    rejects: list[Reject]
    labels: dict[int, int] = field(default_factory=dict)
    numbers: Numbers | None = None
    warnings: list[tuple[str, str, int]] = field(default_factory=list)

    def summary(self, predictor: Predictor) -> dict[str, Any]:
        """What the summary beside the predictions says of the rows."""
        manifest = predictor.manifest
        counted: dict[str, Any] = {"labels": {c: self.labels.get(k, 0) for k, c in enumerate(manifest.classes)}}
        if manifest.regression is not None:
            n = self.numbers
            mean = n and {"minimum": n.minimum, "mean": n.total / self.rows_used, "maximum": n.maximum}
            counted = {"prediction": mean}
        return {
            "threshold": manifest.threshold if manifest.positive_class else None,
            "rows_in": self.rows_in,
            "rows_scored": self.rows_used,
            "rows_quarantined": len(self.rejects),
            **counted,
            "warnings": [{"code": code, "field": field, "rows": rows} for code, field, rows in sorted(self.warnings)],
        }


def score(predictor: Predictor, rows: ScoringFile, reached: Callable[[], None] = lambda: None) -> RowScores:
    """Score the rows that were read, which keep their scores (ScoringFile.write). `reached` is called before each piece."""
    import numpy as np

    labels: Counter[int] = Counter()
    warnings: Counter[tuple[str, str]] = Counter()
    numbers: list[Numbers] = []
    for chunk in rows.chunks(CHUNK):
        reached()
        scores = column_predictor.predict(predictor, chunk, threads=_cores())
        rows.keep(scores.labels, scores.probabilities)
        warnings += scores.warnings
        if predictor.manifest.regression is not None:
            low, high, total = scores.labels.min(), scores.labels.max(), scores.labels.sum()
            numbers.append(Numbers(float(low), float(high), float(total)))
            continue
        labels += Counter({int(k): int(n) for k, n in zip(*np.unique(scores.labels, return_counts=True), strict=True)})
    warnings += Counter({("rule_violated", name): n for name, n in rows.violations.items()})
    return RowScores(
        rows.typed.rows_in,
        rows.typed.rows_used,
        rows.rejects.in_order(),
        dict(labels),
        _together(numbers),
        [(code, field, n) for (code, field), n in warnings.items()],
    )


def added(shards: Sequence[RowScores]) -> RowScores:
    """Of the whole file, from its shards in order."""
    labels: Counter[int] = Counter()
    warnings: Counter[tuple[str, str]] = Counter()
    for shard in shards:
        labels.update(shard.labels)
        warnings.update({(code, field): n for code, field, n in shard.warnings})
    return RowScores(
        sum(s.rows_in for s in shards),
        sum(s.rows_used for s in shards),
        [r for s in shards for r in s.rejects],
        dict(labels),
        _together([s.numbers for s in shards if s.numbers is not None]),
        [(code, field, n) for (code, field), n in warnings.items()],
    )


def _together(numbers: Sequence[Numbers]) -> Numbers | None:
    if not numbers:
        return None
    total = sum(n.total for n in numbers)
    return Numbers(min(n.minimum for n in numbers), max(n.maximum for n in numbers), total)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
