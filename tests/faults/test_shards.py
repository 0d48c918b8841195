"""Functions that read the shards of a large upload are killed at any moment: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.uploads.analyze_upload import shards_read
from dropforge.uploads.upload_attempt import Invocation
from harness.dying import handle
from harness.processes import s3_store
from harness.world import SETTINGS, AppContext

_PROCESSES = multiprocessing.get_context("forkserver")
_LONGEST = 4.0  # seconds after which a process is killed, if it still runs; its work takes about one


def _table(rows: int) -> bytes:
    """Quoted line ends, rows that are repeated far apart, and rows that cannot be used."""
    lines = [f'{20 + i % 40},"city {i % 7}\nnorth",{i * 7919 % 9973},{("no", "yes")[i % 2]}\n' for i in range(rows)]
    lines += lines[: rows // 10]
    lines[rows // 3] = "1,2\n"
    lines[rows // 2] = 'old,"city 1\nnorth",5,no\n'
    return ("age,city,amount,label\n" + "".join(lines)).encode()


@pytest.mark.campaign  # a process for every reading of a shard
@pytest.mark.promise(6)
def test_killed_shards_lose_no_row_and_count_none_twice(
    emulator: int, s3: S3Store, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Real processes, killed with SIGKILL at random and called again as the workflow does: dataset id, rows and quarantine are those
    of the file read at once in one process.
    """
    body, rng, killed = _table(3000), random.Random(21), 0
    whole = AppContext()
    expected = whole.deliver(whole.put("large.csv", body))
    world = AppContext(s3_store(emulator))
    shards = times(3, 12)
    limited = SETTINGS.replace(
        b"{target: label}", f"{{target: label, limits: {{shard_bytes: {len(body) // shards}}}}}".encode()
    )
    settings_store.apply(world.store, "data", limited)
    try:
        event = world.put("large.csv", body)
        world.deliver(event)
        while running := [
            n for n, state in world.workflow.executions.items() if n.startswith("shards-") and state == "RUNNING"
        ]:
            given = json.loads(world.workflow.payloads[running[0]])
            killed += sum(_read(emulator, given, number, rng) for number in given["shards"])
            shards_read(given["upload_id"], given["stage"], world.ports, Invocation())
            world.workflow.executions[running[0]] = "SUCCEEDED"
    finally:
        settings_store.apply(world.store, "data", SETTINGS)
    record = world.record(event)
    assert (record.state, record.rows_in, record.rows_used, record.rows_quarantined) == ("training", 3300, 3298, 2)
    assert record.dataset_id == expected.dataset_id
    assert _quarantined(world, record) == _quarantined(whole, expected)
    figure(f"{killed} functions killed that read shards of one upload; every row of it once")


def _read(port: int, given: dict[str, Any], number: int, rng: random.Random) -> int:
    """Call for a shard until a process ends well; how many were killed. The first ones are killed after a random time."""
    payload = json.dumps({"shard": {**{k: given[k] for k in ("upload_id", "stage")}, "number": number}}).encode()
    for killed in range(10):
        process = _PROCESSES.Process(target=handle, args=(port, payload, "kill"))
        process.start()
        process.join(rng.uniform(0, _LONGEST) if killed < 2 else None)
        process.kill()
        process.join()
        if process.exitcode == 0:
            return killed
    raise AssertionError(f"shard {number} was not read")


def _quarantined(world: AppContext, record: Any) -> bytes:
    return world.store.get(f"{record.quarantine_uri}/rows.csv").body
