"""The shards of a large upload, surveyed and admitted by maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dropforge.ingest.shard_reading import Decided, ShardRows, ShardSurvey
from dropforge.uploads.shard_stage import ShardStages
from dropforge.uploads.shard_tasks import ShardResult, ShardTask
from dropforge.value_formats import NumberFormat


@dataclass(frozen=True, slots=True)
class ShardMap:
    """The ShardReader of one attempt; raises what ShardStages.results does. `reference_id`: empty for a first upload."""

    stages: ShardStages
    settings_uri: str
    reference_id: str

    def survey(self, number_formats: Mapping[int, NumberFormat], *, points: bool) -> list[ShardSurvey]:
        """As ShardReader."""
        task = self._task(kind="survey", number_formats=dict(number_formats), points=points)
        return [
            replace(result.survey, unique={c: folder / f.name for c, f in result.survey.unique.items()})
            for result, folder in self.stages.results(task, ShardResult)
            if result.survey
        ]

    def admit(self, decided: Decided, accepted: Sequence[int]) -> list[ShardRows]:
        """As ShardReader."""
        named = replace(decided, repeated={c: Path(f.name) for c, f in decided.repeated.items()})
        task = self._task(kind="admit", decided=named)
        inputs = [i.model_copy(update={"accepted": n}) for i, n in zip(task.inputs, accepted, strict=True)]
        task = task.model_copy(update={"inputs": tuple(inputs)})
        files = {f.name: f for f in decided.repeated.values()}
        results = self.stages.results(task, ShardResult, files)
        return [replace(r.rows, file=folder / r.rows.file.name) for r, folder in results if r.rows]

    def _task(self, **fields: object) -> ShardTask:
        common = self.stages.common(self.settings_uri)
        reference = {"reference": self.stages.file.reference, "reference_id": self.reference_id}
        return ShardTask.model_validate({**common, **reference, **fields})
