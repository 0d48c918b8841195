"""Batches of a matrix as files: read as often as an algorithm wants them, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dropforge_training.models.model_spec import Batch


@dataclass(frozen=True, slots=True)
class BatchesOnDisk:
    """`first` is in memory already; the others are files of the folder."""

    folder: Path
    first: Batch
    files: int
    rows: int

    def __iter__(self) -> Iterator[Batch]:
        yield self.first
        for number in range(self.files):
            with np.load(self.folder / f"{number}.npz") as arrays:
                yield Batch(arrays["x"], arrays["y"], arrays["weight"] if self.first.weight is not None else None)


def written(folder: Path, first: Batch, others: Iterable[Batch]) -> BatchesOnDisk:
    """Store the batches that come after the first one: cleaning rows takes longer than reading their matrix."""
    folder.mkdir(exist_ok=True)
    files, rows = 0, len(first.y)
    for files, batch in enumerate(others, 1):
        weight = np.empty(0) if batch.weight is None else batch.weight
        np.savez(folder / f"{files - 1}.npz", x=batch.x, y=batch.y, weight=weight)
        rows += len(batch.y)
    return BatchesOnDisk(folder, first, files, rows)
