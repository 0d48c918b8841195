"""Lists of many uploads: requests to S3 and seconds of /health, /uploads, /quarantine and recovery over a full bucket.

    python benchmarks/uploads/index.py [--uploads 20000] [--root CHECKOUT --code before] [--repeats 20] [--json FILE] [--dynamodb]

Starts an emulator of its own on loopback, writes the records (ten of them in training, every hundredth with quarantined rows), and
calls the product's own functions in a process of their own, with the S3 adapter. `--root` measures another checkout of this
repository, one without the index too. A question is asked until `--repeats` or a minute are over, once at least. `--json` replaces
the figures of `--code` and these questions in the file and keeps the others. `--dynamodb` measures the alternative: a table on
demand with the same lines and an index by time. Prints JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]
import recorded  # noqa: E402 - a folder of scripts, no package

PORT = 4599
OPEN = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def emulator(port: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=env, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2)
                    break
                except OSError:
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def client(service: str, port: int) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
    return boto3.client(service, endpoint_url=f"http://127.0.0.1:{port}", config=config)


def record(number: int, count: int) -> dict[str, Any]:
    """A record as it is after its end, with the fields that make it large."""
    at = (START + timedelta(seconds=30 * number)).isoformat(timespec="milliseconds")
    states = ["received", "analysed", "training", *([] if number >= count - OPEN else ["concluded"])]
    return {
        "upload_id": f"{number:020x}",
        "bucket": "data",
        "key": f"incoming/{number % 500}.csv",
        "version": str(number),
        "state": states[-1],
        "history": [{"state": s, "at": at} for s in states],
        "rows_in": 1000,
        "rows_used": 990,
        "rows_quarantined": 0 if number % 100 else 10,
        "quarantine_uri": "" if number % 100 else "s3://data/quarantine/x",
        "dataset_id": f"{number:016x}",
        "gate": {"reasons": ["the served model stays, by its own figures on the same held-out rows"] * 3},
        "models": [
            {"model": m, "version": "1", "metrics": {f"metric_{i}": 0.5 for i in range(12)}} for m in ("a", "b")
        ],
    }


def _classes() -> tuple[Any, Any, Any]:
    """Store, repository and record of the checkout that is measured."""
    try:
        from dropforge.adapters.s3_store import S3Store
        from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
    except ModuleNotFoundError:  # one from before the index
        from dropforge.adapters.s3 import S3Store as OldStore  # type: ignore[import-not-found]  # of the older checkout

        from dropforge.uploads import UploadBook  # type: ignore[attr-defined]  # of the older checkout
        from dropforge.uploads import UploadRecord as OldRecord  # type: ignore[attr-defined]  # of the older checkout

        return OldStore, UploadBook, OldRecord
    return S3Store, UploadRepository, UploadRecord


def seed(port: int, count: int) -> None:
    """Records and, where the checkout has one, their index; written as the product names them."""
    store_class, repository, record_class = _classes()

    s3 = client("s3", port)
    s3.create_bucket(Bucket="data")
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    book = repository(store_class(s3), "data")

    # One connection without boto3: the emulator is one thread, and 80,000 requests through the client take minutes.
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def put(key: str, body: bytes) -> None:
        connection.request("PUT", f"/data/{key}", body=body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"PUT {key}: {answer.status}")

    for number in range(count):
        body = record_class.model_validate(record(number, count))
        put(f"uploads/{body.upload_id}.json", body.model_dump_json().encode())
        if hasattr(book, "index"):
            index = book.index
            names = {
                index.by_time(body.upload_id, body.received_at),
                index.by_key(body.upload_id, body.received_at, body.key),
            }
            for uri in names | book._entries(body):
                put(uri.removeprefix("s3://data/"), b"")
    if hasattr(book, "index"):
        book.point_to_newest()
        progress = {"indexed": 1000}  # nothing is left of versions without an index
        s3.put_object(Bucket="data", Key="uploads/recovery.json", Body=json.dumps(progress).encode())
    s3.put_object(Bucket="data", Key="config/settings.yaml", Body=(ROOT / "settings.yaml").read_bytes())


def measure(port: int, count: int, repeats: int, only: str) -> list[dict[str, Any]]:
    """Requests by operation and seconds (median, 95th percentile) of each question."""
    store_class, repository, _ = _classes()
    s3, calls = client("s3", port), Counter[str]()

    def count_request(request: Any, **_: Any) -> None:
        calls[
            f"{request.method} {'list' if 'list-type' in request.url or 'versions' in request.url else 'object'}"
        ] += 1

    s3.meta.events.register("before-send.s3.*", count_request)
    store = store_class(s3)
    book = repository(store, "data")
    s3.head_bucket(Bucket="data")  # the client's own first call takes most of a second
    figures: list[dict[str, Any]] = []
    for name, question in _questions(store, book, count).items():
        if not any(part in name for part in only.split(",")):
            continue
        times, requests, began = [], Counter[str](), time.perf_counter()
        while len(times) < repeats and (time.perf_counter() - began < 60 or not times):
            calls.clear()
            started = time.perf_counter()
            question()
            times.append(time.perf_counter() - started)
            requests = Counter(calls)
        times.sort()
        p95 = times[math.ceil(0.95 * len(times)) - 1]  # the nearest rank
        figures.append(
            {
                "question": name,
                "uploads": count,
                "requests": sum(requests.values()),
                "by_kind": dict(requests),
                "median_ms": round(times[len(times) // 2] * 1000, 1),
                "p95_ms": round(p95 * 1000, 1),
                "repeats": len(times),
            }
        )
    return figures


def _questions(store: Any, book: Any, count: int) -> dict[str, Callable[[], Any]]:
    running, log = {f"upload-{n:020x}": "RUNNING" for n in range(count - OPEN, count)}, logging.getLogger("benchmark")
    if not hasattr(book, "index"):
        return _older_questions(store, book, running, log)
    from dropforge.uploads import resubmit, upload_queries
    from dropforge.uploads.recovery import RecoveryPorts, recover
    from dropforge.uploads.upload_ports import Ports
    from dropforge_local.memory import MemoryQueue, MemoryRegistry, MemoryTracking, MemoryWorkflow
    from dropforge_local.memory_function import MemoryEventQueue

    workflow, tracking = MemoryWorkflow(), MemoryTracking()
    workflow.executions = running
    nobody = MemoryEventQueue()
    ports = RecoveryPorts(Ports(store, workflow, book, lambda _: tracking, "data", "artifacts", log), nobody, nobody)
    requested = upload_queries.HealthPorts(lambda: store, MemoryRegistry, MemoryQueue, lambda: book, "data", log)
    return {
        "GET /health": lambda: upload_queries.health(requested),
        "GET /uploads (= dropforge uploads)": lambda: upload_queries.uploads(book),
        "GET /uploads?key=": lambda: upload_queries.uploads(book, "incoming/7.csv"),
        "GET /quarantine": lambda: resubmit.listed(book, upload_queries.PAGE),
        "recovery": lambda: recover(ports),
    }


def _older_questions(
    store: Any, book: Any, running: dict[str, str], log: logging.Logger
) -> dict[str, Callable[[], Any]]:
    """The same of a checkout from before the index, whose modules have other names."""
    from dropforge.steps import browse, mend  # type: ignore[import-not-found]  # of the older checkout
    from dropforge.steps.reporting import Ports  # type: ignore[import-not-found]  # of the older checkout
    from dropforge.steps.sweep import sweep  # type: ignore[import-not-found]  # of the older checkout

    from dropforge.adapters import memory  # type: ignore[attr-defined]  # of the older checkout

    workflow, tracking = memory.MemoryWorkflow(), memory.MemoryTracking()
    workflow.executions = running
    ports = Ports(store, workflow, book, lambda _: tracking, "data", "artifacts", log)
    parts = {
        "store": store,
        "registry": memory.MemoryRegistry(),
        "queue": memory.MemoryQueue(),
        "book": book,
        "bucket": "data",
    }
    return {
        "GET /health": lambda: browse.health(**parts),
        "GET /uploads (= dropforge uploads)": lambda: browse.uploads(book),
        "GET /uploads?key=": lambda: browse.uploads(book, "incoming/7.csv"),
        "GET /quarantine": lambda: mend.listed(book),
        "recovery": lambda: sweep(ports, older_than=timedelta(minutes=20)),
    }


def dynamodb(port: int, count: int, repeats: int) -> dict[str, Any]:
    """A page of 50 lines from a table on demand, whose index by time holds the lines."""
    table = client("dynamodb", port)
    table.create_table(
        TableName="uploads",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": a, "AttributeType": "S"} for a in ("upload_id", "all", "received_at")],
        KeySchema=[{"AttributeName": "upload_id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_time",
                "KeySchema": [
                    {"AttributeName": "all", "KeyType": "HASH"},
                    {"AttributeName": "received_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    for first in range(0, count, 25):
        items = [_item(record(n, count)) for n in range(first, min(count, first + 25))]
        table.batch_write_item(RequestItems={"uploads": [{"PutRequest": {"Item": item}} for item in items]})
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        page = table.query(
            TableName="uploads", IndexName="by_time", Limit=50, ScanIndexForward=False,
            KeyConditionExpression="#a = :a", ExpressionAttributeNames={"#a": "all"}, ExpressionAttributeValues={":a": {"S": "1"}},
        )  # fmt: skip
        if len(page["Items"]) != 50:
            raise SystemExit("the table gave no whole page")
        times.append(time.perf_counter() - started)
    times.sort()
    return {
        "page of 50": {
            "requests": 1,
            "median_ms": round(times[len(times) // 2] * 1000, 1),
            "p95_ms": round(times[math.ceil(0.95 * len(times)) - 1] * 1000, 1),
        }
    }


def _item(line: dict[str, Any]) -> dict[str, Any]:
    shown = {k: {"S": str(line[k])} for k in ("upload_id", "key", "state", "rows_used", "dataset_id")}
    return {**shown, "all": {"S": "1"}, "received_at": {"S": line["history"][0]["at"]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=20_000)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--code", choices=("before", "after"), default="after", help="which code --root is")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--only", default="", help="questions whose name holds one of these texts, comma-separated")
    parser.add_argument("--dynamodb", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.update(CREDENTIALS)
    os.environ.pop("AWS_PROFILE", None)
    if given.child:
        seed(given.port, given.uploads)
        print(json.dumps(measure(given.port, given.uploads, given.repeats, given.only)))
        return
    with emulator(given.port):
        if given.dynamodb:
            print(json.dumps(dynamodb(given.port, given.uploads, given.repeats), indent=1))
            return
        path = os.pathsep.join(str(given.root / p) for p in ("layers/core", "training", "cli", "localstack"))
        command = [sys.executable, __file__, "--child", "--port", str(given.port)]
        command += ["--uploads", str(given.uploads), "--repeats", str(given.repeats), "--only", given.only]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
        )
    figures = [{"code": given.code, **f} for f in json.loads(done.stdout)]
    print(json.dumps(figures, indent=1))
    if given.json:
        known = recorded.read(given.json)
        replaced = {(f["code"], f["question"]) for f in figures}
        others = [f for f in known.figures if (f["code"], f["question"]) not in replaced] if known else []
        recorded.write(given.json, sorted([*others, *figures], key=lambda f: f["code"], reverse=True))


if __name__ == "__main__":
    main()
