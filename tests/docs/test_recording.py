"""The recording of the first page: the README's commands, cut to what a reader watches."""

from __future__ import annotations

import importlib.util
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recorder() -> Any:
    spec = importlib.util.spec_from_file_location("record_terminal", ROOT / "docs" / "pictures" / "record_terminal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_are_those_of_the_readme(recorder: Any) -> None:
    """From `init` to `predict`, on ports that are free."""
    lines = recorder.commands((ROOT / "README.md").read_text(encoding="utf-8"), [4001, 5001])
    assert [line.split("dropforge ")[1].split()[0] for line in lines] == ["init", "up", "upload", "predict"]
    assert "--port 4001 --mlflow-port 5001" in lines[1]


@pytest.mark.parametrize("seconds", [3, 90, 2000])
def test_a_recording_is_never_longer_than_a_reader_watches(recorder: Any, seconds: int) -> None:
    """Waits are cut, what remains is played faster; texts and their order stay."""
    events = [(seconds * k / 600, str(k)) for k in range(600)]
    events[300:] = [(at + 60, text) for at, text in events[300:]]
    short, pace = recorder.shortened(events)
    assert short[-1][0] <= recorder.SECONDS
    assert [text for _, text in short] == [text for _, text in events]
    assert all(a <= b for (a, _), (b, _) in pairwise(short))
    assert (pace > 1) == (seconds > 40)


def test_what_a_terminal_shows_is_recorded(recorder: Any, tmp_path: Path) -> None:
    """The folder that `cd` leads to stays, output is that of a terminal, and a command that fails ends the recording."""
    (tmp_path / "inner").mkdir()
    script = ["cd inner && test -t 1 && stty size <&1", "basename $PWD", "false", "echo never"]
    events, codes = recorder.record(script, tmp_path, {**os.environ, "TERM": "xterm"})
    assert codes == [0, 0, 1]
    text = "".join(t for _, t in events)
    assert f"{recorder.HEIGHT} {recorder.WIDTH}" in text
    assert "\ninner" in text
    assert "never\r" not in text
    head, *lines = map(json.loads, recorder.cast(events).splitlines())
    assert head["version"] == 2
    assert "".join(line[2] for line in lines) == text
