"""Many part files within a minute on a local cloud: are they one training, is a row lost, does a replay in any order change it?

    python tests/faults/burst.py --files 100 --seconds 60 --orders 3 --json result.json

A local cloud of its own on loopback. After the reference, FILES parts arrive within SECONDS, some of them with a broken row;
then every event is delivered again, in reverse and in shuffled orders. Exit code 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign import ROOT, SETTINGS, TERMINAL, Campaign, Sent, free_ports, say
from dropforge import ids as identity
from dropforge.adapters.mlflow_registry import MlflowRegistry
from dropforge_local import cloud
from dropforge_local.layout import Config

PART_ROWS, REFERENCE_ROWS = 60, 600
BROKEN_EVERY = 10  # so many files apart stands one with a row of too many fields


@dataclass(frozen=True)
class Seen:
    """What the cloud holds after the burst, or after a replay of its events."""

    states: dict[str, int]
    rows_in: int
    rows_used: int
    rows_quarantined: int
    trainings: int  # executions of the workflow for an upload of the burst
    rows_trained: int  # that the training read, the reference left out
    versions: int


class Burst(Campaign):
    """`sent` holds the parts, without the reference."""

    def part(self, number: int) -> bytes:
        start = 1 + REFERENCE_ROWS + PART_ROWS * number
        rows = self.lines[start : start + PART_ROWS]
        if number % BROKEN_EVERY == 0:
            rows[-1] += ",surplus"
        return ("\n".join([self.lines[0], *rows]) + "\n").encode()

    def put(self, name: str, body: bytes, rows: int) -> Sent:
        bucket, key = self.config.data_bucket, f"incoming/{name}"
        version = self.client("s3").put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
        return Sent(identity.upload_id(bucket, key, version), key, version, "table", rows)

    def reference(self) -> None:
        rows = self.lines[: REFERENCE_ROWS + 1]
        sent = self.put("reference.csv", ("\n".join(rows) + "\n").encode(), REFERENCE_ROWS)
        while self.record(sent.upload_id)["state"] not in TERMINAL:
            time.sleep(0.5)

    def arrive(self, files: int, seconds: float) -> None:
        begun = time.monotonic()
        for number in range(files):
            self.sent.append(self.put(f"part-{number:05d}.csv", self.part(number), PART_ROWS))
            time.sleep(max(0.0, begun + (number + 1) * seconds / files - time.monotonic()))

    def until_quiet(self, seconds: float) -> list[dict[str, Any]]:
        """Records once all are terminal and no invocation holds one. Nothing helps them: no recovery is called."""
        deadline = time.monotonic() + seconds
        while True:
            records = self.records()
            open_ = Counter(r["state"] for r in records if r["state"] not in TERMINAL)
            if (not open_ and not any(r["lease"] for r in records)) or time.monotonic() > deadline:
                return records
            say(f"open: {dict(open_)}")
            time.sleep(5)

    def seen(self, records: Sequence[dict[str, Any]]) -> Seen:
        ids = {s.upload_id for s in self.sent}
        pages = self.client("stepfunctions").get_paginator("list_executions")
        listed = [
            e["name"].removeprefix("upload-")[:20]
            for page in pages.paginate(stateMachineArn=self.outputs["StateMachineArn"])
            for e in page["executions"]
        ]
        leaders = [i for i in listed if i in ids]
        versions = [v for v in MlflowRegistry(self.config.mlflow_uri).versions() if v.tags.get("upload_id") in ids]
        return Seen(
            states=dict(sorted(Counter(r["state"] for r in records).items())),
            rows_in=sum(r["rows_in"] for r in records),
            rows_used=sum(r["rows_used"] for r in records),
            rows_quarantined=sum(r["rows_quarantined"] for r in records),
            trainings=len(leaders),
            rows_trained=sum(self.trained(r) for r in records if r["upload_id"] in leaders),
            versions=len(versions),
        )

    def trained(self, record: dict[str, Any]) -> int:
        """Rows of the manifest that the upload's training was given, without the reference."""
        s3, bucket = self.client("s3"), self.config.data_bucket
        key = f"datasets/{record['dataset_id']}/requests/{record['upload_id']}.json"
        request = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        at = request["dataset_uri"].removeprefix(f"s3://{bucket}/")
        parts = json.loads(s3.get_object(Bucket=bucket, Key=at)["Body"].read())["parts"]
        return sum(p["rows"] for p in parts if p["dataset_id"] != record["reference_id"])

    def replay(self, order: Sequence[Sent]) -> None:
        """Every event once more; analyze has answered all of them when this returns."""
        for sent in order:
            document = {
                "bucket": {"name": self.config.data_bucket},
                "object": {"key": sent.key, "versionId": sent.version},
            }
            event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": document}]}
            answer = self.client("lambda").invoke(
                FunctionName=self.outputs["AnalyzeFunction"], Payload=json.dumps(event)
            )
            if "FunctionError" in answer:
                raise AssertionError(answer["Payload"].read().decode())


def broken_promises(files: int, seen: Seen) -> list[str]:
    """In words; none when all were kept."""
    rows, set_aside = files * PART_ROWS, (files + BROKEN_EVERY - 1) // BROKEN_EVERY
    checks = {
        f"states {seen.states}": seen.states == {"accepted": files - 1, "concluded": 1},
        f"{seen.trainings} trainings": seen.trainings == 1,
        f"{seen.versions} versions of one model": seen.versions == 1,
        f"{rows - seen.rows_in} of {rows} rows were not counted in": seen.rows_in == rows,
        f"{seen.rows_quarantined} rows in quarantine": seen.rows_quarantined == set_aside,
        f"{seen.rows_in - seen.rows_used - seen.rows_quarantined} rows lost": seen.rows_used == rows - set_aside,
        f"{seen.rows_used - seen.rows_trained} used rows not trained on": seen.rows_trained == seen.rows_used,
    }
    return [words for words, holds in checks.items() if not holds]


def run(
    burst: Burst, files: int, seconds: float, orders: int, patience: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """One line for the burst and one for each replay; what was broken."""
    burst.up()
    burst.reference()
    begun = time.monotonic()
    burst.arrive(files, seconds)
    arrived = time.monotonic() - begun
    seen = burst.seen(burst.until_quiet(patience))
    lines = [{"what": "burst", "files": files, "arrived_s": arrived, "ended_s": time.monotonic() - begun, **vars(seen)}]
    broken = broken_promises(files, seen)
    for number in range(orders):
        order = burst.sent[::-1]
        if number:
            burst.random.shuffle(order)
        begun = time.monotonic()
        burst.replay(order)
        after = burst.seen(burst.until_quiet(patience))
        name = f"replay {number + 1}, {'shuffled' if number else 'reversed'}"
        lines.append(
            {"what": name, "files": files, "arrived_s": 0.0, "ended_s": time.monotonic() - begun, **vars(after)}
        )
        if after != seen:
            broken.append(f"{name} changed something")
    return lines, broken


def table(lines: Sequence[dict[str, Any]]) -> str:
    columns = (
        "what",
        "files",
        "arrived_s",
        "ended_s",
        "trainings",
        "versions",
        "rows_in",
        "rows_used",
        "rows_quarantined",
        "rows_trained",
        "states",
    )
    cells = [
        columns,
        *(tuple(f"{v:.0f}" if isinstance(v := line[c], float) else str(v) for c in columns) for line in lines),
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60, help="within which they arrive")
    parser.add_argument("--orders", type=int, default=3, help="replays of all events")
    parser.add_argument("--quiet-minutes", type=float, default=0.2, help="as settings.yaml has it")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--patience", type=float, default=900, help="seconds given to reach the ends")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="burst-") as folder:
        home = Path(folder)
        quiet = f"training: {{trigger: {{quiet_minutes: {given.quiet_minutes}}}}}\n"
        settings = SETTINGS.replace("history: replace", "history: append") + quiet
        (home / "settings.yaml").write_text(settings)
        port, mlflow_port = free_ports()
        config = Config(ROOT, home, port, mlflow_port, project="campaign", settings=home / "settings.yaml")
        try:
            lines, broken = run(
                Burst(config, seed=given.seed, replays=1), given.files, given.seconds, given.orders, given.patience
            )
        finally:
            cloud.down(config, lambda _what, _seconds: None)
    sys.stdout.write(table(lines) + "\n")
    if given.json:
        given.json.write_text(json.dumps({"lines": lines, "broken": broken}, indent=1) + "\n")
    say(f"broken: {broken}" if broken else "one training, no row lost, and no replay changed anything")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
