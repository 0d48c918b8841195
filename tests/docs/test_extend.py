"""The diffs of docs/how-to/extend.md, applied to a copy of the code: each adds one file, and the product uses it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
DIFFS = re.findall(r"```diff\n\+\+\+ (\S+)\n(.*?)```", PAGE, flags=re.DOTALL)
SETTINGS = """
project: extended
data: {target: y, task: regression}
training: {metric: max_error}
promotion: {metric: max_error}
analysis: {warn_on: [all_zero, fewer_rows, weak_target, lower_mean]}
processing:
  - winsorize: {column: x, fraction: 0.1}
  - same_case: {column: k}
models:
  - {name: nearest, class: "models.nearest:Nearest"}
"""
HEAD = f"""
import sys
from dropforge.config.settings import load
settings = load({SETTINGS!r})
"""
USES = {
    "winsorize": """
assert "numpy" not in sys.modules  # settings are checked without it
import numpy as np, pandas as pd
from dropforge.inference import number_steps
from dropforge_training.preprocessing import transforms
from dropforge_training.preprocessing.cleaner import TableCleaner
from dropforge.datasets.table_schema import Column
steps = transforms.by_column(settings.processing, [Column(name="x", kind="number"), Column(name="k", kind="category")])
cleaner = TableCleaner(["x"], [], {}, steps=steps).fit(pd.DataFrame({"x": np.arange(101.0)}))
[(name, step)] = cleaner.number_steps_["x"]
stored = number_steps.stored(name, step)
assert stored == {"step": "winsorize", "fraction": 0.1, "low": 10.0, "high": 90.0}, stored
served = number_steps.read("x", [stored])[0].transform(np.array([-5.0, 50.0, 200.0]))
assert served.tolist() == [10.0, 50.0, 90.0]
assert cleaner.transform(pd.DataFrame({"x": [-5.0, 50.0, 200.0]}))["x"].tolist() == [10.0, 50.0, 90.0]
""",
    "same_case": """
import pandas as pd
from dropforge_training.preprocessing import transforms
from dropforge_training.preprocessing.cleaner import TableCleaner
from dropforge.datasets.table_schema import Column
steps = transforms.by_column(settings.processing, [Column(name="x", kind="number"), Column(name="k", kind="category")])
rows = pd.DataFrame({"k": ["red", "red", "Red", "blue", None]}, dtype=object)
cleaner = TableCleaner([], ["k"], {}, steps=steps).fit(rows)
assert cleaner.merged_["k"] == {"Red": "red"}, cleaner.merged_  # what the bundle's manifest stores
assert cleaner.known_["k"] == ["blue", "red"]
assert cleaner.transform(rows)["k"].tolist() == ["red", "red", "red", "blue", "(missing)"]
""",
    "all_zero": """
from pathlib import Path
from dropforge.analysis.report import build_report
rows = [f"{i % 7},0,{i % 5}" for i in range(300)]
for name in ("a", "b"):
    Path(f"{name}.csv").write_text("x,sensor,y\\n" + "\\n".join(rows) + "\\n")
report = build_report.compare_files(Path("a.csv"), Path("b.csv"), settings)
assert [f.columns for f in report.findings if f.kind == "all_zero"] == [("sensor",)], report.findings
assert report.verdict.word == "warn"
""",
    "fewer_rows": """
from pathlib import Path
from dropforge.analysis.report import build_report
for name, count in (("a", 600), ("b", 40)):
    Path(f"{name}.csv").write_text("x,y\\n" + "\\n".join(f"{i % 7},{i % 5}" for i in range(count)) + "\\n")
report = build_report.compare_files(Path("a.csv"), Path("b.csv"), settings)
assert [f.title for f in report.findings if f.kind == "fewer_rows"] == ["40 rows, the reference has 600"], report.findings
assert report.verdict.word == "warn"
""",
    "weak_target": """
from pathlib import Path
from dropforge.analysis.report import build_report
rows = [f"{i % 7},{i % 5}" for i in range(7 * 5 * 100)]
for name in ("a", "b"):
    Path(f"{name}.csv").write_text("x,y\\n" + "\\n".join(rows) + "\\n")
report = build_report.compare_files(Path("a.csv"), Path("b.csv"), settings)
assert [f.columns for f in report.findings if f.kind == "weak_target"] == [("y",)], report.findings
""",
    "lower_mean": """
from pathlib import Path
from dropforge.analysis.report import build_report
for name, unit in (("a", 10), ("b", 1)):
    Path(f"{name}.csv").write_text("x,y\\n" + "\\n".join(f"{unit * (1 + i % 70)},{i % 5}" for i in range(2000)) + "\\n")
report = build_report.compare_files(Path("a.csv"), Path("b.csv"), settings)
assert [f.columns for f in report.findings if f.kind == "lower_mean"] == [("x",)], report.findings
""",
    "max_error": """
import numpy as np
from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import of_numbers
from dropforge_training.evaluate import held_out, metrics
rows = of_numbers(np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 7.0]))
assert metrics.score("max_error", rows) == -4.0
assert metrics.score("max_error", rows, np.array([1.0, 1.0, 0.0])) == -0.5
assert held_out.evaluate_numbers(rows.y, rows.guess)["max_error"] == 4.0
""",
    "nearest": """
from dropforge_training.models.model_spec import load
assert load("models.nearest:Nearest").estimator({"n_neighbors": 5}, seed=1, jobs=1, classes=2).n_neighbors == 5
""",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core's package and the project's own folder, with every file of the page."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "layers" / "core", folder / "layers" / "core", ignore=shutil.ignore_patterns("__pycache__"))
    for path, diff in DIFFS:
        lines = diff.splitlines()
        assert all(line.startswith("+") for line in lines), "each diff adds a file and changes no other"
        target = folder / path
        assert not target.exists()
        target.parent.mkdir(exist_ok=True)
        target.write_text("\n".join(line[1:] for line in lines) + "\n", encoding="utf-8")
    return folder


def test_the_page_has_one_file_for_each() -> None:
    """A step, a check of each kind, a metric and a model: diffs of one file."""
    assert [Path(path).stem for path, _ in DIFFS] == list(USES)


def test_what_each_diff_adds_is_used(copy: Path) -> None:
    """settings.yaml may name it, and the code that fits, reports, scores or loads finds it by its file alone."""
    done = subprocess.run(  # one process for all: importing what they use takes longer than they do
        [sys.executable, "-c", "\n".join([HEAD, *USES.values()])],
        cwd=copy,
        env={"PYTHONPATH": f"{copy / 'layers' / 'core'}:{copy}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_linter_accepts_the_files(copy: Path) -> None:
    """The linter of the repository has nothing to say about the product's new files."""
    paths = [str(copy / path) for path, _ in DIFFS if path.startswith("layers/")]
    done = subprocess.run(
        [Path(sys.executable).parent / "ruff", "check", "--config", ROOT / "pyproject.toml", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
