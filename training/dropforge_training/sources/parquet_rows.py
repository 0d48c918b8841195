"""Record batches as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(schema: Any, batches: Iterable[Any], target: Path) -> int:
    """The batches of this Arrow schema, one after the other, so that memory holds one; how many rows there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
            rows += batch.num_rows
    return rows
