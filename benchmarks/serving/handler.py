"""How fast the prediction handler is: process start to first answer, and warm calls at handler level.

Runs against the active model of the running local cloud (`make demo` first): python benchmarks/serving/handler.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD = """
import time; started = time.perf_counter()
import json, os, sys, logging
sys.path.insert(0, "functions/predict")
import app
event = json.loads(sys.argv[1]); calls = int(sys.argv[2])
real, sys.stdout = sys.stdout, open(os.devnull, "w")  # kept lines would count as memory
first = app.handler(event, None); cold = time.perf_counter() - started
assert first["statusCode"] == 200, first
took = []
for _ in range(calls):
    t = time.perf_counter(); app.handler(event, None); took.append(time.perf_counter() - t)
sys.stdout = real
import resource
print(json.dumps({"imports_and_first": cold, "took": took, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="fresh processes for the cold figure")
    parser.add_argument("--calls", type=int, default=2000, help="warm calls")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    outputs = json.loads((ROOT / ".dropforge" / "outputs.json").read_text())
    event = json.loads((ROOT / "events" / "predict.json").read_text())
    env = {
        **os.environ,
        "DATA_BUCKET": outputs["DataBucket"],
        "ARTIFACT_BUCKET": outputs["ArtifactBucket"],
        "AWS_ENDPOINT_URL": outputs["EndpointUrl"],
        "AWS_REGION": outputs["Region"],
        "AWS_DEFAULT_REGION": outputs["Region"],
        "AWS_ACCESS_KEY_ID": outputs["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": outputs["SecretAccessKey"],
        "PYTHONDONTWRITEBYTECODE": "",
    }
    colds = []
    result: dict[str, float | list[float]] = {}
    for run in range(arguments.runs + 2):
        calls = arguments.calls if run == arguments.runs + 1 else 0
        command = [sys.executable, "-c", CHILD, json.dumps(event), str(calls)]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        wall = time.perf_counter() - started
        document = json.loads(done.stdout.splitlines()[-1])
        if run == 0:
            continue  # warms the file cache and the bytecode
        if not calls:
            colds.append(wall)
        result = document
    took = sorted(result["took"])  # type: ignore[arg-type] # the list of the last run
    figures = {
        "cold_s": statistics.median(colds),
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
        "rss_mb": result["rss_mb"],
        "calls": len(took),
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(f"process start to first prediction  {figures['cold_s']:.2f} s (median of {len(colds)})")
        warm = f"p50 {figures['p50_ms']:.3f} ms   p99 {figures['p99_ms']:.3f} ms   ({len(took):,} calls)"
        print(f"warm, one row, handler level       {warm}")
        print(f"resident memory                    {figures['rss_mb']:.0f} MB")


if __name__ == "__main__":
    main()
