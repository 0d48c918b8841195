"""Live traffic on the cloud: asked, kept, labelled, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from dropforge import keys
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.serving.prediction_service import REFRESH_INTERVAL_SECONDS
from dropforge_cli import target as target_module
from dropforge_cli.main import app

pytestmark = pytest.mark.integration


@pytest.fixture
def capturing(cloud: Any, production: str) -> Iterator[list[str]]:
    """Every request is kept; name and version of the model that answers. Afterwards the settings are as they were."""
    store, bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]
    before = store.get(keys.settings(bucket)).body
    assert b"sample: 0 " in before
    settings_store.apply(store, bucket, before.replace(b"sample: 0 ", b"sample: 1 "))
    served = {"alias": "Production", "model": production}
    for path, body in (("/aliases", {**served, "version": "1"}), ("/set_model", served)):
        answer = cloud.target.call("POST", path, json=body)
        assert answer.status_code == 200, answer.text
    # An instance that answered another test just before captures nothing until then.
    time.sleep(REFRESH_INTERVAL_SECONDS)
    yield [production, "1"]
    settings_store.apply(store, bucket, before)
    cloud.target.call("POST", "/set_model", json=served)  # the sample's rate is kept beside the active model


def test_what_was_asked_is_judged_and_scored(
    cloud: Any, capturing: list[str], adult_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are kept beside the request's path, truth sent later is joined by id, and `dropforge monitor` tells every row's
    window with the score those labels give; a second look adds no row twice.
    """
    monkeypatch.setattr(target_module.Target, "find", lambda: cloud.target)
    header = adult_lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in adult_lines[-300:]]
    answer = cloud.target.call("POST", "/predict", json={"records": rows}).json()
    truth = [{"prediction_id": answer["prediction_id"], "row": i, "label": row["income"]} for i, row in enumerate(rows)]
    sent = cloud.target.call("POST", "/ground_truth", json={"labels": truth})
    assert sent.status_code == 200, sent.text
    for _ in range(2):
        window = _window(capturing, len(rows))
    assert (window["rows"], window["labelled"]) == (300, 300)
    hits = sum(p["label"] == row["income"] for p, row in zip(answer["predictions"], rows, strict=True))
    assert window["score"]["accuracy"] == pytest.approx(hits / 300)
    assert window["verdict"]["word"] in {"pass", "warn"}


def _window(model: list[str], wanted: int) -> dict[str, Any]:
    """Today's window of this version, as `dropforge monitor` tells it; looked for again until it has so many rows."""
    deadline = time.monotonic() + 60
    while True:
        done = CliRunner().invoke(app, ["monitor", "--json"])
        assert done.exit_code == 0, done.output
        document = [
            w for w in json.loads(done.stdout)["windows"] if [w["model"]["name"], str(w["model"]["version"])] == model
        ]
        if document and document[0]["rows"] >= wanted:
            return dict(document[0])
        assert time.monotonic() < deadline, done.stdout
        time.sleep(1)
