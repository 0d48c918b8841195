"""Hours of predictions over HTTP while models switch and files arrive: latencies, failures, wrong answers, memory, handles.

    python tests/faults/soak.py --minutes 120 --json soak.json

A local cloud of its own on loopback. The served bundles are constant: version n says `yes` with n/1000, so that an answer of
another version than the one it names is seen. Memory and file handles of every part of the cloud are sampled; the slope is
a least-squares line over the second half of the run, when caches are warm, with its standard error. A function's process
that the emulator replaces starts with empty caches: its line begins anew, and the number of processes is printed. Exit code 1
for a lost or wrong answer, or for a part that was never seen.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import requests

from campaign import ROOT, SETTINGS, Campaign, free_ports, say
from dropforge.adapters.s3_store import S3Store
from dropforge.deployment.active_model import ActivePointer
from dropforge.errors import DropforgeError
from dropforge_cli.target import Target
from dropforge_local import cloud
from dropforge_local.layout import Config
from harness import bundles
from harness.processes import open_files, resident_mb


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    result, queue = [], [pid]
    while queue:
        result.append(queue.pop())
        queue += parents.get(result[-1], [])
    return result


PARTS = ("worker", "predict", "control", "mlflow", "emulator")


class Sample(NamedTuple):
    """One look at a part of the cloud."""

    seconds: float
    memory_mb: float
    open_files: int
    pid: int


def sample(config: Config, now: float) -> dict[str, Sample]:
    """Part → resident MB and open files, summed over its processes."""
    document = {}
    for name, process in (("emulator", cloud.emulator), ("mlflow", cloud.mlflow), ("worker", cloud.worker)):
        pid = process(config).pid()
        memory, files = 0.0, 0
        for member in family(pid) if pid else ():
            try:
                memory, files = memory + resident_mb(member), files + open_files(member)
            except OSError:
                continue  # it ended while it was looked at
        if pid:
            document[name] = Sample(now, memory, files, pid)
        if name == "emulator" and pid:
            document |= functions(pid, now)
    return document


def functions(emulator: int, now: float) -> dict[str, Sample]:
    """The same of the oldest process of each function that is called all the time. Others come and go with the load."""
    matches: dict[str, Sample] = {}
    for member in sorted(family(emulator)):
        try:
            command = Path(f"/proc/{member}/cmdline").read_text()
            for part in ("Predict", "Control"):
                if f"-{part}Function-" in command and part.lower() not in matches:
                    matches[part.lower()] = Sample(now, resident_mb(member), open_files(member), member)
        except OSError:
            continue  # it ended while it was looked at
    return matches


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Per hour, and its standard error.

    Samples five seconds apart are no independent ones. The error counts n (1 - r) / (1 + r) of them, with r the correlation
    of residuals that follow each other (Santer et al. 2000, doi:10.1029/1999JD901105); where that leaves two or fewer there
    is none (nan).
    """
    if len(points) < 3:
        return math.nan, math.nan
    t, v = [p[0] for p in points], [p[1] for p in points]
    steep, start = statistics.linear_regression(t, v)
    rest = [y - start - steep * x for x, y in zip(t, v, strict=True)]
    squares = sum(e * e for e in rest)
    if not squares:
        return 3600 * steep, 0.0
    alike = max(0.0, sum(a * b for a, b in pairwise(rest)) / squares)
    effective = len(points) * (1 - alike) / (1 + alike)
    if effective <= 2:
        return 3600 * steep, math.nan
    mean = statistics.fmean(t)
    return 3600 * steep, 3600 * math.sqrt(squares / (effective - 2) / sum((x - mean) ** 2 for x in t))


def course(samples: list[Sample]) -> dict[str, float]:
    """Slopes over the second half, as far as the last process goes back, with what was there at the end."""
    last = samples[-1].pid
    points = [s for s in samples[len(samples) // 2 :] if s.pid == last]
    document: dict[str, float] = {"processes": len({s.pid for s in samples}), "samples": len(points)}
    for name in ("memory_mb", "open_files"):
        steep, error = slope([(s.seconds, getattr(s, name)) for s in points])
        document |= {name: round(steep, 2), f"{name}_error": round(error, 2)}
    return document | {"memory_mb_at_end": round(samples[-1].memory_mb), "open_files_at_end": samples[-1].open_files}


def _status(target: Target, path: str) -> str:
    """The status of the answer; the kind of error where none came, so that one slow answer does not end hours of measuring."""
    try:
        return str(target.call("GET", path).status_code)
    except DropforgeError as error:
        return type(error).__name__


class Soak:
    def __init__(
        self, config: Config, outputs: dict[str, str], callers: int, pause: float, samples_file: Path | None = None
    ) -> None:
        self.samples_file = samples_file
        self.config, self.outputs, self.callers, self.pause = config, outputs, callers, pause
        self.messages: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.samples: dict[str, list[Sample]] = {}
        self.stop = threading.Event()

    def call(self) -> None:
        session = requests.Session()
        session.headers.update({"x-api-key": self.outputs["ApiKey"], "Content-Type": "application/json"})
        while not self.stop.wait(self.pause):
            begun = time.perf_counter()
            try:
                answer = session.post(self.outputs["ApiUrl"] + "/predict", data=bundles.BODY, timeout=30)
                value: dict[str, Any] = answer.json()
            except (requests.RequestException, ValueError) as error:
                self.messages[f"lost: {type(error).__name__}"] += 1
                continue
            if answer.status_code != 200:
                self.messages[f"lost: {answer.status_code}"] += 1
                continue
            self.latencies.append(time.perf_counter() - begun)
            predicted = value["predictions"][0]["probabilities"]["yes"]
            right = abs(predicted - int(value["model"]["version"]) / 1000) < 1e-6
            self.messages["right" if right else "wrong"] += 1

    def run(self, seconds: float, campaign: Campaign, switch_every: float, upload_every: float) -> dict[str, Any]:
        store = S3Store(campaign.client("s3"))
        pointer, target = ActivePointer(store, self.config.data_bucket), Target(self.outputs)
        actives = [
            bundles.keep(store, f"s3://{self.config.artifact_bucket}/mlflow/soak", n, self.config.data_bucket)
            for n in range(1, 4)
        ]
        pointer.replace(actives[0], "")
        threads = [threading.Thread(target=self.call, daemon=True) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        begun, switches, uploads = time.monotonic(), 0, 0
        next_switch, next_upload, next_sample = switch_every, 0.0, 0.0
        while (now := time.monotonic() - begun) < seconds:
            if now >= next_switch:
                switches, next_switch = switches + 1, now + switch_every
                pointer.replace(actives[switches % 3], pointer.read()[1])
                for path in ("/model_info", "/uploads", "/activity?minutes=5"):
                    self.messages[f"{path.partition('?')[0]}: {_status(target, path)}"] += 1
            if now >= next_upload:
                campaign.send(uploads, 1.0)
                uploads, next_upload = uploads + 1, now + upload_every
            if now >= next_sample:
                next_sample = now + 5
                seen = sample(self.config, round(now, 1))
                for part, one in seen.items():
                    self.samples.setdefault(part, []).append(one)
                if self.samples_file:
                    with self.samples_file.open("a") as lines:
                        lines.write(json.dumps({part: s._asdict() for part, s in seen.items()}) + "\n")
            time.sleep(0.2)
        self.stop.set()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begun
        ordered = sorted(self.latencies)
        return {
            "minutes": round(took / 60, 1),
            "callers": self.callers,
            "switches": switches,
            "uploads": uploads,
            "answers": dict(self.messages),
            "per_second": round(self.messages.total() / took, 1),
            "p50_p95_p99_ms": [round(1000 * ordered[int(len(ordered) * q)], 1) for q in (0.5, 0.95, 0.99)],
            "slopes_per_hour": {part: course(self.samples[part]) for part in PARTS if part in self.samples},
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds a caller rests between calls")
    parser.add_argument("--switch-every", type=float, default=5)
    parser.add_argument("--upload-every", type=float, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--samples", type=Path, help="every sample as a JSON line, as it is taken")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        home = Path(folder)
        (home / "settings.yaml").write_text(SETTINGS)
        port, mlflow_port = free_ports()
        config = Config(ROOT, home, port, mlflow_port, project="campaign", settings=home / "settings.yaml")
        campaign = Campaign(config, seed=1, replays=1)
        try:
            campaign.up()
            soak = Soak(config, campaign.outputs, given.callers, given.pause, given.samples)
            result = soak.run(given.minutes * 60, campaign, given.switch_every, given.upload_every)
            say("soaked; waiting for the last uploads")
            settled = campaign.settle(300)
            result["upload_states"] = dict(Counter(r["state"] for r in settled))
            result["upload_reasons"] = dict(Counter(r["reason"]["code"] for r in settled if r.get("reason")))
        finally:
            cloud.down(config, lambda _what, _seconds: None)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(result))
    good = {"right", "/model_info: 200", "/uploads: 200", "/activity: 200"}
    unseen = set(PARTS) - set(result["slopes_per_hour"])
    if unseen:
        say(f"never seen: {', '.join(sorted(unseen))}")
    return 0 if set(result["answers"]) <= good and not unseen else 1


if __name__ == "__main__":
    sys.exit(main())
