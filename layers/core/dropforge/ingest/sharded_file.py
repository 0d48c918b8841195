"""A large file, read shard by shard: each in a folder of its own, one at a time or wherever a ShardReader has them read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from dropforge.config.settings import CsvSettings, DataSettings
from dropforge.ingest import column_kinds, column_scan, shard_reading
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import quote
from dropforge.ingest.open_file import OpenFile
from dropforge.ingest.rejected_rows import Reject
from dropforge.ingest.row_contract import RuleResult
from dropforge.ingest.row_faults import RowFaults
from dropforge.ingest.shard_plan import Plan, Shard
from dropforge.ingest.shard_reading import CountRows, Decided, ShardFile, ShardRows, ShardSurvey
from dropforge.value_formats import PLAIN, NumberFormat

_FOLDER = "shards"


class ShardReader(Protocol):
    """Has every shard of a file read by shard_reading; answers are in the order of the shards, their files in folder_of each."""

    def survey(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> list[ShardSurvey]:
        """As shard_reading.survey."""

    def admit(self, decided: Decided, accepted: Sequence[int]) -> list[ShardRows]:
        """As shard_reading.admit, rows of the right form by shard."""


ReadShards = Callable[[OpenFile, Plan], ShardReader]


def folder_of(file: OpenFile, shard: Shard) -> Path:
    """Where everything is left that is read of a shard."""
    folder = file.workdir / _FOLDER / f"{shard.number:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def settings_of_shards(file: OpenFile) -> DataSettings:
    """The settings that the shards of a file are read by: what was detected of the whole text holds for each of them."""
    if file.source.text is None:
        return file.data
    decided = {"delimiter": file.source.delimiter, "encoding": "utf-8"}
    csv = CsvSettings.model_validate({**file.data.csv.model_dump(), **decided})
    return file.data.model_copy(update={"csv": csv})


def rows_of(file: OpenFile, shard: Shard) -> tuple[int, int] | None:
    """As ShardFile.rows."""
    return (shard.start, shard.end) if file.source.text is None else None


def in_turn(count_rows: CountRows) -> ReadShards:
    """One shard after the other, in this process."""
    return lambda file, plan: _InTurn(file, plan, count_rows)


@dataclass(frozen=True)
class _InTurn:
    file: OpenFile
    plan: Plan
    count_rows: CountRows

    def survey(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> list[ShardSurvey]:
        surveys = []
        for shard in self.plan.shards:
            with self._written(shard) as file:
                surveys.append(shard_reading.survey(file, number_formats, points=points))
        return surveys

    def admit(self, decided: Decided, accepted: Sequence[int]) -> list[ShardRows]:
        admitted = []
        for shard, rows in zip(self.plan.shards, accepted, strict=True):
            with self._written(shard) as file:
                admitted.append(shard_reading.admit(file, decided, rows, self.count_rows))
        return admitted

    @contextmanager
    def _written(self, shard: Shard) -> Iterator[ShardFile]:
        """The shard's file while it is read: texts of all shards at once would be a second copy of the file."""
        folder = folder_of(self.file, shard)
        path = self.plan.write(shard, folder)
        try:
            yield ShardFile(path, folder, settings_of_shards(self.file), self.file.reference, rows_of(self.file, shard))
        finally:
            if path.is_relative_to(folder):
                path.unlink()
            (folder / "raw.parquet").unlink(missing_ok=True)


class Surveyed(NamedTuple):
    """Scans of the whole file in the header's order; rows of a wrong form, and the first; rows by class, the most frequent first."""

    scans: list[ColumnScan]
    malformed: int
    examples: list[Reject]
    labels: dict[str, int]


class Admitted(NamedTuple):
    """A shard's folder and snapshot with the number of its rows; rows quarantined by their lines in the file; outcomes of rules."""

    folder: Path
    file: Path
    rows: int
    rejects: list[Reject]
    rules: tuple[RuleResult, ...]


@dataclass
class ShardedFile:
    """The shards of `file`. Surveyed before they are admitted."""

    file: OpenFile
    plan: Plan
    reader: ShardReader
    _surveys: list[ShardSurvey] = field(default_factory=list)

    def survey(self) -> Surveyed:
        """Look at every cell; again where the whole file shows that numbers are not written plainly."""
        known, fixed = column_kinds.declared_formats(self.file)
        scans = self._surveyed({}, points=False)
        if column_scan.needs_points(scans, known):
            separated = self.file.table().separated_by_comma
            scans = self._surveyed({}, points=True)
            formats = column_scan.decide_formats(scans, known, fixed, separated_by_comma=separated)
            if other := {i: f for i, f in formats.items() if f != PLAIN}:
                scans = self._surveyed(other, points=False)
        labels = Counter[str]()
        for one in self._surveys:
            labels.update(one.labels)
        return Surveyed(
            scans,
            sum(s.malformed for s in self._surveys),
            [
                self._placed(shard, r)
                for shard, s in zip(self.plan.shards, self._surveys, strict=True)
                for r in s.examples
            ],
            dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        )

    def _surveyed(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> list[ColumnScan]:
        self._surveys = self.reader.survey(number_formats, points=points)
        markers = [self.file.markers(c) for c in self.file.source.header]
        return column_scan.added([s.scans for s in self._surveys], markers)

    def with_unique_texts(self, scans: Mapping[str, ColumnScan]) -> dict[str, ColumnScan]:
        """With the texts of unique columns, which repeat in the whole file where they do not in a shard."""
        places = {c: i for i, c in enumerate(self.file.source.header)}
        unique = {c: [s.unique[c] for s in self._surveys] for c in self._surveys[0].unique if c in scans}
        texts = {c: shard_reading.repeated_texts(self.file, places[c], scans[c], f) for c, f in unique.items()}
        return {**scans, **texts}

    def admit(self, faults: RowFaults, lone: tuple[str, ...], limit: int) -> list[Admitted]:
        """Type and count the rows of every shard. `faults`: of the whole file; `lone`, `limit`: as Decided has them."""
        decided = Decided(faults.schema, faults.scans, lone, self._repeated(faults), limit)
        accepted = [max((s.cells for s in surveyed.scans), default=0) for surveyed in self._surveys]
        return [
            Admitted(
                folder_of(self.file, shard),
                rows.file,
                rows.rows,
                [self._placed(shard, r) for r in rows.rejects],
                rows.rules,
            )
            for shard, rows in zip(self.plan.shards, self.reader.admit(decided, accepted), strict=True)
        ]

    def _repeated(self, faults: RowFaults) -> dict[str, Path]:
        files = {}
        for number, (column, table) in enumerate(faults.repeated_values().items()):
            files[column] = self.file.workdir / _FOLDER / f"repeated-{number}.parquet"
            self.file.db.execute(f"COPY (SELECT k FROM {table}) TO {quote(str(files[column]))} (FORMAT parquet)")
        return files

    @staticmethod
    def relation(admitted: Sequence[Admitted]) -> str:
        """SQL of the used rows of all shards, in file order."""
        return f"read_parquet([{', '.join(quote(str(a.file)) for a in admitted)}])"

    @staticmethod
    def rules(admitted: Sequence[Admitted]) -> tuple[RuleResult, ...]:
        """How the rows of all shards fared."""
        return tuple(
            replace(same[0], rows=sum(r.rows for r in same), violations=sum(r.violations for r in same))
            for same in zip(*(a.rules for a in admitted), strict=True)
        )

    def _placed(self, shard: Shard, reject: Reject) -> Reject:
        return replace(reject, line=self.plan.line_of(shard, reject.line))
