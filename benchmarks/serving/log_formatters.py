"""What a log line of the prediction function costs: the product's formatter beside aws-lambda-powertools' Logger, in one run.

CPU time of fresh processes, taken in turns, so that other work on the machine weighs on both alike. Prints JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

RUNS = 15
# What the function has loaded by then is loaded before the clock starts.
START = "import time, json, logging, sys, datetime, contextvars, traceback, functools, boto3; s = time.process_time()\n"
LEAN = (
    START
    + """
from dropforge import observability
log = observability.logger("predict", "INFO", "Dropforge/p", "7")
"""
)
POWERTOOLS = (
    START
    + """
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
log = Logger(service="predict", level="INFO")
metrics = Metrics(namespace="Dropforge/p", service="predict")
"""
)
LEAN_LINE = """
with observability.context(correlation_id="c6af9ac6"):
    log.info("answered", extra={"method": "POST", "resource": "/predict", "status": 200, "milliseconds": 1.2,
                                "metrics": {"PredictLatency": 1.234}})
"""
POWERTOOLS_LINE = """
log.set_correlation_id("c6af9ac6")
log.info("answered", extra={"method": "POST", "resource": "/predict", "status": 200, "milliseconds": 1.2})
metrics.add_metric("PredictLatency", MetricUnit.Milliseconds, 1.234)
metrics.flush_metrics()
"""
LOOP = """
first = time.process_time() - s
import os
times = []
for _ in range(3000):
    b = time.process_time_ns()
{line}
    times.append(time.process_time_ns() - b)
sys.stderr.write(json.dumps([first * 1000, sorted(times)[1500] / 1e6]))
"""


def _measure(setup: str, line: str) -> tuple[float, float]:
    indented = "\n".join("    " + one for one in line.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", setup + line + LOOP.replace("{line}", indented)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    first, each = json.loads(done.stderr)
    return first, each


def main() -> None:
    """Print the medians."""
    results: dict[str, list[tuple[float, float]]] = {"lean": [], "powertools": []}
    for _ in range(RUNS):
        results["lean"].append(_measure(LEAN, LEAN_LINE))
        results["powertools"].append(_measure(POWERTOOLS, POWERTOOLS_LINE))
    print(
        json.dumps(
            {
                name: {
                    "cold_start_ms": round(statistics.median(r[0] for r in rows), 1),
                    "line_ms": round(statistics.median(r[1] for r in rows), 4),
                }
                for name, rows in results.items()
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
