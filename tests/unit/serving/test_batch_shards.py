"""A large file to be scored, its shards in calls of their own, ends as it does when it is scored at once."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.conftest import repeats
from tests.unit.uploads.test_shard_map import Deadly, Killed

from dropforge.batch import score_file, scoring_shards
from dropforge.batch.scoring_shards import score_shard
from dropforge.config import settings_store
from dropforge.errors import Unavailable
from dropforge.uploads.upload_attempt import Invocation
from dropforge.uploads.upload_repository import UploadRecord

from .test_batch import Batch


class Sharded(Batch):
    """The step with files that are cut, and a workflow whose maps are run by `finish`."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.rng, self.deadly, self.maps = random.Random(7), False, 0

    def limit(self, shard_bytes: int, **limits: Any) -> None:
        text = json.dumps({"shard_bytes": shard_bytes, **limits})
        settings = (
            f"project: demo\ndata: {{target: bought, limits: {text}}}\nmodels: [{{name: forest, class: a.b:C}}]\n"
        )
        settings_store.apply(self.store, "bucket", settings.encode())

    def score(self, body: bytes, name: str = "rows.csv") -> UploadRecord:
        return self.finish(super().score(body, name))

    def finish(self, record: UploadRecord) -> UploadRecord:
        """The record when no map is left to run."""
        while running := self.running():
            self.maps += 1
            given = json.loads(self.workflow.payloads[running])
            for number in self.rng.sample(given["shards"], len(given["shards"])):
                self.call(given, number)
            score_file.shards_scored(given["upload_id"], given["stage"], self.ports, Invocation())
            self.workflow.executions[running] = "SUCCEEDED"
        return self.ports.book.get(record.upload_id)

    def running(self) -> str:
        return next((name for name, state in self.workflow.executions.items() if state == "RUNNING"), "")

    def call(self, given: dict[str, Any], number: int) -> None:
        """Killed at any object that is written, also twice in a row; calls behind one that ended well read nothing."""
        while self.deadly and self.rng.random() < 0.4:
            dying: Any = Deadly(self.store, self.rng.randrange(3))
            try:
                score_shard(given["upload_id"], given["stage"], number, _with_store(self.ports, dying))
            except Killed:
                continue
        for _ in range(2):
            score_shard(given["upload_id"], given["stage"], number, self.ports)

    def parts(self, record: UploadRecord) -> list[bytes]:
        return [self.store.get(uri).body for uri in self.summary(record)["parts"]]

    def rows(self, record: UploadRecord) -> list[list[str]]:
        """Header and rows of all parts, whose headers are the same."""
        tables = [list(csv.reader(io.StringIO(part.decode(), newline=""))) for part in self.parts(record)]
        assert all(table[0] == tables[0][0] for table in tables)
        return [tables[0][0], *(row for table in tables for row in table[1:])]

    def documents(self, record: UploadRecord) -> dict[str, Any]:
        """What a file leaves, without times and addresses."""
        summary = {k: v for k, v in self.summary(record).items() if k not in _OF_PLACE}
        aside = f"{record.quarantine_uri}/rows.csv"
        quarantined = self.store.get(aside).body if record.quarantine_uri else b""
        ends = (record.state, record.rows_in, record.rows_used, record.rows_quarantined, record.models, record.attempts)
        return {"summary": summary, "quarantined": quarantined, "ends": ends}


_OF_PLACE = {"upload_id", "key", "predictions_uri", "parts", "scored_at"}


def _with_store(ports: Any, store: Any) -> Any:
    return type(ports)(store, ports.book, ports.data_bucket, ports.log, ports.workflow, ports.python)


@pytest.fixture
def cut(stored: Any) -> Sharded:
    """Over a store that has an active model."""
    store, activate = stored
    activate()
    return Sharded(store)


def _plain(rows: Any) -> bytes:
    """Quoted line ends before and behind the features, rows of a wrong form, cells that are no numbers, formulas, a class."""
    marked = rows.assign(note=[f'note {i}\nwith "quotes"' for i in range(len(rows))], bought="no", sum="=1+1")
    lines = marked.to_csv(index=False, lineterminator="\r").encode().replace(b"\r", b"\r\n").split(b"\r\n")
    lines[40] += b",surplus"
    lines[200] = lines[200].replace(lines[200].split(b",")[0], b"old", 1)
    return b"\r\n".join(lines)


def _commas(rows: Any) -> bytes:
    """Decimal commas, of which the first half of the file has none."""
    ages = [f"{age:.0f}" if i < 150 else f"{age:.1f}".replace(".", ",") for i, age in enumerate(rows["age"].fillna(30))]
    return bytes(rows.assign(age=ages).to_csv(index=False, sep=";").encode())


def _unusable(rows: Any) -> bytes:
    """Rows that cannot be used, all in one piece of the file, with no other rows in one shard."""
    lines = rows.to_csv(index=False).encode().splitlines()
    lines[100:130] = [b"1," + b"2" * 150] * 15 + [b"old," + b"cook" * 40 + b",True,2020-01-01"] * 15
    return b"\n".join(lines) + b"\n"


FILES: dict[str, tuple[Callable[[Any], bytes], dict[str, Any], int]] = {
    "plain": (_plain, {"max_quarantined_share": 0.1}, 3),
    "commas": (_commas, {}, 4),
    "unusable": (_unusable, {"max_quarantined_share": 0.2}, 3),
}
CASES = [("plain", 3, True), ("commas", 2, False), ("unusable", 7, False)]
CASES += [(name, shards, True) for name in FILES for shards in (2, 7, 100)] * repeats(0, 1)


@pytest.mark.repeated
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "shards", "deadly"), CASES)
def test_the_parts_of_a_map_are_the_predictions_of_the_file(
    cut: Sharded, bundle: Any, name: str, shards: int, deadly: bool
) -> None:
    """Row for row, in the file's order, whatever the order of the shards and wherever their functions are killed; quarantine,
    summary, counts and state are those of the file scored at once. There is a part for each shard and nothing else.
    """
    (table, limits, maps), cut.deadly = FILES[name], deadly
    body = table(bundle.rows)
    cut.limit(10**9, **limits)
    whole = cut.score(body, "whole.csv")
    assert (whole.state, cut.maps) == ("scored", 0)
    cut.limit(len(body) // shards, **limits)
    record = cut.score(body, "large.csv")
    assert cut.documents(record) == cut.documents(whole)
    assert cut.rows(record) == cut.rows(whole)
    assert len(cut.rows(record)) == record.rows_used + 1
    assert cut.maps == maps
    assert any(part.count(b"\n") == 1 for part in cut.parts(record)) == (name == "unusable" and shards > 2)
    written = [o.uri.rpartition("/")[2] for o in cut.store.list(f"s3://bucket/predictions/{record.upload_id}/")]
    numbered = [f"part-{n:05d}.csv" for n in range(len(cut.parts(record)))]
    assert len(numbered) > shards // 2
    assert written == [*numbered, "summary.json"]
    assert record.predictions_uri.endswith("/summary.json")


def test_row_groups_are_scored_as_the_whole_file(cut: Sharded, bundle: Any, tmp_path: Path) -> None:
    """Parquet in, parts of Parquet out, types as they were."""
    bundle.rows.assign(id=range(300)).to_parquet(tmp_path / "rows.parquet", row_group_size=50)
    body = (tmp_path / "rows.parquet").read_bytes()
    whole = cut.score(body, "whole.parquet")
    cut.limit(1)
    record = cut.score(body, "large.parquet")
    assert cut.documents(record) == cut.documents(whole)
    tables = []
    for name, parts in (("whole", cut.parts(whole)), ("cut", cut.parts(record))):
        files = []
        for number, part in enumerate(parts):
            files.append(tmp_path / f"{name}-{number}.parquet")
            files[-1].write_bytes(part)
        listed = ", ".join(f"'{f}'" for f in files)
        relation = duckdb.connect().sql(f"SELECT * FROM read_parquet([{listed}])")
        tables.append((len(files), relation.columns, [str(t) for t in relation.types], relation.fetchall()))
    assert (tables[0][0], tables[1][0]) == (1, 6)
    assert tables[0][1:] == tables[1][1:]


def test_every_part_is_of_the_model_that_was_active_first(cut: Sharded, stored: Any, bundle: Any) -> None:
    """Whatever is activated, or applied, while the map runs."""
    body = _plain(bundle.rows)
    cut.limit(len(body) // 3, max_quarantined_share=0.1)
    record = Batch.score(cut, body, "large.csv")
    assert (record.state, record.attempts, record.lease) == ("received", 0, None)
    stored[1]("2")
    cut.limit(10**9, max_quarantined_share=0.0)
    ended = cut.finish(record)
    assert (ended.state, [m["version"] for m in ended.models], ended.rows_quarantined) == ("scored", ["1"], 2)
    assert cut.summary(ended)["model"]["version"] == "1"


@pytest.mark.parametrize("bad", [b"old,cook,True,2020-01-01", b"1,2"])
def test_too_many_bad_rows_reject_the_file_with_the_words_of_the_whole(cut: Sharded, bundle: Any, bad: bytes) -> None:
    """Nothing is scored: no part is left."""
    lines = bundle.rows.to_csv(index=False).encode().splitlines()
    for n in (9, 100, 200, 201, 250):
        lines[n] = bad
    body = b"\n".join(lines)
    cut.limit(10**9, max_quarantined_share=0.01)
    whole = cut.score(body, "whole.csv")
    cut.limit(len(body) // 3, max_quarantined_share=0.01)
    record = cut.score(body, "large.csv")
    assert record.state == whole.state == "rejected"
    assert record.reason == whole.reason
    assert record.reason is not None
    assert "5 of 300 rows cannot be read (line 10: " in record.reason.message
    assert cut.maps
    assert not list(cut.store.list("s3://bucket/predictions/"))


def test_a_shard_that_fails_for_good_ends_the_file_with_its_place(
    cut: Sharded, bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is failed, and says which bytes and lines could not be scored and why; there is no summary of the other parts."""
    body = bundle.rows.to_csv(index=False).encode()
    cut.limit(len(body) // 3)
    record = Batch.score(cut, body, "large.csv")
    survey = json.loads(cut.workflow.payloads[cut.running()])
    for number in survey["shards"]:
        cut.call(survey, number)
    cut.workflow.executions[cut.running()] = "SUCCEEDED"
    score_file.shards_scored(survey["upload_id"], survey["stage"], cut.ports, Invocation())
    given = json.loads(cut.workflow.payloads[cut.running()])
    cut.call(given, 0)

    def fails(*_args: Any, **_kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(scoring_shards.row_scores, "score", fails)
    for number in given["shards"][1:]:
        with pytest.raises(MemoryError):
            score_shard(given["upload_id"], given["stage"], number, cut.ports)
    score_file.shards_scored(given["upload_id"], given["stage"], cut.ports, Invocation())
    ended = cut.ports.book.get(record.upload_id)
    assert (ended.state, ended.reason and ended.reason.code) == ("failed", "shard_failed")
    assert ended.reason is not None
    assert "of 3 shards could not be read" in ended.reason.message or "of 4 shards" in ended.reason.message
    assert ended.reason.message.endswith(": MemoryError")
    assert not ended.predictions_uri
    assert [o for o in cut.store.list("s3://bucket/predictions/") if o.uri.endswith("summary.json")] == []


def test_an_event_that_comes_again_while_the_map_runs_starts_nothing(cut: Sharded, bundle: Any) -> None:
    """No second execution, no attempt; the execution says whose function is called."""
    body = bundle.rows.to_csv(index=False).encode()
    cut.limit(len(body) // 3)
    event = cut.put(body)
    for _ in range(4):
        record = score_file.score(event, cut.ports)
        assert (record.state, record.attempts, record.lease) == ("received", 0, None)
    (name,) = cut.workflow.executions
    assert json.loads(cut.workflow.payloads[name])["batch"] is True
    cut.ports.book.begin(record.upload_id, "another")
    with pytest.raises(Unavailable):
        score_file.shards_scored(record.upload_id, name[-16:], cut.ports, Invocation())
