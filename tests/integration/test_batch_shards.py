"""A large batch file on the deployed Distributed Map, under the roles' own rights; functions are killed while they score."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dropforge import ids
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import NotFound
from dropforge_local import cloud as local_cloud
from dropforge_local import deploy
from dropforge_local.layout import Config

from ..conftest import ROOT, free_ports
from ..forest_bundle import Bundle, trained
from ..watcher import ended_with_this_run

pytestmark = [pytest.mark.integration, pytest.mark.own_emulator, pytest.mark.drill]
ROWS, SHARDS, KILLS = 6000, 5, 3


@dataclass(frozen=True)
class Running:
    """An emulator with the stack, and a model that is active; neither MLflow nor a worker."""

    config: Config
    store: S3Store
    bundle: Bundle

    def apply(self, shard_bytes: int) -> None:
        data = f"{{target: bought, limits: {{shard_bytes: {shard_bytes}}}}}"
        text = f"project: demo\ndata: {data}\nmodels: [{{name: m, class: a.b:C}}]\n"
        settings_store.apply(self.store, self.config.data_bucket, text.encode())

    def put(self, name: str, body: bytes) -> str:
        bucket, key = self.config.data_bucket, f"batch/{name}"
        version = deploy.client(self.config, "s3").put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
        return ids.upload_id(bucket, key, version)

    def wait(self, upload_id: str, meanwhile: Callable[[], None]) -> dict[str, Any]:
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            time.sleep(0.3)
            try:
                body = self.store.get(f"s3://{self.config.data_bucket}/uploads/{upload_id}.json").body
            except NotFound:
                continue
            record: dict[str, Any] = json.loads(body)
            if record["state"] != "received":
                return record
            meanwhile()
        raise AssertionError(f"{upload_id} comes to no end")

    def map_runs(self) -> list[dict[str, Any]]:
        steps, machine = deploy.client(self.config, "stepfunctions"), deploy.outputs(self.config)["StateMachineArn"]
        executions = steps.list_executions(stateMachineArn=machine)["executions"]
        runs = [r for e in executions for r in steps.list_map_runs(executionArn=e["executionArn"])["mapRuns"]]
        return [steps.describe_map_run(mapRunArn=r["mapRunArn"]) for r in runs]

    def functions(self) -> list[int]:
        """Processes of the function of batch files: children of this emulator."""
        emulator, found = local_cloud.emulator(self.config).pid(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                command = (folder / "cmdline").read_bytes()
            except OSError:  # it ended meanwhile
                continue
            if int(parent) == emulator and b"BatchF" in command:
                found.append(int(folder.name))
        return found

    def left(self, record: dict[str, Any]) -> tuple[int, list[list[str]], dict[str, Any], bytes]:
        """Number of parts, rows of all parts below one header, summary and quarantine, without times and addresses."""
        bucket, of_place = self.config.data_bucket, {"upload_id", "key", "predictions_uri", "parts", "scored_at"}
        summary = json.loads(self.store.get(f"s3://{bucket}/predictions/{record['upload_id']}/summary.json").body)
        texts = [self.store.get(uri).body.decode() for uri in summary["parts"]]
        tables = [list(csv.reader(io.StringIO(text, newline=""))) for text in texts]
        rows = [tables[0][0], *(row for table in tables for row in table[1:])]
        quarantined = self.store.get(f"{record['quarantine_uri']}/rows.csv").body
        return len(tables), rows, {k: v for k, v in summary.items() if k not in of_place}, quarantined


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    bundle, parameters = trained(), {"ShardsAtOnce": "2"}
    config = Config(ROOT, tmp_path, free_ports(1)[0], 1, project="shards", parameters=parameters, workers=0)
    with ended_with_this_run(config.pids):
        try:
            local_cloud.start_emulator(config)
            deploy.deploy(config)
            store = S3Store(deploy.client(config, "s3"))
            uri, text = f"s3://{config.artifact_bucket}/mlflow/1/bundle", bundle.manifest.to_json()
            store.put(f"{uri}/manifest.json", text)
            store.put(f"{uri}/model.onnx", bundle.onnx)
            active = Active("demo-forest", "1", "Production", "r1", uri, hashlib.sha256(text).hexdigest())
            ModelRecords(store, config.data_bucket).write(ModelRecord.of(active, serve="onnx", by="test"))
            ActivePointer(store, config.data_bucket).replace(active, "")
            yield Running(config, store, bundle)
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)


def _table(bundle: Bundle) -> bytes:
    """Quoted line ends in every row; a row of a wrong form and a cell that is no number."""
    rows = bundle.rows.sample(ROWS, replace=True, random_state=1)
    rows = rows.assign(id=range(ROWS), note=[f'note "{i}"\nnorth' for i in range(ROWS)])
    lines = rows.to_csv(index=False, lineterminator="\r").encode().split(b"\r")
    lines[40] += b",surplus"
    lines[2000] = b"old" + lines[2000][lines[2000].index(b",") :]
    return b"\r\n".join(lines)


@pytest.mark.timeout(1200)
def test_a_large_batch_file_is_scored_by_a_map_as_a_small_one_is(running: Running) -> None:
    """With SIGKILL to functions that score: rows, summary, quarantine and counts are those of the same file scored at once; each map
    read every shard, and the record says nothing of failures.
    """
    body, rng, killed = _table(running.bundle), random.Random(21), []
    running.apply(10**9)
    small = running.wait(running.put("small.csv", body), lambda: None)
    assert not running.map_runs()
    running.apply(len(body) // SHARDS)

    def kill() -> None:
        functions = running.functions()
        reading = any(run["itemCounts"]["running"] for run in running.map_runs())
        if reading and functions and len(killed) < KILLS and rng.random() < 0.5:
            killed.append(rng.choice(functions))
            os.kill(killed[-1], signal.SIGKILL)

    large = running.wait(running.put("large.csv", body), kill)
    ends = [[r[k] for k in ("state", "rows_in", "rows_used", "rows_quarantined", "attempts")] for r in (small, large)]
    assert ends == [["scored", ROWS, ROWS - 2, 2, 1]] * 2
    (one, *whole), (parts, *added) = running.left(small), running.left(large)
    assert (one, parts) == (1, SHARDS)
    assert added == whole
    assert len(added[0]) == ROWS - 1
    counts = [run["itemCounts"] for run in running.map_runs()]
    assert [(c["succeeded"], c["total"]) for c in counts] == [(SHARDS, SHARDS)] * 3  # surveyed, formats counted, scored
    assert killed
