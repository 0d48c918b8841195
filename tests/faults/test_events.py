"""Events that come twice, late, out of order, for nothing, or never: every object version reaches one end, once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropforge.errors import Unavailable
from dropforge.uploads.analyze_upload import analyze
from dropforge.uploads.s3_events import uploads_in
from dropforge_local.memory import MemoryWorkflow
from harness.world import AppContext, table

ROOT = Path(__file__).parents[2]
Times = Callable[[int, int], int]
Figure = Callable[[str], None]


@pytest.mark.promise(1, 10)
def test_five_deliveries_of_each_event_are_one_run(world: AppContext, times: Times, figure: Figure) -> None:
    """Uploads, each delivered five times, shuffled, four at a time: one execution and one report for each."""
    count = times(4, 200)
    world.deliver(world.put("reference.csv", table(9999)))
    events = [world.put(f"{n}.csv", table(n)) for n in range(count)]
    deliveries = events * 5
    random.Random(1).shuffle(deliveries)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(world.deliver, deliveries))
    records = [world.record(e) for e in events]
    assert Counter(r.state for r in records) == {"training": count}
    assert len(world.workflow.executions) == len(world.tracking.runs) == count + 1
    assert len({r.report_uri for r in records}) == count
    assert {r.attempts for r in records} == {1}
    figure(f"{count} uploads × 5 deliveries: {count} executions, {count} reports")


@pytest.mark.promise(1, 40)
def test_a_delivery_that_broke_off_after_the_start_is_no_second_run(
    world: AppContext, times: Times, figure: Figure
) -> None:
    """The workflow starts and its answer is lost: the deliveries that follow start it no second time."""

    class Unheard(MemoryWorkflow):
        def start(self, name: str, payload: str) -> bool:
            if super().start(name, payload):
                raise Unavailable("the answer was lost", code="unavailable", fix="try again")
            return False

    count, ports = times(3, 50), world.with_(workflow=Unheard())
    for event in [world.put(f"{n}.csv", table(n)) for n in range(count)]:
        with pytest.raises(Unavailable):
            analyze(event, ports)
        assert [analyze(event, ports).state for _ in range(4)] == ["training"] * 4
    assert len(ports.workflow.executions) == count
    figure(f"{count} uploads, each start's answer lost: {count} executions")


@pytest.mark.promise(10)
def test_deliveries_at_the_same_moment_are_one_execution(world: AppContext, times: Times, figure: Figure) -> None:
    """One event delivered by many threads at once: one of them works, the others leave it alone, one execution starts."""
    count = times(8, 50)
    event = world.put("a.csv", table(1))
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(world.deliver, [event] * count))
    assert world.record(event).state == "training"
    assert world.record(event).attempts == 1
    assert len(world.workflow.executions) == len(world.tracking.runs) == 1
    figure(f"{count} deliveries at once: 1 execution")


@pytest.mark.promise(2)
def test_the_newest_version_of_a_key_wins(world: AppContext, times: Times, figure: Figure) -> None:
    """Overwrites whose events arrive in any order: the newest version of each key is trained on, every other is skipped."""
    count, keys = times(16, 500), times(3, 50)
    world.deliver(world.put("reference.csv", table(9999)))
    events = [world.put(f"{n % keys}.csv", table(n), sequencer=f"{n:016X}") for n in range(count)]
    newest = {e.key: e for e in events}
    shuffled = list(events)
    random.Random(2).shuffle(shuffled)
    for event in shuffled:
        world.deliver(event)
    for event in events:
        record = world.record(event)
        if newest[event.key] is event:
            assert record.state == "training"
        else:
            assert (record.state, record.reason and record.reason.code) == ("skipped", "superseded")
    assert len(world.workflow.executions) == keys + 1
    figure(
        f"{count} overwrites of {keys} keys, events shuffled: newest won {keys} of {keys}, {count - keys} superseded"
    )


@pytest.mark.promise(3)
def test_any_key_survives_its_encoding(times: Times, figure: Figure) -> None:
    """A key of any Unicode text comes out of the notification as it went in."""
    count = times(100, 1000)

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
    def holds(name: str) -> None:
        key = f"incoming/{name}"
        body = {"s3": {"bucket": {"name": "b"}, "object": {"key": quote_plus(key, safe="/"), "versionId": "v"}}}
        event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", **body}]}
        assert uploads_in(event)[0].key == key

    holds()
    figure(f"{count} Unicode keys came back as they went in")


@pytest.mark.promise(4)
def test_the_test_event_is_no_upload() -> None:
    """`s3:TestEvent`, an empty event and events of other kinds name no upload and raise nothing."""
    document = json.loads((ROOT / "events" / "s3_test.json").read_text())
    removed = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "s3": {}}]}
    assert [uploads_in(e) for e in (document, {}, {"Records": []}, removed)] == [[], [], [], []]


@pytest.mark.promise(6)
def test_uploads_without_an_event_are_found(world: AppContext, times: Times, figure: Figure) -> None:
    """Events that never came: recovery finds every object version and brings each one on, overwritten ones too."""
    count = times(5, 20)
    world.deliver(world.put("reference.csv", table(9999)))
    events = [world.put(f"{n}.csv", table(n)) for n in range(count - 1)]
    events.append(world.put("0.csv", table(5000)))
    assert len(world.recover()) == count
    states = Counter(world.record(e).state for e in events)
    assert states == {"training": count - 1, "skipped": 1}
    assert world.recover() == {}
    figure(f"{count} of {count} suppressed events found")


@pytest.mark.promise(12)
def test_payloads_do_not_grow_with_the_table(world: AppContext, times: Times, figure: Figure) -> None:
    """Columns and rows travel as an address: what the workflow is given is as small for a wide table as for a narrow one."""
    width = times(60, 1000)
    line = ",".join(["1"] * (width - 1))
    header = ",".join([*(f"column_{n:05d}" for n in range(width - 1)), "label"])
    wide = "\n".join([header, *(f"{line},{'yes' if n % 2 else 'no'}" for n in range(10))]).encode()
    other = AppContext()
    states = [world.deliver(world.put("a.csv", table(1))).state, other.deliver(other.put("a.csv", wide)).state]
    assert states == ["training", "training"]
    narrow, broad = (len(next(iter(w.workflow.payloads.values()))) for w in (world, other))
    assert narrow == broad < 10_000
    figure(f"{width:,} columns: {broad:,} bytes of payload, as for 3 columns")


@pytest.mark.promise(40)
def test_an_event_of_a_deleted_object_ends_skipped(world: AppContext) -> None:
    """The object is gone before it is read: a terminal state that says so, and nothing is trained."""
    event = world.put("a.csv", table(1)).model_copy(update={"key": "incoming/gone.csv"})
    record = world.deliver(event)
    assert (record.state, record.reason and record.reason.code) == ("skipped", "deleted")
    assert world.workflow.executions == {}


@pytest.mark.promise(40)
@pytest.mark.parametrize("hours", [-48, 48])
def test_a_clock_that_jumps_makes_no_duplicate(world: AppContext, hours: int) -> None:
    """Recovery's clock is two days off in either direction: running work is not done twice, ended work stays ended."""
    running = world.deliver(world.put("a.csv", table(1)))
    ended = world.deliver(world.put("b.csv", table(2)))
    world.book.advance(ended.upload_id, "concluded")
    before = dict(world.workflow.executions)
    world.recover(timedelta(minutes=20), clock=lambda: datetime.now(UTC) + timedelta(hours=hours))
    assert world.workflow.executions == before
    assert world.book.get(running.upload_id).state == "training"
    assert world.book.get(ended.upload_id).state == "concluded"


@pytest.mark.promise(31)
def test_no_row_is_lost_whatever_the_file(world: AppContext, times: Times, figure: Figure) -> None:
    """Files with a random share of broken rows: what was used and what was quarantined add up to what came in, always."""
    count, rng = times(8, 60), random.Random(31)
    world.deliver(world.put("reference.csv", table(9999)))
    totals: Counter[str] = Counter()
    for n in range(count):
        lines = table(n, rows=rng.randint(60, 120)).decode().splitlines()
        for _ in range(rng.randint(0, 3)):
            lines.insert(
                rng.randint(1, len(lines)), rng.choice(["1,Rome,yes,9", "1,Rome", "old,Rome,yes", '1,"Ro"me,no'])
            )
        record = world.deliver(world.put(f"{n}.csv", "\n".join(lines).encode()))
        assert record.rows_in == len(lines) - 1, record.reason
        assert record.rows_in == record.rows_used + record.rows_quarantined
        totals.update({"in": record.rows_in, "used": record.rows_used, "aside": record.rows_quarantined})
    assert totals["aside"] > 0
    figure(f"{totals['in']:,} rows in = {totals['used']:,} used + {totals['aside']:,} quarantined, over {count} files")
