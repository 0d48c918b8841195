"""Batches of a matrix as files: read as often as an algorithm wants them, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dropforge_training.models.model_spec import Batch

_NAME, _COMPRESSION = "{}.npy.zst", "zstd"  # columns of categories are zeros but for one in each row


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
            with pa.input_stream(str(self.folder / _NAME.format(number)), compression=_COMPRESSION) as file:
                x, y, weight = (np.lib.format.read_array(file) for _ in range(3))
            yield Batch(x, y, weight if self.first.weight is not None else None)


def written(folder: Path, first: Batch, others: Iterable[Batch]) -> BatchesOnDisk:
    """Store the batches that come after the first one: cleaning rows takes longer than reading their matrix."""
    folder.mkdir(exist_ok=True)
    files, rows = 0, len(first.y)
    for files, batch in enumerate(others, 1):
        weight = np.empty(0) if batch.weight is None else batch.weight
        with pa.output_stream(str(folder / _NAME.format(files - 1)), compression=_COMPRESSION) as file:
            for array in (batch.x, batch.y, weight):
                np.lib.format.write_array(file, array, allow_pickle=False)
        rows += len(batch.y)
    return BatchesOnDisk(folder, first, files, rows)
