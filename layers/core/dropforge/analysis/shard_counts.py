"""The counts of a table from those of its shards: what row_counts.write stored for each, added up.

Whole numbers come out as if the table had been counted at once. Sums of fractions differ from that in their last digits, as they do
between two counts of one table by several threads: they are added in another order.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dropforge.analysis import column_pairs
from dropforge.analysis.data_profile import ROW_SKETCH, Sums
from dropforge.analysis.row_counts import (
    CLASSES,
    ROWS,
    SUMS,
    TEXTS,
    TIMES,
    VALUES,
    Basics,
    Gap,
    Sketch,
    axes_json,
    class_numbers,
    gaps,
)
from dropforge.datasets.table_schema import Schema
from dropforge.ingest.duckdb_connection import quote

_PARTITION_ROWS = 4_000_000  # different rows that are grouped at once: some 200 MB
_HASHES = 2**64
_CLASSES = 100

PairCounts = Callable[[Sequence[column_pairs.Axis]], Iterable[list[list[int]]]]


@dataclass(frozen=True)
class ShardCounts:
    """`folders`: of the shards, in any order, below the folder that the connection may read. `count_pairs`: the counts of
    row_counts.count_pairs from every shard, for axes that no shard has counted yet.
    """

    schema: Schema
    folders: Sequence[Path]
    count_pairs: PairCounts = field(compare=False)
    _coded: list[list[int]] = field(default_factory=list, compare=False)

    @cached_property
    def _sums(self) -> list[dict[str, Any]]:
        return [json.loads((folder / SUMS).read_bytes()) for folder in self.folders]

    @property
    def rows(self) -> int:
        """Accepted rows of all shards."""
        return sum(s["rows"] for s in self._sums)

    def basics(self, db: Any) -> tuple[int, list[Basics]]:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        columns = range(len(self.schema.columns))
        return self.rows, [_added([s["basics"][i] for s in self._sums]) for i in columns]

    def numbers(self, column: int) -> str:
        """As row_counts.Counts."""
        return f"(SELECT v, CAST(sum(c) AS BIGINT) AS c FROM {self._files(VALUES)} WHERE i = {column} GROUP BY 1)"

    def texts(self, column: int) -> str:
        """As row_counts.Counts."""
        return f"(SELECT text, CAST(sum(c) AS BIGINT) AS c FROM {self._files(TEXTS)} WHERE i = {column} GROUP BY 1)"

    def hours(self, db: Any, column: int) -> tuple[int, ...]:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        return tuple(map(sum, zip(*(s["hours"][str(column)] for s in self._sums), strict=True)))

    def gap(self, db: Any, gap: Gap) -> tuple[Basics, str]:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        place = gaps(self.schema).index(gap)
        return _added([s["gaps"][place] for s in self._sums]), self.numbers(len(self.schema.columns) + place)

    def by_time(self, column: int, basics: Sequence[Basics]) -> str:  # noqa: ARG002 - as Counts
        """As row_counts.Counts: groups of several shards may start at the same time."""
        return f"SELECT * EXCLUDE (i) FROM {self._files(TIMES)} WHERE i = {column}"

    def classes(self, db: Any) -> list[tuple[Any, ...]]:
        """As row_counts.Counts."""
        numbers = class_numbers(self.schema)
        if not numbers:
            return []
        sums = ", ".join(
            f"CAST(sum(s{3 * k}) AS BIGINT), sum(s{3 * k + 1}), sum(s{3 * k + 2})" for k in range(len(numbers))
        )
        rows: list[tuple[Any, ...]] = db.execute(
            f"SELECT label, {sums} FROM {self._files(CLASSES)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_CLASSES}"
        ).fetchall()
        return rows

    def products(self, db: Any, basics: Sequence[Basics]) -> list[Sums]:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        return [
            Sums(
                first=same[0]["first"],
                second=same[0]["second"],
                n=sum(s["n"] for s in same),
                **{k: math.fsum(s[k] for s in same) for k in ("x", "y", "xx", "yy", "xy")},
            )
            for same in zip(*(s["products"] for s in self._sums), strict=True)
        ]

    def repeats(self) -> list[str]:
        """As row_counts.Counts: by ranges of hashes, so that few rows are in memory at once."""
        step = -(-_HASHES // max(1, -(-self.rows // _PARTITION_ROWS)))
        return [
            f"(SELECT h, label, CAST(sum(c) AS BIGINT) AS c FROM {self._files(ROWS)} "
            f"WHERE h BETWEEN {low}::UBIGINT AND {min(low + step, _HASHES) - 1}::UBIGINT GROUP BY 1, 2)"
            for low in range(0, _HASHES, step)
        ]

    def sketch(self, db: Any, rows: int) -> Sketch:  # noqa: ARG002 - as Counts
        """As row_counts.Counts: a row among the smallest of the table is among the smallest of each shard that has it."""
        counts = Counter[int]()
        for shard in self._sums:
            counts.update(dict(shard["sketch"]))
        return sorted(counts.items())[:ROW_SKETCH]

    def code(self, db: Any, axes: Sequence[column_pairs.Axis]) -> None:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        stored = all(s["axes"] == axes_json(axes) for s in self._sums)
        shards = [s["pairs"] for s in self._sums] if stored else self.count_pairs(axes)
        for shard in shards:
            for k, counts in enumerate(shard):
                if k < len(self._coded):
                    self._coded[k] = [a + b for a, b in zip(self._coded[k], counts, strict=True)]
                else:
                    self._coded.append(list(counts))

    def pair_questions(self, axes: Sequence[column_pairs.Axis], rows: int) -> list[column_pairs.Question]:  # noqa: ARG002 - as Counts
        """As row_counts.Counts."""
        wanted = column_pairs.chosen(axes, self.schema.target) if len(axes) > 1 else []
        cells = [
            (k, *divmod(place, axes[second].size), n)
            for k, (_, second) in enumerate(wanted)
            for place, n in enumerate(self._coded[k])
            if n
        ]
        return [lambda _db: cells]

    def _files(self, file: str) -> str:
        return f"read_parquet([{', '.join(quote(str(folder / file)) for folder in self.folders)}])"


def _added(parts: Sequence[Basics]) -> Basics:
    """Basics of one column over all shards; a sum without values is None, as SQL has it."""
    result: dict[str, Any] = {"missing": sum(p["missing"] for p in parts)}
    if len(parts[0]) == 1:
        return result
    present = {k: [p[k] for p in parts if p[k] is not None] for k in ("minimum", "maximum", "total", "squares")}
    result["minimum"] = min(present["minimum"], default=None)
    result["maximum"] = max(present["maximum"], default=None)
    return result | {k: math.fsum(present[k]) if present[k] else None for k in ("total", "squares")}
