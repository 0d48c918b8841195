"""A small table with one column of every kind, and a way to admit bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dropforge.config.settings import DataSettings, Settings, load
from dropforge.datasets.table_schema import Schema
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit

HEADER = "age,city,member,joined,label"
CITIES = ("Bern", "Oslo", "Rome")


def rows(count: int, seed: int = 1) -> list[str]:
    """CSV lines without the header."""
    rng = random.Random(seed)
    created = []
    for i in range(count):
        day = f"2024-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        created.append(
            f"{rng.randint(18, 80)},{rng.choice(CITIES)},{rng.choice(['true', 'false'])},{day},{'yes' if i % 3 else 'no'}"
        )
    return created


@pytest.fixture(scope="session")
def lines() -> list[str]:
    """Header and 200 rows."""
    return [HEADER, *rows(200)]


def settings(**data: object) -> Settings:
    import json

    value = {
        "project": "demo",
        "data": {"target": "label", "missing_markers": ["?"], **data},
        "models": [{"name": "m", "class": "a.b:C"}],
    }
    return load(json.dumps(value))  # JSON is YAML


@pytest.fixture
def data() -> DataSettings:
    """The table's settings."""
    return settings().data


Admit = Callable[..., Admission]


@pytest.fixture
def admitted(tmp_path: Path) -> Admit:
    """Admit bytes (or lines) under settings given as keywords; each call has a folder of its own."""
    count = iter(range(1000))

    def run(body: bytes | list[str], reference: Schema | None = None, name: str = "u.csv", **data: object) -> Admission:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        file = folder / name
        file.write_bytes(body if isinstance(body, bytes) else ("\n".join(body) + "\n").encode())
        return admit(file, data=settings(**data).data, reference=reference, workdir=folder)

    return run


@pytest.fixture
def reference(admitted: Admit, lines: list[str]) -> Schema:
    """Schema inferred from the table."""
    return admitted(lines).schema
