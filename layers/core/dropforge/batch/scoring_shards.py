"""A large file, scored by the maps of the workflow: shards are surveyed until all is decided, then each writes its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field

from dropforge import keys
from dropforge.batch import row_scores, scoring_table
from dropforge.batch.batch_ports import BatchPorts
from dropforge.batch.row_scores import RowScores
from dropforge.batch.scoring_contract import ScoringContract
from dropforge.batch.scoring_table import Rejects, ScoringFile, TypedRows
from dropforge.inference.predictor import Predictor
from dropforge.ingest import text_table
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.rejected_rows import Reject
from dropforge.ingest.shard_plan import Plan, Shard
from dropforge.serving.prediction_service import open_active
from dropforge.uploads import shard_calls
from dropforge.uploads.shard_calls import ShardOutcome, ShardPlace, StageTask
from dropforge.uploads.shard_stage import ShardStages
from dropforge.value_formats import NumberFormat

TYPES: Mapping[str, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class ScoringTask(StageTask):
    """`most`: rows of the whole file that may be quarantined."""

    kind: Literal["survey", "score"]
    active_uri: str
    number_formats: dict[int, NumberFormat] = Field(default_factory=dict)
    points: bool = False
    most: int = 0


class ScoringResult(ShardOutcome):
    """A survey with the first rows that cannot be used, or scores whose rows are in `part`."""

    typed: TypedRows | None = None
    first: Rejects = Field(default_factory=Rejects)
    scores: RowScores | None = None
    part: str = ""


def score_shard(upload_id: str, stage: str, number: int, ports: BatchPorts) -> None:
    """Do the task's work on its shard of this number, as shard_calls.run."""
    place = ShardPlace(upload_id, stage, number, ports.store, ports.data_bucket)
    shard_calls.run(place, lambda folder: _read(place, folder, ports))


def _read(place: ShardPlace, folder: Path, ports: BatchPorts) -> ScoringResult:
    task = ScoringTask.model_validate_json(place.task())
    contract = ScoringContract.of_shards(ports.store, task.settings_uri, task.active_uri)
    predictor = open_active(ports.store, ports.data_bucket, contract.active, ports.python)
    with _opened(place, folder, task, contract, predictor) as rows:
        if task.kind == "survey":
            rows.survey(task.number_formats, points=task.points)
            return ScoringResult(typed=rows.typed, first=rows.rejects)
        rows.read_shard(task.number_formats, task.most)
        scores = row_scores.score(predictor, rows)
        suffix = "parquet" if rows.source.format == "parquet" else "csv"
        part = keys.predictions_part(place.bucket, place.upload_id, place.number, suffix)
        ports.store.upload(rows.write(folder / "part", predictor.manifest.classes), part, content_type=TYPES[suffix])
        return ScoringResult(scores=scores, part=part)


@contextmanager
def _opened(
    place: ShardPlace, folder: Path, task: ScoringTask, contract: ScoringContract, predictor: Predictor
) -> Iterator[ScoringFile]:
    path = place.download_input(task, folder)
    options = text_table.OpenOptions(pair_quotes=False, rows=task.inputs[place.number].rows)
    with (
        closing(connect(folder)) as database,
        scoring_table.opened(
            path,
            workdir=folder,
            connection=database,
            data=contract.settings.data.model_copy(update={"csv": task.csv}),
            contract=contract.of_model(predictor.manifest),
            options=options,
        ) as rows,
    ):
        yield rows


@dataclass(frozen=True, slots=True)
class MappedFile:
    """The shards of one attempt, whose methods raise what ShardStages.results does. `rows`: the whole file, opened and not read."""

    stages: ShardStages
    rows: ScoringFile
    contract: ScoringContract

    def score(self) -> tuple[RowScores, list[str]]:
        """Of the whole file, and the parts of its predictions in file order.

        Takes the steps of ScoringFile.read. Raises RejectedUpload when the file as a whole cannot be used; then there are no parts.
        """
        formats = {} if self.rows.plain else self._decided()
        typed, first = self._surveyed(formats)
        if typed.unreadable and self.rows.plain:
            other = self._decided()
            if scoring_table.is_other(other, formats):
                formats = other
                typed, first = self._surveyed(formats)
        data = self.contract.settings.data
        text_table.check_complete(self.rows.source, typed.rows_in)
        typed.check(data, first)
        scored = self._results(kind="score", number_formats=formats, most=typed.most(data))
        every = [replace(r.scores, rejects=self._placed(s, r.scores.rejects)) for s, r in scored if r.scores]
        scores = row_scores.added(every)
        typed.check_sum(len(scores.rejects))
        return scores, [r.part for _, r in scored]

    def _decided(self) -> dict[int, NumberFormat]:
        return self.rows.decide_formats(self._surveyed({}, points=True)[0].number_formats)

    def _surveyed(self, formats: Mapping[int, NumberFormat], *, points: bool = False) -> tuple[TypedRows, Rejects]:
        results = self._results(kind="survey", number_formats=formats, points=points)
        first = Rejects(
            list(chain.from_iterable(self._placed(s, r.first.of_form) for s, r in results)),
            list(chain.from_iterable(self._placed(s, r.first.of_cells) for s, r in results)),
        )
        return scoring_table.together([r.typed for _, r in results if r.typed]), first

    def _results(self, **fields: object) -> list[tuple[Shard, ScoringResult]]:
        common = self.stages.common(self.contract.settings_uri)
        task = ScoringTask.model_validate({**common, "active_uri": self.contract.active_uri, **fields})
        results = self.stages.results(task, ScoringResult)
        return [(s, r) for s, (r, _) in zip(self._plan.shards, results, strict=True)]

    @property
    def _plan(self) -> Plan:
        return self.stages.plan

    def _placed(self, shard: Shard, rejects: list[Reject]) -> list[Reject]:
        return [replace(r, line=self._plan.line_of(shard, r.line)) for r in rejects]
