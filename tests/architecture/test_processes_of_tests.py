"""How the tests are spread over processes: what one group starts is started once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TWO_FILES = """
import os
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range(4))
@pytest.mark.xdist_group("%s")
def test_where(number):
    Path("processes").joinpath(f"%s-{os.getpid()}").touch()
"""


def test_a_group_of_tests_runs_in_one_process(tmp_path: Path) -> None:
    """As `make test` starts it: a local cloud, a trained model and an import of Gradio are paid once, not once a process."""
    (tmp_path / "processes").mkdir()
    for name in ("first", "second"):
        (tmp_path / f"test_{name}.py").write_text(_TWO_FILES % (name, name))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2", "--dist", "loadgroup"]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    plain["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none of them has a part in it, and each process would import all
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name.partition("-")[0] for p in (tmp_path / "processes").iterdir()) == ["first", "second"]
