"""The local cloud goes down in the middle of a training and comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dropforge_local import cloud as local_cloud

pytestmark = pytest.mark.integration


def test_an_upload_survives_a_restart_of_the_whole_cloud(
    cloud: Any, drop: Callable[..., str], wait: Callable[..., dict[str, Any]], adult_lines: list[str]
) -> None:
    """Its execution dies with the emulator; the next start takes it up again, and it concludes with one version of each model."""
    upload_id = drop("restart.csv", ("\n".join([adult_lines[0], *adult_lines[8000:9500]]) + "\n").encode())
    wait(upload_id, "training")
    local_cloud.down(cloud.config, lambda _what, _seconds: None)
    told: list[str] = []
    local_cloud.up(cloud.config, lambda what, _seconds: told.append(what))
    assert "recovery (1 uploads sent on again)" in told
    record = wait(upload_id)
    assert (record["state"], record["attempt"]) == ("concluded", 2), record
    assert record["rows_in"] == record["rows_used"] + record["rows_quarantined"] == 1500
    listed = cloud.target.api("GET", "/models").json()["models"]
    assert sorted(m["name"] for m in listed if m["upload_id"] == upload_id) == [
        "adult-income-random_forest",
        "adult-income-xgboost",
    ]
