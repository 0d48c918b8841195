"""Progress of a search, told while it runs."""

from __future__ import annotations

import logging
import threading
from typing import Any

from dropforge.errors import Unavailable
from dropforge_training.progress import Reporter
from dropforge_training.tuning import Progress

LOG = logging.getLogger("test")


class Server:
    """Takes figures when the gate is open; `away` makes it fail."""

    def __init__(self, *, away: bool = False) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.gate = threading.Event()
        self.asked = threading.Event()
        self._away = away

    def log_progress(self, trial: int, figures: dict[str, float]) -> None:
        self.asked.set()
        self.gate.wait(10)
        if self._away:
            raise Unavailable("MLflow is away")
        self.told.append((trial, figures))


def test_the_newest_figures_arrive_and_old_ones_do_not_queue_up() -> None:
    """While the server is busy with trial 1 the search goes on to trial 9; then it hears of trial 9 alone."""
    server = Server()
    with Reporter(server, LOG) as tell:
        tell(Progress(1, 10, None, 30.0))
        server.asked.wait(10)
        for n in range(2, 10):
            tell(Progress(n, 10, 0.9, 30.0 - n))
        server.gate.set()
    assert [t for t, _ in server.told] == [1, 9]
    assert server.told[1][1] == {"tuning.progress": 0.9, "tuning.seconds_left": 21.0, "tuning.best_so_far": 0.9}
    assert "tuning.best_so_far" not in server.told[0][1]


def test_a_server_that_is_away_holds_nothing_up() -> None:
    """Neither an error nor a server that never answers stops the search or its end."""
    away = Server(away=True)
    away.gate.set()
    with Reporter(away, LOG) as tell:
        tell(Progress(1, 2, 0.5, 1.0))
    deaf: Any = Server()
    with Reporter(deaf, LOG, patience=0.01) as tell:
        tell(Progress(1, 2, 0.5, 1.0))
    assert deaf.told == []
    deaf.gate.set()
