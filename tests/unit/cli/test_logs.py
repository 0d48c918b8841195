"""logs: nothing is passed over in silence, and following costs the same after a day."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from dropforge_cli import checks
from dropforge_cli.commands import logs as logs_command
from dropforge_cli.main import app
from dropforge_cli.target import Target


class _Logs:
    """A logs client: one line a reading, or an error by its code."""

    def __init__(self, code: str = "") -> None:
        self.code, self.since = code, list[int]()

    def filter_log_events(self, **query: Any) -> dict[str, Any]:
        self.since.append(query["startTime"])
        if self.code:
            raise ClientError({"Error": {"Code": self.code}}, "FilterLogEvents")
        at = 1_800_000_000_000 + 60_000 * len(self.since)
        line = {"message": f"line {len(self.since)}", "timestamp": str(at)}
        return {"events": [{"timestamp": at, "eventId": str(at), "message": json.dumps(line)}]}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> _Logs:
    client = _Logs()

    class Found(Target):
        def client(self, service: str) -> Any:
            assert service == "logs"
            return client

    monkeypatch.setattr(Target, "find", classmethod(lambda _cls: Found({"LogGroupPrefix": "/dropforge/p/"})))
    return client


@pytest.mark.parametrize(("code", "word"), [("AccessDeniedException", "denied"), ("ThrottlingException", "Throttling")])
def test_a_refused_reading_is_an_error(client: _Logs, code: str, word: str) -> None:
    """`dropforge logs` that may not read, or is throttled, ends with an error that says so, not with "no lines"."""
    client.code = code
    done = CliRunner().invoke(app, ["logs", "--service", "analyze"])
    assert done.exit_code != 0
    assert word in done.output + str(done.exception)
    assert "no lines" not in done.output


def test_a_log_nobody_wrote_to_is_empty(client: _Logs) -> None:
    """A group that is not there yet is no error."""
    client.code = "ResourceNotFoundException"
    assert CliRunner().invoke(app, ["logs"]).exit_code == 0


def test_following_reads_what_is_new(client: _Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading begins shortly before the newest line shown, and no more lines are remembered than lie behind that."""
    readings = iter(range(5))

    def sleep(_seconds: float) -> None:
        if next(readings, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(logs_command.time, "sleep", sleep)
    done = CliRunner().invoke(app, ["logs", "--follow", "--service", "analyze"])
    assert re.findall(r"line (\d)", done.output) == ["1", "2", "3", "4", "5", "6"]
    assert client.since[1:] == [1_800_000_000_000 + 60_000 * n - 15_000 for n in range(1, 6)]


def test_doctor_tells_a_log_that_it_cannot_read(client: _Logs) -> None:
    """A denied log is a finding of its own, not "no error in the last hour"."""
    client.code = "AccessDeniedException"
    matches = list(checks.errors(Target.find()))
    assert {f.level for f in matches} == {"bad"}
    assert all("FilterLogEvents" in f.fix for f in matches)
