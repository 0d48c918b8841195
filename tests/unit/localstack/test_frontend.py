"""How the local cloud starts the web app."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dropforge_local import credentials, frontend
from dropforge_local.layout import Config
from dropforge_local.processes import Process

from ...conftest import free_ports


def test_it_is_given_the_login_and_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of the environment asks people who they are, and stands in no command line; files of a killed one are gone."""
    seen: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def start(_self: Process, command: Sequence[str], env: Mapping[str, str], _cwd: Path) -> int:
        seen.append((command, env))
        return 1

    monkeypatch.setattr(Process, "start", start)
    monkeypatch.setattr(frontend, "require_free", lambda *_: None)
    monkeypatch.setattr(frontend, "wait_until", lambda *_: None)
    monkeypatch.setenv("DROPFORGE_UI_PASSWORD", "open sesame")
    account = {credentials.ACCESS_KEY: "key", credentials.SECRET_KEY: "secret"}
    config = Config(tmp_path, tmp_path, 1, 2, ui_port=3, foreign_credentials=account)
    config.pids.mkdir()
    left = tmp_path / "tmp" / "frontend" / "dropforge-ui-x" / "people.csv"
    left.parent.mkdir(parents=True)
    left.write_text("a,b\n")
    frontend.start(config, {"ApiUrl": "http://127.0.0.1:1/api", "ApiKey": "k"}, {"TMPDIR": "elsewhere"})
    ((command, env),) = seen
    assert env["DROPFORGE_UI_PASSWORD"] == "open sesame"
    assert "open sesame" not in " ".join(command)
    folder = Path(env["TMPDIR"])
    assert folder == tmp_path / "tmp" / "frontend"
    assert list(folder.iterdir()) == []


def test_an_open_port_is_enough_for_a_caller_who_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The web app opens it before it can answer."""
    account = {credentials.ACCESS_KEY: "key", credentials.SECRET_KEY: "secret"}
    config = Config(tmp_path, tmp_path, 1, 2, ui_port=free_ports(1)[0], foreign_credentials=account)
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {config.ui_port})); time.sleep(60)"
    begin = Process.start

    def start(self: Process, _command: Sequence[str], env: Mapping[str, str], cwd: Path) -> int:
        return begin(self, [sys.executable, "-c", code], env, cwd)

    monkeypatch.setattr(Process, "start", start)
    try:
        frontend.start(config, {"ApiUrl": "http://127.0.0.1:1/api", "ApiKey": "k"}, {}, answering=False)
        assert not frontend.answers(config)
    finally:
        frontend.frontend(config).stop()
