"""A file that kills whatever process works on it: it fails with its reason, and nothing waits behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from dropforge import retry_limits
from dropforge.adapters.s3_store import S3Store
from dropforge.uploads.recovery import RecoveryPorts, recover
from dropforge_local.memory_function import MemoryEventQueue
from harness.dying import ProcessFunction
from harness.processes import s3_store
from harness.world import AppContext, table

Times = Callable[[int, int], int]
Figure = Callable[[str], None]


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "how", ["memory", *(pytest.param(how, marks=pytest.mark.campaign) for how in ("exit", "kill"))]
)
def test_a_deadly_upload_fails_and_the_younger_ones_finish(
    emulator: int, s3: S3Store, how: str, times: Times, figure: Figure
) -> None:
    """Real processes die of it, by os._exit, by SIGKILL or for want of memory; recovery ends it after its attempts, the others long
    before. The last attempt that can still speak says why itself.
    """
    world = AppContext(s3_store(emulator))
    analyze = ProcessFunction(emulator, how)
    ports = RecoveryPorts(world.ports, analyze, MemoryEventQueue())
    recover(ports, older_than=timedelta(0))  # what other tests left in this bucket
    analyze.sent.clear()
    seed = 7000 + 50 * ["exit", "kill", "memory"].index(how)
    poison = world.put(f"deadly-{how}.csv", b"age,city,label\npoison,poison,poison\n")
    younger = [world.put(f"younger-{how}-{n}.csv", table(seed + n)) for n in range(times(1, 5))]
    died = 0
    for number in range(retry_limits.ATTEMPTS + 1):
        recover(ports, older_than=timedelta(0))
        mine = [p for p in analyze.sent if "deadly" in p or "younger" in p]
        analyze.sent = mine
        died += analyze.deliver().count(False)
        if number == 0:
            assert {world.record(e).state for e in younger} == {"training"}
    ended = world.record(poison)
    spoke = how == "memory"
    assert (ended.state, ended.attempts, died) == ("failed", retry_limits.ATTEMPTS, retry_limits.ATTEMPTS - spoke)
    assert ended.reason is not None
    assert ended.reason.code == ("out_of_memory" if spoke else "out_of_memory_or_time")
    assert "split the file" in ended.reason.fix
    logging.getLogger("faults").info(ended.reason.message)
    figure(f"{died} processes killed by one upload ({how}); {len(younger)} behind it finished in the first recovery")
