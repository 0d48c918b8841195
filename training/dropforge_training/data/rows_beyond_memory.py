"""Training rows of a data set that is larger than memory, a batch at a time: all but those that are in memory as a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dropforge.datasets.table_schema import ROW_HASH
from dropforge_training.data import holdout_split, training_table
from dropforge_training.data.training_table import BeyondMemory, Table, TrainingData

_BATCH = 100_000  # rows


def tables(data: TrainingData, batch: int | None = None) -> Iterator[Table]:
    """The training rows that are not among `data.train`, in the order of the files, at most `batch` at a time (None: 100,000).

    Rows that `data.split` holds out are left out, and so are those that `data` leaves out: without a target, a weight or a time,
    of other classes, sent again with a later part.
    """
    beyond = data.beyond_memory
    if beyond is None:
        return
    repeated = _repeated(beyond)
    place = 0
    for file in beyond.files:
        for part in pq.ParquetFile(file).iter_batches(batch or _BATCH):
            outside = ~beyond.sample(np.asarray(part.column(ROW_HASH), dtype=np.uint64))
            if repeated is not None:
                outside &= ~repeated[place : place + len(outside)]
            place += len(outside)
            frame = training_table.as_declared(part.to_pandas()[outside], beyond.schema)
            table = _training_rows(frame, data, beyond)
            if len(table):
                yield table


def _training_rows(frame: pd.DataFrame, data: TrainingData, beyond: BeyondMemory) -> Table:
    settings = beyond.settings
    share = holdout_split.share(settings)
    usable = np.array(frame[settings.data.target].notna())
    usable &= ~holdout_split.unseen(data.split, share, data.moved, frame)
    time = holdout_split.times(frame, settings)
    if time is not None:
        usable &= np.isfinite(time)
    weight = None
    if settings.data.weight is not None:
        weight = np.asarray(pd.to_numeric(frame[settings.data.weight], errors="coerce"), dtype=np.float64)
        usable &= np.isfinite(weight) & (weight > 0)
        weight = weight[usable]
    rows = frame[usable].reset_index(drop=True)
    target = rows[settings.data.target]
    if data.regression:
        y = np.asarray(pd.to_numeric(target, errors="coerce"), dtype=np.float64)
        known = np.isfinite(y)
    else:
        labels = training_table.labels(target, beyond.schema.column(settings.data.target))
        y = np.asarray(pd.Index(data.classes).get_indexer(labels), dtype=np.int64)
        known = y >= 0
    x, _ = training_table.within_float32(rows[[c.name for c in data.features]])
    return Table(x, y, rows[ROW_HASH].to_numpy(dtype=np.uint64), weight=weight).at(known)


def _repeated(beyond: BeyondMemory) -> np.ndarray | None:
    """Which rows of all files an earlier one has, shape [rows]; None: there is one file only."""
    if len(beyond.files) == 1:
        return None
    hashes = [pq.read_table(f, columns=[ROW_HASH]).column(0).to_numpy() for f in beyond.files]
    part = np.repeat(np.arange(len(hashes)), [len(h) for h in hashes])
    return training_table.sent_again(pd.Series(np.concatenate(hashes)), part)
