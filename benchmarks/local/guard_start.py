"""What the guard of the local cloud adds to the emulator's start: MiniStack alone, and behind our gateway, by turns.

    make bench-guard                       20 starts of each; medians of seconds until the health check answers

Each start is a new process on a free port with an empty state folder. Processor seconds stand beside: on a busy machine they say more
than the clock.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ALONE = """
import asyncio, sys
from ministack.app import app
from hypercorn.asyncio import serve
from hypercorn.config import Config
config = Config()
config.bind, config.loglevel = [f"127.0.0.1:{sys.argv[1]}"], "WARNING"
asyncio.run(serve(app, config))
"""
_LIMIT_SECONDS = 120.0


def main() -> None:
    """Medians and quartiles as JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="starts of each; 20")
    parser.add_argument("--json", type=Path, help="write it there as well")
    given = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {"alone": [], "guarded": []}
    _start("alone"), _start("guarded")  # compiled and in the page cache
    for run in range(given.runs):
        for kind in sorted(times, reverse=run % 2 == 1):  # neither is always the first
            times[kind].append(_start(kind))
        sys.stderr.write(f"\r{run + 1}/{given.runs}")
    sys.stderr.write("\n")
    result: dict[str, Any] = {"runs": given.runs, "load": os.getloadavg()[0]}
    for kind, pairs in times.items():
        seconds = [wall for wall, _ in pairs]
        result[kind] = {
            "seconds": round(statistics.median(seconds), 3),
            "quartiles": [round(q, 3) for q in statistics.quantiles(seconds, n=4)[::2]],
            "processor_seconds": round(statistics.median(cpu for _, cpu in pairs), 3),
        }
    result["added_seconds"] = round(result["guarded"]["seconds"] - result["alone"]["seconds"], 3)
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if given.json:
        given.json.write_text(text, encoding="utf-8")


def _start(kind: str) -> tuple[float, float]:
    """Seconds, and processor seconds, of one start until the health check answers."""
    with tempfile.TemporaryDirectory(prefix="dropforge-guard-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        guarded = ["-m", "dropforge_local.emulator", "--port", port, "--credentials", f"{folder}/credentials"]
        command = [sys.executable, *(guarded if kind == "guarded" else ["-c", _ALONE, port])]
        state = {"STATE_DIR": f"{folder}/state", "S3_DATA_DIR": f"{folder}/s3", "PERSIST_STATE": "1", "S3_PERSIST": "1"}
        env = {**os.environ, **state, "AUTH": "true", "IOT_MTLS_ENABLED": "0", "GATEWAY_PORT": port}
        began = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not _answers(int(port)):
                if process.poll() is not None or time.perf_counter() - began > _LIMIT_SECONDS:
                    raise SystemExit(f"error: the emulator ({kind}) did not start")
                time.sleep(0.005)
            wall = time.perf_counter() - began
            return wall, _processor_seconds(process.pid)
        finally:
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _processor_seconds(pid: int) -> float:
    """User and system time: fields 14 and 15 of /proc/pid/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
