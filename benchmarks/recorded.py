"""Result files of the benchmarks: figures together with the day, the Python and the cores they were measured with."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """What one benchmark measured. `figures` is the benchmark's own list or object."""

    figures: Any
    day: str  # YYYY-MM-DD
    python: str
    cores: int

    @property
    def sentence(self) -> str:
        """For a page: when and on what the figures were measured."""
        return f"Measured on {self.day}, Python {self.python}, {self.cores} cores."


def write(file: Path, figures: Any) -> None:
    """Write `figures` with today's date and this machine's facts."""
    document = {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count() or 1,
        "figures": figures,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Recorded | None:
    """The recorded figures; None where the benchmark has not run."""
    if not file.exists():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    return Recorded(document["figures"], document["measured_on"], document["python"], document["cores"])
