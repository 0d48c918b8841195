"""A large upload through the Distributed Map of the local cloud: time, memory of the functions, rows, with functions killed meanwhile.

    python benchmarks/analysis/shard_map.py --rows 1000000 5000000 [--shard-bytes 32000000] [--at-once 2] [--kills 3] [--json FILE]

The table is that of shards.py. Functions are processes of the emulator, `--at-once` of which read shards; `--kills` of them get
SIGKILL at random moments at which shards are read. Memory is the highest resident set of any process of the analyze function: one
that read a shard, or the one that added them up. Nothing is trained: the upload waits for approval. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.config import Config as ClientConfig

from dropforge import ids
from dropforge.adapters.s3_store import S3Store
from dropforge_local import cloud, deploy
from dropforge_local.layout import Config

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "analysis")]
import recorded  # noqa: E402 - a folder of scripts, no package
import shards  # noqa: E402 - likewise

LONGEST = 3600.0  # seconds of one upload
ENDS = {"awaiting_approval", "failed", "rejected", "blocked", "skipped"}


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(p.getsockname()[1]) for p in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def _running(home: Path, shard_bytes: int, at_once: int) -> Iterator[Config]:
    """Emulator, stack and MLflow."""
    settings = home / "settings.yaml"
    document = {
        "project": "bench",
        "data": {
            "target": "label",
            "limits": {"max_bytes": 10**12, "max_rows": 10**10, "shard_bytes": shard_bytes},
        },
        "analysis": {"approve_on": ["reference", "pass", "warn"]},
        "models": [{"name": "m", "class": "a.b:C"}],
    }
    settings.write_text(json.dumps(document))
    parameters = {"ShardsAtOnce": str(at_once)}
    config = Config(ROOT, home / "cloud", *_free_ports(2), parameters=parameters, settings=settings, workers=0)
    try:
        cloud.up(config, lambda what, seconds: print(f"{what}: {seconds:.1f} s", file=sys.stderr))
        yield config
    finally:
        cloud.down(config, lambda _what, _seconds: None)


def _functions(config: Config) -> list[int]:
    """Processes of the analyze function: children of this cloud's emulator."""
    emulator, found = cloud.emulator(config).pid(), []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            command = (status.parent / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(fields["PPid"]) == emulator and b"AnalyzeF" in command:
            found.append(int(status.parent.name))
    return found


def _peak_mb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def _map_runs(config: Config, steps: Any, upload_id: str) -> list[dict[str, Any]]:
    machine = deploy.outputs(config)["StateMachineArn"]
    mine = [
        e["executionArn"]
        for e in steps.list_executions(stateMachineArn=machine)["executions"]
        if e["name"].startswith(f"shards-{upload_id}")
    ]
    runs = [r["mapRunArn"] for arn in mine for r in steps.list_map_runs(executionArn=arn)["mapRuns"]]
    return [steps.describe_map_run(mapRunArn=arn) for arn in runs]


def run(rows: int, shard_bytes: int, at_once: int, kills: int) -> dict[str, Any]:
    rng = random.Random(rows)  # noqa: S311 - draws who is killed
    with tempfile.TemporaryDirectory() as work, _running(Path(work), shard_bytes, at_once) as config:
        file = Path(work, "new.csv")
        shards.generate(file, rows, 2)
        s3, steps = deploy.client(config, "s3"), deploy.client(config, "stepfunctions")
        s3.meta.config.merge(ClientConfig(read_timeout=120))
        S3Store(s3).upload(file, f"s3://{config.data_bucket}/incoming/new.csv")
        version = s3.head_object(Bucket=config.data_bucket, Key="incoming/new.csv")["VersionId"]
        upload_id, began = ids.upload_id(config.data_bucket, "incoming/new.csv", version), time.perf_counter()
        peak, killed, record = Counter[int](), 0, {}
        while record.get("state") not in ENDS and time.perf_counter() - began < LONGEST:
            time.sleep(1)
            record = _record(s3, config, upload_id)
            pids = _functions(config)
            for pid in pids:
                peak[pid] = max(peak[pid], _peak_mb(pid))
            reading = [r for r in _map_runs(config, steps, upload_id) if r["itemCounts"]["running"]]
            if killed < kills and reading and pids and rng.random() < 0.2:
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed += 1
        seconds = time.perf_counter() - began
        runs = _map_runs(config, steps, upload_id)
        report = _report(s3, record)
        return {
            "rows": rows,
            "bytes": file.stat().st_size,
            "shards": max((r["itemCounts"]["total"] for r in runs), default=1),
            "maps": len(runs),
            "at_once": at_once,
            "killed": killed,
            "seconds": round(seconds, 1),
            "function_peak_mb": max(peak.values(), default=0),
            "state": record.get("state"),
            **{k: record.get(k) for k in ("rows_in", "rows_used", "rows_quarantined", "dataset_id", "reason")},
            "duplicates": report.get("duplicates"),
        }


def _record(s3: Any, config: Config, upload_id: str) -> dict[str, Any]:
    try:
        body = s3.get_object(Bucket=config.data_bucket, Key=f"uploads/{upload_id}.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        return {}
    record: dict[str, Any] = json.loads(body)
    return record


def _report(s3: Any, record: dict[str, Any]) -> dict[str, Any]:
    if not record.get("report_json_uri"):
        return {}
    bucket, _, key = record["report_json_uri"].removeprefix("s3://").partition("/")
    report: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shard-bytes", type=int, default=32_000_000)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--note", default="", help="about the machine, for the page: busy, lowest priority")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lines = [run(rows, given.shard_bytes, given.at_once, given.kills) | {"note": given.note} for rows in given.rows]
    if given.json:
        before = recorded.read(given.json)
        earlier = [f for f in before.figures if f["rows"] not in given.rows] if before else []
        recorded.write(given.json, sorted([*earlier, *lines], key=lambda f: f["rows"]))
    json.dump(lines, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
