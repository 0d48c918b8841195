"""Several workers on one study, through the state machine."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dropforge.adapters.s3_store import S3Store
from dropforge_cli.commands.logs import events

pytestmark = pytest.mark.integration


def test_tuners_share_a_study_and_one_job_finishes_it(cloud: Any, reference: dict[str, Any]) -> None:
    """`workers: 2` sends two tuners of one study, then exactly one job that makes one version of the model."""
    assert reference["state"] == "concluded", reference
    upload_id = reference["upload_id"]
    (model,) = [m for m in reference["models"] if m["model"] == "random_forest"]
    assert model["run_id"]
    store, bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]
    group = f"{cloud.outputs['LogGroupPrefix']}training"
    mine = _lines(cloud.client("logs"), group, upload_id)
    assert sorted(n["worker"] for n in mine if n["message"] == "tuned") == [1, 2]
    assert sum(n["message"] == "trained" for n in mine) == 1
    folder = f"s3://{bucket}/tuning/{upload_id}-random_forest/"
    files = [json.loads(store.get(o.uri).body) for o in store.list(folder)]
    entries = [e for file in files if isinstance(file, list) for e in file]  # beside them: who adds the first trials
    assert sum(e["op_code"] == 6 and e["state"] == 1 for e in entries) == 1  # the budget's one trial, run once


def _lines(logs: Any, group: str, upload_id: str) -> list[dict[str, Any]]:
    """The model's log lines, read until the job's last one came: lines are shipped after the job has answered."""
    until = time.monotonic() + 30
    while True:
        lines = [e["line"] for e in events(logs, group, 0, upload_id)]
        mine = [n for n in lines if n.get("model") == "random_forest"]
        if any(n["message"] == "trained" for n in mine) or time.monotonic() > until:
            return mine
        time.sleep(0.3)
