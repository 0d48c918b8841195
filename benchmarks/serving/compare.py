"""The prediction function under Lambda's runtime client beside `mlflow models serve` of the same model version.

Needs the running local cloud with a model active (`make demo`): python benchmarks/serving/compare.py [--json FILE]
Each system alone, one after the other: process start to first answer, one row and 100 rows one at a time, throughput at 1 and at 8
callers, resident memory. At 8 callers Lambda has 8 instances, so does the function here; MLflow has its one server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

sys.path.insert(0, str(Path(__file__).parent))
from runtime import ROOT, RuntimeApi, environment, event_of, function, resident_mb

from dropforge_cli.example_data import fetch
from dropforge_cli.target import Target

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

CALLERS = 8
GATEWAY_RATE = 40  # requests a second, below the usage plan's 50
Call = Callable[[], float]  # one request; seconds it took
EMPTY = "def handler(event, context):\n    return {'statusCode': 200, 'headers': {}, 'body': '{}'}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--starts", type=int, default=3, help="process starts for the cold figure")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    target = Target.find()
    rows = _rows(100)
    figures: list[dict[str, Any]] = []
    parts: tuple[Callable[[], list[dict[str, Any]]], ...] = (
        lambda: floor(arguments.seconds),
        lambda: dropforge(target, rows, arguments.seconds, arguments.starts),
        lambda: mlflow(target, rows, arguments.seconds, arguments.starts),
        lambda: gateway(target, rows, arguments.seconds),
    )
    for part in parts:
        for f in part():
            figures.append(f)
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in f.items()), flush=True)
        if arguments.json:
            recorded.write(arguments.json, figures)


def _rows(count: int) -> list[dict[str, Any]]:
    """Rows nobody trained on the reference of, as a caller sends them."""
    lines = fetch(ROOT / ".cache" / "data").new.read_text(encoding="utf-8").splitlines()
    header = [c.strip() for c in lines[0].split(",")]
    rows = []
    for line in lines[1 : count + 1]:
        texts = [None if t.strip() in {"?", ""} else t.strip() for t in line.split(",")]
        rows.append({c: int(t) if t and t.lstrip("-").isdigit() else t for c, t in zip(header, texts, strict=True)})
    for row in rows:
        row.pop("income", None)
        row.pop("fnlwgt", None)
    return rows


def floor(seconds: float) -> list[dict[str, Any]]:
    """A handler that does nothing: what the runtime interface itself takes."""
    api = RuntimeApi()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_text(EMPTY)
        started = time.perf_counter()
        with function(api, Path(folder), {"PATH": os.environ["PATH"]}) as process:
            api.invoke(event_of({}))
            cold = time.perf_counter() - started
            figure = _measured("runtime, empty handler", 1, 1, [lambda: api.invoke(event_of({}))[0]], seconds)
            return [{**figure, "cold_s": cold, "rss_mb": resident_mb(process.pid)}]


def dropforge(target: Target, rows: list[dict[str, Any]], seconds: float, starts: int) -> list[dict[str, Any]]:
    env, folder = environment(target.outputs), ROOT / "functions" / "predict"
    one, hundred = event_of({"records": rows[:1]}), event_of({"records": rows})
    colds = []
    for _ in range(starts + 1):  # the first one compiles
        api = RuntimeApi()
        started = time.perf_counter()
        with function(api, folder, env):
            _checked(api.invoke(one)[1])
            colds.append(time.perf_counter() - started)
    api = RuntimeApi()
    matches = []
    with ExitStack() as stack:
        process = stack.enter_context(function(api, folder, env))
        for event, count in ((one, 1), (hundred, len(rows))):
            figure = _measured("dropforge", count, 1, [lambda e=event: api.invoke(e)[0]], seconds)
            matches.append({**figure, "cold_s": statistics.median(colds[1:]), "rss_mb": resident_mb(process.pid)})
        others = [stack.enter_context(function(api, folder, env)) for _ in range(CALLERS - 1)]
        for _ in range(CALLERS * 20):
            api.invoke(one)
        figure = _measured("dropforge", 1, CALLERS, [lambda: api.invoke(one)[0]] * CALLERS, seconds)
        memory = sum(resident_mb(p.pid) for p in (process, *others))
        matches.append({**figure, "cold_s": statistics.median(colds[1:]), "rss_mb": memory})
    return matches


def _checked(body: bytes) -> None:
    answer = json.loads(body)
    if answer.get("statusCode") != 200:
        raise RuntimeError(f"no prediction: {answer}")


def mlflow(target: Target, rows: list[dict[str, Any]], seconds: float, starts: int) -> list[dict[str, Any]]:
    model = target.api("GET", "/model_info").json()["model"]
    uri = f"models:/{model['name']}/{model['version']}"
    one, hundred = ({"dataframe_records": r} for r in (rows[:1], rows))
    colds = []
    for _ in range(starts):
        started = time.perf_counter()
        with _server(target, uri) as (port, _process):
            _until(lambda p=port: _posted(p, one))
            colds.append(time.perf_counter() - started)
    matches = []
    with _server(target, uri) as (port, process):
        _until(lambda: _posted(port, one))
        for body, count, callers in ((one, 1, 1), (hundred, len(rows), 1), (one, 1, CALLERS)):
            calls = [_http(f"http://127.0.0.1:{port}/invocations", body, {}) for _ in range(callers)]
            figure = _measured("mlflow models serve", count, callers, calls, seconds)
            matches.append({**figure, "cold_s": statistics.median(colds), "rss_mb": resident_mb(process.pid)})
    return matches


@contextmanager
def _server(target: Target, uri: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": target.outputs["MlflowUrl"],
        "MLFLOW_S3_ENDPOINT_URL": target.outputs["EndpointUrl"],
        "AWS_ACCESS_KEY_ID": target.outputs["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": target.outputs["SecretAccessKey"],
        "AWS_DEFAULT_REGION": target.outputs["Region"],
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield port, process
        finally:
            os.killpg(process.pid, 15)
            process.wait(20)


def gateway(target: Target, rows: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """POST /predict through the local cloud's API Gateway, with the key: what a client of it waits.

    One caller with a pause between requests: without it even one meets the usage plan's limit, as it should.
    """
    headers = {"x-api-key": target.outputs["ApiKey"]}
    matches = []
    for given in (rows[:1], rows):
        ask = _http(f"{target.outputs['ApiUrl']}/predict", {"records": given}, headers)

        def call(ask: Call = ask) -> float:
            time.sleep(1 / GATEWAY_RATE)
            return ask()

        figure = _measured("dropforge, emulated API Gateway", len(given), 1, [call], seconds)
        matches.append({**figure, "cold_s": None, "rss_mb": None})
    return matches


def _http(url: str, body: Any, headers: dict[str, str]) -> Call:
    """A caller with a connection of its own that stays open."""
    at = urlparse(url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=60)
    raw = json.dumps(body).encode()
    sent = {"content-type": "application/json", **headers}

    def call() -> float:
        started = time.perf_counter()
        try:
            connection.request("POST", at.path, raw, sent)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):  # an idle connection was closed: once more on a new one
            connection.close()
            connection.request("POST", at.path, raw, sent)
            answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status} {content[:500]!r}")
        return time.perf_counter() - started

    return call


def _posted(port: int, body: Any) -> bool:
    try:
        _http(f"http://127.0.0.1:{port}/invocations", body, {})()
    except (OSError, http.client.HTTPException):
        return False
    return True


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("no answer within three minutes")
        time.sleep(0.01)


def _measured(system: str, rows: int, callers: int, calls: list[Call], seconds: float) -> dict[str, Any]:
    """Warm up, then call for so long: quantiles of the time of one call, calls a second of all callers."""
    for call in calls:
        for _ in range(20):
            call()
    took: list[list[float]] = [[] for _ in calls]
    ends = time.perf_counter() + seconds

    failed: list[BaseException] = []

    def work(mine: list[float], call: Call) -> None:
        try:
            while time.perf_counter() < ends:
                mine.append(call())
        except Exception as error:
            failed.append(error)

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=pair) for pair in zip(took, calls, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    if failed:
        raise failed[0]
    every = sorted(s for mine in took for s in mine)
    return {
        "system": system,
        "rows": rows,
        "concurrency": callers,
        "p50_ms": every[len(every) // 2] * 1000,
        "p99_ms": every[min(len(every) - 1, int(len(every) * 0.99))] * 1000,
        "per_s": len(every) / wall,
    }


if __name__ == "__main__":
    main()
