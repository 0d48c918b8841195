"""The drill: a backup of the running system, another system with nothing in it, and the same predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropforge.adapters.mlflow_registry import MlflowRegistry
from dropforge_cli.archive import Archive
from dropforge_cli.commands.backup import create, put_back
from dropforge_local import cloud as local_cloud
from dropforge_local.layout import Config

from ..watcher import ended_with_this_run

pytestmark = [pytest.mark.integration, pytest.mark.own_emulator, pytest.mark.drill]
ROWS = 1000


def _quiet(_what: str, _seconds: float) -> None:
    """Progress of a start."""


@pytest.fixture
def empty(cloud: Any, tmp_path: Path, free: Callable[[int], list[int]]) -> Iterator[Config]:
    """A local cloud of the same name in a folder of its own: no upload, no model, no worker."""
    port, mlflow_port = free(2)
    config = replace(cloud.config, home=tmp_path / "other", port=port, mlflow_port=mlflow_port, workers=0)
    with ended_with_this_run(config.pids):
        try:
            yield config
        finally:
            local_cloud.down(config, _quiet)


def _predictions(cloud: Any, rows: list[dict[str, str]]) -> list[Any]:
    answer = cloud.target.call("POST", "/predict", json={"records": rows})
    assert answer.status_code == 200, answer.text
    response: list[Any] = answer.json()["predictions"]
    return response


def test_a_restored_system_answers_the_same(
    cloud: Any, empty: Config, reference: dict[str, Any], production: str, adult_lines: list[str], tmp_path: Path
) -> None:
    """1,000 predictions, the deployment history with its key, the report, and MLflow with its aliases: as before, elsewhere."""
    header = adult_lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in adult_lines[-ROWS:]]
    before = _predictions(cloud, rows)
    history = cloud.target.call("GET", "/history").json()
    archive = Archive(tmp_path / "backup")
    create(cloud.target, archive, cloud.config.home)

    other = type(cloud)(empty, local_cloud.up(empty, _quiet))
    assert other.target.call("POST", "/predict", json={"records": rows[:1]}).status_code == 409  # no model
    put_back(other.target, archive, empty.home, local_cloud.mlflow(empty).stop)
    local_cloud.down(empty, _quiet)
    other = type(cloud)(empty, local_cloud.up(empty, _quiet))

    assert _predictions(other, rows) == before
    assert other.target.call("GET", "/history").json() == history
    assert other.target.call("GET", f"/reports/{reference['upload_id']}").status_code == 200
    aliases = {
        (v.name, v.version): set(v.aliases) for v in MlflowRegistry(other.outputs["MlflowUrl"]).versions([production])
    }
    assert "Production" in aliases[production, "1"]
    listed = other.target.call("GET", "/uploads").json()["uploads"]
    assert reference["upload_id"] in {u["upload_id"] for u in listed}
    assert len(listed) == len(cloud.target.call("GET", "/uploads").json()["uploads"])  # nothing was analyzed once more
