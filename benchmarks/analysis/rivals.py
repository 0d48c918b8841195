"""Two files compared, by `dropforge analyze` and by others, in the same run: wall and CPU time, peak memory, size of the report.

python benchmarks/analysis/rivals.py [--only adult million kdd] [--systems dropforge evidently] [--rounds 3] [--json FILE]

Every system is a whole process that reads two CSV files and writes an HTML report, in an environment of its own below
.cache/bench (made on first use), pinned to the same two cores. Evidently runs its drift preset alone, which does less than
we do; ydata-profiling profiles both files and compares them. Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parent))
import kdd

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "bench"
CORES = {0, 1}
LIMIT_SECONDS = 900
LINE = "{system:16} {dataset:12} {rows:>11,} rows  {wall_s:>7.2f} s  {cpu_s:>7.2f} s CPU  {peak_mb:>6.0f} MB  {report_kb:>7.0f} kB"
PACKAGES = {
    "evidently": ["evidently==0.7.23", "pandas<3"],
    "ydata-profiling": ["ydata-profiling==4.18.4", "setuptools<80", "pandas<3"],
    "skrub": ["skrub==0.11.0", "matplotlib", "pandas<3"],  # of report_pictures.py
}
PROGRAMS = {
    "evidently": """
import sys, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
old, new, out = sys.argv[1:]
Report([DataDriftPreset()]).run(pd.read_csv(new), pd.read_csv(old)).save_html(out)
""",
    "ydata-profiling": """
import sys, pandas as pd
from ydata_profiling import ProfileReport
old, new, out = sys.argv[1:]
first = ProfileReport(pd.read_csv(old), title="reference", progress_bar=False)
first.compare(ProfileReport(pd.read_csv(new), title="new", progress_bar=False)).to_file(out, silent=True)
""",
}


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    old: Path
    new: Path
    rows: int
    settings: Path
    systems: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=("adult", "million", "ten_million", "kdd"), default=None)
    parser.add_argument("--systems", nargs="*", default=None, help="these only; other figures in FILE stay")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, CORES & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    figures = []
    for task in tasks(arguments.only):
        for system in (s for s in task.systems if s in (arguments.systems or task.systems)):
            rounds = 1 if task.rows > 2_000_000 else arguments.rounds
            figures.append(measure(system, task, rounds))
            print(LINE.format(**figures[-1]), flush=True)
    if arguments.json:
        earlier = recorded.read(arguments.json) if arguments.systems else None
        new = {(f["system"], f["dataset"]): f for f in [*(earlier.figures if earlier else []), *figures]}
        recorded.write(arguments.json, list(new.values()))


def tasks(only: list[str] | None) -> list[Task]:
    """Makes the files that are not there yet."""
    everyone = ("dropforge", *PROGRAMS)
    wanted = only or ["adult", "million", "kdd", "ten_million"]
    adult = fetch(ROOT / ".cache" / "data")
    created = []
    if "adult" in wanted:
        created.append(Task("adult", adult.reference, adult.new, 48_842, ROOT / "settings.yaml", everyone))
    if "million" in wanted:
        old, new = resampled(adult.reference, 1_000_000, 1), resampled(adult.reference, 1_000_000, 2)
        created.append(Task("adult_2x1m", old, new, 2_000_000, ROOT / "settings.yaml", everyone))
    if "kdd" in wanted:
        old, new, settings = kdd.files(ROOT / ".cache" / "data")
        created.append(Task("census_kdd", old, new, 299_285, settings, everyone))
    if "ten_million" in wanted:
        old, new = resampled(adult.reference, 10_000_000, 3), resampled(adult.reference, 1_000_000, 2)
        created.append(Task("adult_10m_1m", old, new, 11_000_000, ROOT / "settings.yaml", ("dropforge",)))
    return created


def resampled(source: Path, rows: int, seed: int) -> Path:
    """Rows of a file drawn with replacement."""
    file = CACHE / f"{source.stem}-{rows}-{seed}.csv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        db = duckdb.connect()
        db.execute(
            f"CREATE TABLE t AS SELECT *, row_number() OVER () - 1 AS n FROM read_csv('{source}', all_varchar = true)"
        )
        (count,) = db.execute("SELECT count(*) FROM t").fetchone() or (0,)
        db.execute(
            f"COPY (SELECT t.* EXCLUDE (n) FROM (SELECT hash(i + {seed} * 7919) % {count} AS n FROM range({rows}) r(i)) "
            f"JOIN t USING (n)) TO '{part}' (FORMAT csv, HEADER true)"
        )
        part.rename(file)
    return file


def interpreter(system: str) -> Path:
    """The system's own environment, made on first use."""
    folder = CACHE / system
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if not (folder / "ready").exists():
        print(f"installing {', '.join(PACKAGES[system])}", file=sys.stderr)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PACKAGES[system]]
        subprocess.run(command, check=True)
        (folder / "ready").touch()
    return python


def measure(system: str, task: Task, rounds: int) -> dict[str, object]:
    """Medians over the rounds; one round more at the start warms the disk cache and is thrown away."""
    runs, size = list[Run](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.html"
        if system == "dropforge":
            program = Path(sys.executable).with_name("dropforge")
            command = [program, "analyze", task.old, task.new, "--out", out, "--settings", task.settings]
        else:
            command = [interpreter(system), "-c", PROGRAMS[system], task.old, task.new, out]
        for _ in range(rounds + (task.rows < 100_000)):
            runs.append(run([str(c) for c in command]))
            size = out.stat().st_size / 1000
    if task.rows < 100_000:
        runs = runs[1:]
    return {
        "system": system,
        "dataset": task.name,
        "rows": task.rows,
        "wall_s": round(statistics.median(r.wall_s for r in runs), 3),
        "cpu_s": round(statistics.median(r.cpu_s for r in runs), 3),
        "peak_mb": round(statistics.median(r.peak_mb for r in runs), 1),
        "report_kb": round(size, 1),
    }


class Run(NamedTuple):
    """A process: its wall seconds, its CPU seconds of all threads, in user and system mode, and its peak resident memory."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: list[str]) -> Run:
    """Run to its end."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        # Compiled modules are kept between runs, as they are on a user's machine.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=env)
        alarm = threading.Timer(LIMIT_SECONDS, child.kill)
        alarm.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        alarm.cancel()
        if status:
            errors.seek(0)
            raise SystemExit(f"{command[0]} failed: {errors.read().decode(errors='replace')[-2000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
