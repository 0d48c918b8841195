"""A model that answers tells nobody else of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

PROCESS = """
import pathlib, sys, time
from dropforge.inference.predictor import open_bundle
folder = pathlib.Path(sys.argv[1])
predictor = open_bundle((folder / "manifest.json").read_bytes(), (folder / "model.onnx").read_bytes())
predictor.predict([{"age": 40.0, "job": "nurse", "member": True, "joined": "2021-01-01"}])
time.sleep(0.5)
"""


def test_the_graphs_runtime_keeps_and_sends_no_telemetry(bundle: Any, tmp_path: Path) -> None:
    """A process that serves a bundle leaves its home directory as it was: without its opt-out the library keeps a database
    there of what it is about to send.
    """
    (tmp_path / "manifest.json").write_bytes(bundle.manifest.to_json())
    (tmp_path / "model.onnx").write_bytes(bundle.onnx)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", PROCESS, str(tmp_path)], check=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}
    )
    assert list(home.rglob("*")) == []
