"""A store that refuses, resets, truncates, answers twice or not at all: what was asked for is done, and done once."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dropforge import ids
from dropforge.adapters.s3_store import S3Store
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import Conflict, DropforgeError, TransientError
from dropforge_training.search.study_journal import Journal
from harness.processes import s3_store
from harness.proxy import KINDS, FaultProxy
from harness.world import AppContext, table

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
ACTIVE = Active("demo-forest", "1", "Production", "r", "s3://artifacts/mlflow/b", "0" * 64)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's pauses between tries are not what is tested."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


def _fresh(name: str) -> str:
    return f"s3://data/faults/{name}-{uuid.uuid4().hex}"


@pytest.mark.promise(11, 36)
def test_every_call_comes_through_thirty_percent_of_faults(
    emulator: int, s3: S3Store, times: Times, figure: Figure, tmp_path: Path
) -> None:
    """Half 503, half reset or cut: every object put through the sick line is there, whole, and read back through it."""
    count = times(15, 200)
    faults = {"unavailable": 0.1, "refused": 0.05, "lost": 0.05, "cut": 0.1}
    bodies = {_fresh("object"): bytes([n % 256]) * 5000 for n in range(count)}
    with FaultProxy(emulator, faults, seed=11) as proxy:
        store = s3_store(proxy.port)
        for uri, body in bodies.items():
            _again(lambda uri=uri, body=body: store.put(uri, body))  # type: ignore[misc]
        for uri, body in bodies.items():
            assert _again(lambda uri=uri: store.get(uri)).body == body  # type: ignore[misc]
            assert _again(lambda uri=uri: store.download(uri, tmp_path / "x")).size == len(body)  # type: ignore[misc]
            assert (tmp_path / "x").read_bytes() == body
    spoiled = sum(n for kind, n in proxy.done.items() if kind != "none")
    assert spoiled > count / 2
    assert all(s3.get(uri).body == body for uri, body in bodies.items())
    figure(f"{count} objects through {spoiled} faults in {proxy.done.total()} requests: {count} whole, 0 lost")


@pytest.mark.promise(11)
def test_a_body_that_breaks_off_is_read_again(emulator: int, s3: S3Store, times: Times, figure: Figure) -> None:
    """The client retries requests, not bodies: three answers in ten are cut in the middle, and every read is whole."""
    count, uri, body = times(30, 300), _fresh("object"), bytes(range(256)) * 40
    s3.put(uri, body)
    with FaultProxy(emulator, {"cut": 0.3}, seed=36) as proxy:
        store = s3_store(proxy.port)
        for _ in range(count):
            assert store.get(uri).body == body
    assert proxy.done["cut"] > count / 10
    figure(f"{count} reads, {proxy.done['cut']} answers cut in the middle: {count} whole")


def _again(call: Callable[[], object], tries: int = 4) -> object:
    """As Lambda, the workflow and the worker do: what is Unavailable is asked again later."""
    for last in (*(False,) * (tries - 1), True):
        try:
            return call()
        except TransientError:
            if last:
                raise
    raise AssertionError


@pytest.mark.promise(14)
def test_a_write_whose_answer_is_lost_is_made_once(emulator: int, s3: S3Store, times: Times, figure: Figure) -> None:
    """The store wrote, its answer was lost, the client's retry meets its own write: success for the caller, no second write.

    Journal entries would otherwise be doubled, and a switch that happened would be told as lost.
    """
    count = times(12, 100)
    folder, place = _fresh("journal"), f"data/{uuid.uuid4().hex}"
    with FaultProxy(emulator, {"lost": 0.25}, seed=14) as proxy:
        store = s3_store(proxy.port)
        journal = Journal(store, folder)
        pointer, etag = ActivePointer(store, place), ""
        for n in range(count):
            journal.append([{"entry": n}])
            pointer.replace(replace(ACTIVE, number=n), etag)
            etag = ActivePointer(s3, place).read()[1]
    assert proxy.done["lost"] > count / 4
    assert [e["entry"] for e in Journal(s3, folder).read(0)] == list(range(count))
    assert ActivePointer(s3, place).read()[0].number == count - 1
    figure(f"{proxy.done['lost']} lost answers: {count} entries once each, {count} switches told as done")


@pytest.mark.promise(14)
def test_of_racing_switches_one_wins(s3: S3Store, times: Times, figure: Figure) -> None:
    """All start from the same pointer: one succeeds, all others get Conflict, and the pointer is whole."""
    count = times(16, 50)
    pointer = ActivePointer(s3, f"data/{uuid.uuid4().hex}")
    pointer.replace(ACTIVE, "")
    etag, gate = pointer.read()[1], threading.Barrier(count)

    def switch(n: int) -> str:
        gate.wait()
        try:
            pointer.replace(replace(ACTIVE, version=str(n), number=2), etag)
        except Conflict:
            return "conflict"
        return str(n)

    with ThreadPoolExecutor(count) as pool:
        messages = list(pool.map(switch, range(count)))
    winners = [w for w in messages if w != "conflict"]
    assert len(winners) == 1
    assert pointer.read()[0].version == winners[0]
    figure(f"{count} racing switches: 1 winner, {count - 1} conflicts, 0 torn")


@pytest.mark.promise(11, 6)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k in {"unavailable", "lost"} else pytest.mark.campaign) for k in KINDS if k != "held"],
)
def test_an_upload_comes_through_every_kind_of_fault(emulator: int, kind: str, times: Times, figure: Figure) -> None:
    """Analysis over a store that fails one call in five, the event delivered three times and then recovered: it trains, once."""
    count = times(1, 8)
    with FaultProxy(emulator, {kind: 0.2}, seed=6) as proxy:
        world = AppContext(s3_store(emulator))
        sick = AppContext.__new__(AppContext)
        vars(sick).update(vars(world))
        sick.store = s3_store(proxy.port)
        sick.ports = world.with_(store=sick.store, book=type(world.book)(sick.store, "data"))
        events = [world.put(f"{kind}-{uuid.uuid4().hex}.csv", table(uuid.uuid4().int % 10**12)) for _ in range(count)]
        for event in events * 3:
            try:
                sick.deliver(event)
            except DropforgeError as error:
                assert error.retryable, error
        for _ in range(3):
            sick.recover(ports=sick.ports)
    states = Counter(world.record(e).state for e in events)
    assert states == {"training": count}
    # By name: recovery also starts anew what the tests before left in this bucket, whose workflows are gone.
    own = {ids.execution_name(world.record(e).upload_id) for e in events}
    assert own <= set(world.workflow.executions)
    assert len(own) == count
    figure(f"{kind}: {count} of {count} analysed through {proxy.done[kind]} faults")
