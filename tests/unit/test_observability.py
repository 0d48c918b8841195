"""Log lines: what a person reads, what a program finds, and what CloudWatch makes metrics of."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dropforge import observability
from dropforge.adapters.powertools_logging import PowertoolsFormatter
from dropforge.api import proxy_event
from dropforge.observability import METRICS, JsonFormatter
from dropforge_local.packaging import load_template

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "layers" / "core" / "dropforge").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
SOURCES += (ROOT / "training" / "dropforge_training").rglob("*.py")


class _Lines(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture(params=[JsonFormatter, PowertoolsFormatter])
def logged(request: pytest.FixtureRequest) -> tuple[logging.Logger, list[dict[str, Any]]]:
    """A logger with its lines, of each formatter."""
    log, lines = logging.Logger("logged"), _Lines(request.param("predict", "Dropforge/p"))
    log.addHandler(lines)
    return log, lines.lines


def test_a_metric_is_a_field_that_the_line_itself_declares(logged: tuple[logging.Logger, list[dict[str, Any]]]) -> None:
    """A line with metrics holds namespace, dimension, name, unit, time in milliseconds, and each value as a root field."""
    log, lines = logged
    with observability.context(correlation_id="u1"):
        log.info("admitted", extra={"rows_in": 3, "metrics": {"RowsIn": 3, "TrainingSeconds": 1.5}})
    (line,) = lines
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Dropforge/p"
    assert all(name in line for names in directive["Dimensions"] for name in names)
    assert {m["Name"]: (m["Unit"], line[m["Name"]]) for m in directive["Metrics"]} == {
        "RowsIn": ("Count", 3),
        "TrainingSeconds": ("Seconds", 1.5),
    }
    assert line["correlation_id"] == "u1"
    assert line["rows_in"] == 3
    assert "metrics" not in line
    assert 1.7e12 < line["_aws"]["Timestamp"] < 1e13


def test_a_line_without_metrics_declares_none(logged: tuple[logging.Logger, list[dict[str, Any]]]) -> None:
    """An ordinary line costs nothing more."""
    log, lines = logged
    log.info("hello")
    log.info("nothing counted", extra={"metrics": {}})
    assert not any("_aws" in line for line in lines)


def test_every_request_is_one_line_with_its_metrics(logged: tuple[logging.Logger, list[dict[str, Any]]]) -> None:
    """Latency and counters of a request are in its one line; a refused one is counted; counters that are zero are left out."""
    log, lines = logged
    answers = [
        proxy_event.Response({}),
        proxy_event.Response({}, metrics={"UnseenCategory": 2}),
        proxy_event.Response({}, status=422),
    ]
    for answer in answers:
        proxy_event.respond({}, log, lambda _request, answer=answer: answer, latency="PredictLatency")
    assert len(lines) == 3
    assert all(line["PredictLatency"] > 0 for line in lines)
    assert [line.get("UnseenCategory") for line in lines] == [None, 2, None]
    assert [line.get("Rejected4xx") for line in lines] == [None, None, 1]
    proxy_event.respond({}, log, lambda _request: answers[0])
    assert "PredictLatency" not in lines[-1]


def _written() -> set[str]:
    """Texts in the code, the declaration left out, that are names of metrics."""
    others = [f for f in SOURCES if f.name != "observability.py"]
    return {n.value for f in others for n in ast.walk(ast.parse(f.read_text())) if isinstance(n, ast.Constant)} & set(
        METRICS
    )


def test_every_metric_is_written_somewhere() -> None:
    """No metric is declared that no code writes."""
    assert _written() == set(METRICS)


def test_alarms_and_dashboard_look_at_metrics_that_exist() -> None:
    """Every metric of our namespace in template.yaml is one the code writes, under a service that has a log group."""
    resources = load_template(ROOT / "template.yaml")["Resources"]
    services = {n.removesuffix("Logs").lower() for n, r in resources.items() if r["Type"] == "AWS::Logs::LogGroup"}
    alarms = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    own = [a for a in alarms if a.get("Namespace") == {"Fn::Sub": "Dropforge/${ProjectName}"}]
    assert len(own) >= 3
    for alarm in own:
        assert alarm["MetricName"] in METRICS
        assert {d["Value"] for d in alarm["Dimensions"] if d["Name"] == "service"} <= services
    board = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    shown = {m[1] for w in board["widgets"] for m in w["properties"]["metrics"] if len(m) > 1 and isinstance(m[1], str)}
    assert {n for n in shown if n[0].isupper() and not n.startswith("Approximate")} <= set(METRICS)
    assert set(METRICS) <= shown


def test_alarms_stay_within_what_is_free() -> None:
    """Ten alarms are free in every account; a stack of defaults has no more, so that watching costs nothing."""
    resources = load_template(ROOT / "template.yaml")["Resources"].values()
    by_default = [r for r in resources if r["Type"] == "AWS::CloudWatch::Alarm" and r["Condition"] == "Monitored"]
    assert 0 < len(by_default) <= 10


def test_a_5xx_is_counted_for_its_version() -> None:
    """An answer of 500 is no error to Lambda: the line counts it by service, and by service and version, as the alarm asks."""
    line = json.loads(
        JsonFormatter("predict", "Dropforge/p", "7").format(
            logging.makeLogRecord({"msg": "answered", "metrics": {"Error5xx": 1, "PredictLatency": 2.0}})
        )
    )
    by = {tuple(d["Dimensions"][0]): [m["Name"] for m in d["Metrics"]] for d in line["_aws"]["CloudWatchMetrics"]}
    assert by == {("service",): ["Error5xx", "PredictLatency"], ("service", "version"): ["Error5xx"]}
    assert (line["service"], line["version"], line["Error5xx"]) == ("predict", "7", 1)
    alarm = load_template(ROOT / "template.yaml")["Resources"]["PredictVersionErrorsAlarm"]["Properties"]
    assert (alarm["MetricName"], alarm["Period"], [d["Name"] for d in alarm["Dimensions"]]) == (
        "Error5xx",
        60,
        ["service", "version"],
    )


def test_every_alarm_tells_somebody_what_to_do() -> None:
    """An alarm reaches the topic and its words say what happened and where to look."""
    resources = load_template(ROOT / "template.yaml")["Resources"]
    for name, r in resources.items():
        if r["Type"] == "AWS::CloudWatch::Alarm":
            assert r["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
            assert len(r["Properties"]["AlarmDescription"]) > 40, name


def test_a_function_near_its_timeout_is_told() -> None:
    """The alarm divides each function's longest call by that function's own timeout: 100 is the limit."""
    resources = load_template(ROOT / "template.yaml")["Resources"]
    metrics = resources["DurationAlarm"]["Properties"]["Metrics"]
    expression = next(m["Expression"] for m in metrics if "Expression" in m)
    functions = {
        m["Id"]: m["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Ref"] for m in metrics if "MetricStat" in m
    }
    divided = dict(part.split(" / ") for part in expression.removeprefix("MAX([").removesuffix("])").split(", "))
    timeouts = {i: resources[name]["Properties"]["Timeout"] for i, name in functions.items()}
    assert {i: int(by) for i, by in divided.items()} == {i: seconds * 1000 // 100 for i, seconds in timeouts.items()}
    assert set(functions.values()) == {n for n, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}


def test_the_runbook_has_a_line_for_each_alarm() -> None:
    """Whoever is woken by an alarm finds it in docs/runbook.md: what it means, where to look, what to do; no line is stale."""
    resources = load_template(ROOT / "template.yaml")["Resources"]
    alarms = {n for n, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    page = (ROOT / "docs" / "runbook.md").read_text()
    lines = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in lines} == alarms
    assert len(lines) == len(alarms)
    assert all(len(cell.split()) >= 4 for _, *cells in lines for cell in cells)


PROCESS = """
import logging, threading, warnings
import optuna
from dropforge import app_context as bootstrap
from dropforge_local.memory import MemoryStore
from dropforge.environment import Environment
from dropforge_training.search.study_journal import Journal
from dropforge_training.search.study import SharedStudy

bootstrap.create(Environment(data_bucket="d", artifact_bucket="a"))
warnings.warn("found unknown category c4n4ry")
logging.getLogger("sklearn").warning("column has %s", "c4n4ry")

def fail(*_):
    raise ValueError("could not convert string to float: c4n4ry")

study = SharedStudy(Journal(MemoryStore(), "s3://d/journal"), "s", seed=1, worker=0, workers=1).study
study.optimize(fail, n_trials=1, catch=(ValueError,))
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_libraries_and_unhandled_errors_of_a_process_log_no_message() -> None:
    """A warning, a library's logger, a failed trial of Optuna, a thread and the process itself: who and where, not what."""
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=120, check=False)
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert done.returncode == 1
    assert {line["logger"].partition(".")[0] for line in lines} == {"py", "sklearn", "optuna", "unhandled"}
    assert sum(line.get("error") == "ValueError" for line in lines) >= 3
    assert "c4n4ry" not in done.stdout + done.stderr


def test_exceptions_lose_their_messages_in_every_line(logged: tuple[logging.Logger, list[dict[str, Any]]]) -> None:
    """Kinds of errors and places are in the line; what an exception, or its cause, quotes of a request is not."""
    log, lines = logged
    try:
        try:
            float("Ada Lovelace")
        except ValueError as cause:
            raise KeyError("1815-12-10") from cause
    except KeyError:
        log.exception("unexpected error")
    text = json.dumps(lines)
    assert "Lovelace" not in text
    assert "1815" not in text
    assert lines[0]["error"] == "KeyError from ValueError"
    assert any("test_observability.py" in place for place in lines[0]["stack"])


def test_powertools_lines_say_where_and_under_which_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Location and, where tracing is on, the trace's id; the context's fields belong to one block of code alone."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
    log, lines = logging.Logger("traced"), _Lines(PowertoolsFormatter("analyze", "Dropforge/p"))
    log.addHandler(lines)
    with observability.context(correlation_id="u1"):
        log.info("inside")
    log.warning("outside")
    inside, outside = lines.lines
    assert inside["xray_trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert inside["location"].startswith("test_powertools_lines_say_where")
    assert (inside["level"], inside["service"], inside["correlation_id"]) == ("INFO", "analyze", "u1")
    assert "correlation_id" not in outside


def test_the_prediction_function_does_not_load_powertools() -> None:
    """Its cold start has no room for them: docs/adr/0003-powertools.md."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'functions' / 'predict')!r}); import app; app._log(); "
        "assert not [m for m in sys.modules if m.startswith('aws_lambda_powertools')]"
    )
    environment = {"PATH": "/usr/bin", "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
