"""Uploads, each delivered several times, while worker, emulator and MLflow are killed at random: is anything lost or doubled?

    python tests/faults/campaign.py --uploads 200 --replays 5 --seed 7 --json result.json

A local cloud of its own on loopback, in a folder of its own. Files are small slices of the Adult data: most are tables to
train on or repeats of one; some have broken rows, some are no tables, some overwrite an earlier key. Only processes that
this cloud started are killed, by pid. Exit code 1 when a promise is broken.
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
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge import ids
from dropforge.errors import DropforgeError
from dropforge_cli.example_data import fetch
from dropforge_local import cloud, deploy
from dropforge_local.layout import Config

ROOT = Path(__file__).parents[2]
TERMINAL = {"concluded", "accepted", "rejected", "blocked", "failed", "skipped", "stored"}
MODELS = "models:\n  - {name: logistic_regression, class: dropforge_training.models.logistic_regression:LogisticRegression,\n"
SETTINGS = f"""\
project: campaign
data:
  target: income
  positive_class: ">50K"
  missing_markers: ["?"]
  history: replace
  limits: {{max_quarantined_share: 0.5}}
analysis: {{block_on: []}}
{MODELS}     budget: {{trials: 1, seconds: 5}}}}
"""


@dataclass(frozen=True)
class Sent:
    """One object version that S3 acknowledged."""

    upload_id: str
    key: str
    version: str
    kind: str
    rows: int


class Campaign:
    def __init__(self, config: Config, *, seed: int, replays: int) -> None:
        self.config, self.replays = config, replays
        self.random = random.Random(seed)
        self.lines = fetch(ROOT / ".cache" / "data").reference.read_text(encoding="utf-8").splitlines()
        self.kills: Counter[str] = Counter()
        self.sent: list[Sent] = []
        self.outputs: dict[str, str] = {}
        self._mending = threading.RLock()  # one repair at a time

    # --- the cloud -----------------------------------------------------------------------------------------------------
    def up(self) -> None:
        with self._mending:
            self.outputs = cloud.up(self.config, lambda _what, _seconds: None)

    def client(self, service: str) -> Any:
        return deploy.client(self.config, service)

    def patiently(self, call: Callable[[], Any]) -> Any:
        """Until the emulator is there again: what a client does whose call was not acknowledged."""
        deadline = time.monotonic() + 300
        while True:
            try:
                return call()
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    # --- what is sent --------------------------------------------------------------------------------------------------
    def file(self, number: int, train: float) -> tuple[str, bytes, str, int]:
        """Name, bytes, kind and rows of upload `number`."""
        draw, start = self.random.random(), 1 + 60 * number
        rows = self.lines[start : start + self.random.randint(50, 60)]
        name = f"{number}.csv"
        if draw < train / 2 or number == 0:
            kind = "table"
        elif draw < train * 0.8:
            kind = "broken rows"
            for _ in range(self.random.randint(1, 5)):
                rows.insert(self.random.randrange(len(rows)), self.random.choice(["1,2", rows[0] + ",surplus"]))
        elif draw < train:
            kind, name = "overwrite", f"{self.random.randrange(number)}.csv"
        elif draw < train + (1 - train) * 0.6:
            kind, rows = "repeat", self.lines[1:51]
        else:
            return name, self.random.choice([b"", b"\x89PNG\r\n\x1a\n" + bytes(99), b"PAR1" + bytes(99)]), "no table", 0
        return name, ("\n".join([self.lines[0], *rows]) + "\n").encode(), kind, len(rows)

    def send(self, number: int, train: float) -> None:
        name, body, kind, rows = self.file(number, train)
        bucket, key = self.config.data_bucket, f"incoming/{name}"
        put = lambda: self.client("s3").put_object(Bucket=bucket, Key=key, Body=body)  # noqa: E731
        version = self.patiently(put)["VersionId"]
        sent = Sent(ids.upload_id(bucket, key, version), key, version, kind, rows)
        self.sent.append(sent)
        for _ in range(self.replays - 1):
            self.patiently(lambda: self.deliver(sent))

    def deliver(self, sent: Sent) -> None:
        """The event once more, as S3 itself may."""
        document = {"bucket": {"name": self.config.data_bucket}, "object": {"key": sent.key, "versionId": sent.version}}
        event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": document}]}
        self.client("lambda").invoke(
            FunctionName=self.outputs["AnalyzeFunction"], InvocationType="Event", Payload=json.dumps(event)
        )

    # --- what is broken ------------------------------------------------------------------------------------------------
    def kill(self, what: str) -> None:
        process = {"worker": cloud.worker, "emulator": cloud.emulator, "mlflow": cloud.mlflow}[what](self.config)
        pid = process.pid()
        if pid is None:
            return
        (os.killpg if what == "mlflow" else os.kill)(pid, signal.SIGKILL)  # the MLflow server has a child that serves
        self.kills[what] += 1
        time.sleep(self.random.uniform(0.2, 2))
        for _ in range(3):
            try:
                self.up()
                return
            except DropforgeError as error:
                say(f"up again: {error.message[:300]}")
                time.sleep(2)

    def chaos(self, plan: list[str], pause: float, stop: threading.Event) -> None:
        for what in plan:
            if stop.wait(self.random.uniform(0.5, 1.5) * pause):
                return
            self.kill(what)
            say(f"killed {what}")

    # --- the end -------------------------------------------------------------------------------------------------------
    def record(self, upload_id: str) -> dict[str, Any]:
        s3 = self.client("s3")
        try:
            body = s3.get_object(Bucket=self.config.data_bucket, Key=f"uploads/{upload_id}.json")["Body"].read()
        except s3.exceptions.NoSuchKey:
            return {"state": "unheard", "upload_id": upload_id}
        return dict(json.loads(body))

    def records(self) -> list[dict[str, Any]]:
        return [self.patiently(lambda s=s: self.record(s.upload_id)) for s in self.sent]

    def recover(self) -> None:
        """The scheduled one, sooner."""
        with self._mending:
            try:
                cloud.recover(self.config, self.outputs, older_than_minutes=0.5)
            except Exception as error:
                say(f"recovery: {error}")

    def settle(self, seconds: float) -> list[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while True:
            records = self.records()
            open_ = Counter(r["state"] for r in records if r["state"] not in TERMINAL)
            say(f"open: {dict(open_)}")
            if not open_ or time.monotonic() > deadline:
                return records
            time.sleep(15)
            self.recover()

    def judge(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """What was promised, counted."""
        from dropforge.adapters.mlflow_registry import MlflowRegistry

        versions = MlflowRegistry(self.config.mlflow_uri).versions()
        by_upload = Counter((v.name, v.tags.get("upload_id")) for v in versions)
        concluded = {r["upload_id"] for r in records if r["state"] == "concluded"}
        counted = [r for r in records if r["state"] in TERMINAL]
        read = {s.upload_id: s.rows for s in self.sent}
        admitted = [r for r in counted if r["rows_in"]]
        return {
            "uploads": len(self.sent),
            "replays": self.replays,
            "kills": dict(self.kills),
            "kinds": dict(Counter(s.kind for s in self.sent)),
            "states": dict(Counter(r["state"] for r in records)),
            "codes": dict(Counter((r.get("reason") or {}).get("code", "-") for r in records)),
            "failures": [r["reason"]["message"][:300] for r in records if r["state"] == "failed"],
            "attempts": dict(Counter(r.get("attempt", 0) for r in records)),
            "not_terminal": len(records) - len(counted),
            "rows_in": sum(r["rows_in"] for r in counted),
            "rows_used": sum(r["rows_used"] for r in counted),
            "rows_quarantined": sum(r["rows_quarantined"] for r in counted),
            "rows_lost": sum(abs(r["rows_in"] - read[r["upload_id"]]) for r in admitted)
            + sum(abs(r["rows_in"] - r["rows_used"] - r["rows_quarantined"]) for r in counted),
            "versions": len(versions),
            "duplicate_versions": sum(n - 1 for n in by_upload.values()),
            "concluded_without_version": len(concluded - {u for _, u in by_upload}),
        }


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def free_ports() -> tuple[int, int]:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--replays", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", default="worker=6,emulator=3,mlflow=3")
    parser.add_argument("--pause", type=float, default=20, help="mean seconds between kills")
    parser.add_argument("--train", type=float, default=0.4, help="share of uploads that bring new rows")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds between uploads")
    parser.add_argument("--settle", type=float, default=1200, help="seconds given to reach the ends")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    plan = [w for part in given.kills.split(",") if part for w in [part.split("=")[0]] * int(part.split("=")[1])]
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        home = Path(folder)
        (home / "settings.yaml").write_text(SETTINGS)
        port, mlflow_port = free_ports()
        config = Config(ROOT, home, port, mlflow_port, project="campaign", settings=home / "settings.yaml")
        campaign = Campaign(config, seed=given.seed, replays=given.replays)
        campaign.random.shuffle(plan)
        started = time.monotonic()
        try:
            campaign.up()
            stop = threading.Event()
            chaos = threading.Thread(target=campaign.chaos, args=(plan, given.pause, stop))
            chaos.start()
            for number in range(given.uploads):
                campaign.send(number, given.train)
                time.sleep(given.pace)
            say("all sent")
            chaos.join()
            campaign.up()
            result = campaign.judge(campaign.settle(given.settle))
        finally:
            stop.set()
            cloud.down(config, lambda _what, _seconds: None)
    result |= {"seed": given.seed, "seconds": round(time.monotonic() - started)}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(result))
    broken = [k for k in ("not_terminal", "rows_lost", "duplicate_versions", "concluded_without_version") if result[k]]
    say(f"broken: {broken}" if broken else "every upload ended, no row lost, no version twice")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
