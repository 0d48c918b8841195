"""Tables made in code, admitted, profiled and compared as in production."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Provenance, Report
from dropforge.config.settings import Settings, load
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit

Row = dict[str, object]


def settings(**analysis: object) -> Settings:
    value = {
        "project": "demo",
        "data": {"target": "label"},
        "analysis": analysis,
        "models": [{"name": "m", "class": "a.b:C"}],
    }
    return load(json.dumps(value))


@pytest.fixture(scope="session")
def table() -> Callable[..., list[Row]]:
    """Rows of one distribution: age normal, hours with ties, city and job categories, label yes or no."""

    def sample_rows(count: int, seed: int) -> list[Row]:
        rng = random.Random(seed)
        return [
            {
                "age": round(rng.gauss(40, 12), 3),
                "hours": rng.choice([20, 35, 40, 40, 40, 60]),
                "city": rng.choices(["Bern", "Oslo", "Rome", "Vaduz"], [40, 30, 29, 1])[0],
                "job": f"job {int(rng.paretovariate(1.2)) % 12}",
                "label": rng.choice(["no", "no", "yes"]),
            }
            for _ in range(count)
        ]

    return sample_rows


def _csv(rows: list[Row]) -> bytes:
    lines = [",".join(rows[0]), *[",".join("" if v is None else str(v) for v in r.values()) for r in rows]]
    return ("\n".join(lines) + "\n").encode()


References = dict[tuple[bytes, str], tuple[Admission, object]]


@pytest.fixture(scope="session")
def references() -> References:
    """Admission and profile of the reference tables seen so far: many tests compare with the same one."""
    return {}


@pytest.fixture
def compared(tmp_path: Path, references: References) -> Callable[..., Report]:
    """The report of new rows against reference rows (or of the new rows alone)."""
    numbers = iter(range(10_000))

    def admitted(rows: list[Row], reference: Admission | None, parsed: Settings) -> tuple[Admission, Path]:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "f.csv").write_bytes(_csv(rows))
        return admit(
            folder / "f.csv", data=parsed.data, reference=reference.schema if reference else None, workdir=folder
        ), folder

    def report(
        reference: list[Row] | None, new: list[Row], *, importance: dict[str, float] | None = None, **analysis: object
    ) -> Report:
        parsed = settings(**analysis)
        before = profile = None
        if reference is not None:
            key = (_csv(reference), parsed.data.model_dump_json())
            if key not in references:
                created, folder = admitted(reference, None, parsed)
                references[key] = (created, build_report.profile_of(created, folder, None))
            before, profile = references[key]  # type: ignore[assignment] # a pair of both
        fresh, folder = admitted(new, before, parsed)
        now = build_report.profile_of(fresh, folder, profile)  # type: ignore[arg-type] # as above
        return build_report.report(
            profile,
            now,
            build_report.intake_of(fresh, "incoming/new.csv"),
            parsed,
            Provenance(upload_id="u"),
            importance,
        )  # type: ignore[arg-type] # as above

    return report
