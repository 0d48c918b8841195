"""A folder of parts on the running line: the events, the wait of the workflow and the dates of the objects are the deployed ones."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dropforge import ids, keys
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store

from .conftest import with_model

pytestmark = [pytest.mark.integration, pytest.mark.drill]  # the folder's quiet time is waited for
PARTS, ROWS = 12, 1200


@pytest.fixture
def short_wait(cloud: Any, reference: dict[str, Any]) -> Iterator[None]:
    """Settings under which a folder with a _SUCCESS is complete after six seconds; those of the other tests afterwards."""
    store, text = S3Store(cloud.client("s3")), cloud.config.settings_file.read_text()
    assert "  csv:\n" in text
    changed = with_model(text, "xgboost").replace("  csv:\n", "  parts: {success_minutes: 0.1}\n  csv:\n", 1)
    settings_store.apply(store, cloud.config.data_bucket, changed.encode())
    yield
    settings_store.apply(store, cloud.config.data_bucket, text.encode())


def test_a_folder_of_parts_is_one_upload(
    short_wait: None, cloud: Any, wait: Callable[..., dict[str, Any]], adult_lines: list[str]
) -> None:
    """Twelve parts in any order, three of them sent twice, one with a bad row: one upload, one training, no row lost."""
    header, rows = adult_lines[0], adult_lines[14_000 : 14_000 + ROWS]
    bodies = ["\n".join([header, *rows[n::PARTS], ""]) for n in range(PARTS)]
    bodies[5] += rows[0] + ",surplus\n"
    order = [*range(PARTS), 2, 5, 9]
    random.Random(4).shuffle(order)
    s3, bucket = cloud.client("s3"), cloud.outputs["DataBucket"]
    for number in order:
        s3.put_object(Bucket=bucket, Key=f"incoming/sales/part-{number:05d}.csv", Body=bodies[number].encode())
    s3.put_object(Bucket=bucket, Key="incoming/sales/_SUCCESS", Body=b"")

    joined = _joined(s3, bucket)
    record = wait(ids.upload_id(bucket, joined["Key"], joined["VersionId"]))
    assert record["state"] == "concluded", record
    assert (record["rows_in"], record["rows_used"], record["rows_quarantined"]) == (ROWS + 1, ROWS, 1)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="uploads/")["Contents"]
    records = [cloud.target.api("GET", f"/uploads/{_id(o['Key'])}").json() for o in listed if _id(o["Key"])]
    assert [r["key"] for r in records if "sales" in r["key"] or r["key"].startswith(keys.JOINED)] == [joined["Key"]]
    steps = cloud.client("stepfunctions")
    executions = steps.list_executions(stateMachineArn=cloud.outputs["StateMachineArn"])["executions"]
    assert sum(e["name"].startswith(f"upload-{record['upload_id']}") for e in executions) == 1


def _joined(s3: Any, bucket: str, seconds: float = 120) -> dict[str, Any]:
    """The one version of the one joined file, when it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        versions = s3.list_object_versions(Bucket=bucket, Prefix=keys.JOINED).get("Versions", [])
        if versions:
            (only,) = versions
            return dict(only)
        time.sleep(0.5)
    raise AssertionError("the parts were not joined")


def _id(key: str) -> str:
    """The upload's id of the key of a record; empty for another object."""
    name = key.removeprefix("uploads/").removesuffix(".json")
    return name if ids.is_upload_id(name) else ""
