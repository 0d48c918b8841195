"""Files that arrive together, on the running line: the wait, the question and the training are the deployed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store

from .conftest import with_model

pytestmark = [
    pytest.mark.integration,
    pytest.mark.drill,
]  # its quiet period is waited for; `make burst` sends a hundred
QUIET_MINUTES = 0.1


@pytest.fixture
def quiet(cloud: Any, reference: dict[str, Any]) -> Iterator[None]:
    """Settings with a quiet period; those of the other tests afterwards. The reference comes first: it is the first upload."""
    store, text = S3Store(cloud.client("s3")), cloud.config.settings_file.read_text()
    assert "quiet_minutes: 0 " in text
    changed = with_model(text, "xgboost").replace("quiet_minutes: 0 ", f"quiet_minutes: {QUIET_MINUTES} ")
    settings_store.apply(store, cloud.config.data_bucket, changed.encode())
    yield
    settings_store.apply(store, cloud.config.data_bucket, text.encode())


def test_part_files_are_one_training(
    quiet: None, cloud: Any, drop: Callable[..., str], wait: Callable[..., dict[str, Any]], adult_lines: list[str]
) -> None:
    """Six files one after another: one upload is trained and reads all their rows, the others name it; no row is lost."""
    header, rows = adult_lines[0], adult_lines[12_000:13_200]
    parts = [rows[n::6] for n in range(6)]
    ids = [drop(f"burst-{n}.csv", "\n".join([header, *part, ""]).encode()) for n, part in enumerate(parts)]
    records = [wait(i) for i in ids]
    assert Counter(r["state"] for r in records) == {"concluded": 1, "accepted": 5}, records
    (leader,) = (r for r in records if r["state"] == "concluded")
    assert {r["trained_by"] for r in records} - {""} == {leader["upload_id"]}
    assert sum(r["rows_in"] for r in records) == 1200
    assert sum(r["rows_used"] + r["rows_quarantined"] for r in records) == 1200
    steps = cloud.client("stepfunctions")
    listed = steps.list_executions(stateMachineArn=cloud.outputs["StateMachineArn"])["executions"]
    trained = {i for i in ids if any(e["name"].startswith(f"upload-{i}") for e in listed)}
    assert trained == {leader["upload_id"]}
