"""A large upload on the running line: the Distributed Map is the deployed one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store

from ..differences import differences
from .conftest import csv_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.drill,
]  # seven starts of functions; maps without the line: test_shard_map.py
SHARD_BYTES, ROWS = 30_000, 900


@pytest.fixture
def small_shards(cloud: Any, reference: dict[str, Any]) -> Iterator[Callable[[], None]]:
    """Settings under which a file of some hundred rows is large, until this is called; those of the other tests afterwards."""
    store, text = S3Store(cloud.client("s3")), cloud.config.settings_file.read_text()
    assert "shard_bytes: 256_000_000" in text
    changed = text.replace("shard_bytes: 256_000_000", f"shard_bytes: {SHARD_BYTES}")
    settings_store.apply(store, cloud.config.data_bucket, changed.encode())

    def restore() -> None:
        settings_store.apply(store, cloud.config.data_bucket, text.encode())

    yield restore
    restore()


def test_a_large_upload_is_read_by_a_map_and_reported_as_a_small_one(
    small_shards: Callable[[], None],
    cloud: Any,
    drop: Callable[..., str],
    wait: Callable[..., dict[str, Any]],
    adult_lines: list[str],
) -> None:
    """Every shard is a child of the map runs of its two stages; report, dataset id and counts are those of the same file read at
    once. The file lacks a column, so that its report blocks it and nothing is trained.
    """
    lines = [line.partition(",")[2] for line in [adult_lines[0], *adult_lines[16_000 : 16_000 + ROWS]]]
    body = csv_of([*lines, lines[1] + ",surplus"])
    record = wait(drop("large.csv", body))
    small_shards()
    whole = wait(drop("small.csv", body))
    ends = [
        [r[k] for k in ("state", "dataset_id", "rows_in", "rows_used", "rows_quarantined")] for r in (record, whole)
    ]
    assert ends[0] == ["blocked", whole["dataset_id"], ROWS + 1, ROWS, 1]
    assert ends[0] == ends[1]
    assert not differences(_report(cloud, whole), _report(cloud, record))
    runs = _map_runs(cloud, f"shards-{record['upload_id']}-")
    assert [run["status"] for run in runs] == ["SUCCEEDED"] * 2
    shards = len(body) // SHARD_BYTES
    assert all(run["itemCounts"]["succeeded"] == run["itemCounts"]["total"] >= shards for run in runs)


def _report(cloud: Any, record: dict[str, Any]) -> dict[str, Any]:
    """What it says of the data."""
    bucket, _, key = record["report_json_uri"].removeprefix("s3://").partition("/")
    report = json.loads(cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    report["intake"].pop("key")
    return {k: v for k, v in report.items() if k not in {"provenance", "previous"}}


def _map_runs(cloud: Any, prefix: str) -> list[dict[str, Any]]:
    steps = cloud.client("stepfunctions")
    executions = steps.list_executions(stateMachineArn=cloud.outputs["StateMachineArn"])["executions"]
    mine = [e["executionArn"] for e in executions if e["name"].startswith(prefix)]
    runs = [run["mapRunArn"] for arn in mine for run in steps.list_map_runs(executionArn=arn)["mapRuns"]]
    return [steps.describe_map_run(mapRunArn=run) for run in runs]
