"""A model with code of its own on the local cloud: through the API's gateway and from a batch file, under the roles' own rights."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

from dropforge import ids
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.deployment.active_model import ActivePointer
from dropforge_local import cloud as local_cloud
from dropforge_local import deploy
from dropforge_local.layout import Config
from dropforge_training.export import onnx_graph
from dropforge_training.preprocessing.cleaner import LabelledPipeline

from ..conftest import ROOT, free_ports
from ..own_model import bundle
from ..watcher import ended_with_this_run

pytestmark = pytest.mark.integration
SETTINGS = (
    b"project: pymodel\ndata: {target: late}\nmodels: [{name: own, class: models.integration:Own, serve: python}]\n"
)


@dataclass(frozen=True)
class Running:
    outputs: dict[str, str]
    store: S3Store
    model: LabelledPipeline
    rows: pd.DataFrame

    def ask(self, records: list[dict[str, Any]], query: str = "") -> tuple[int, Any]:
        answer = requests.post(
            f"{self.outputs['ApiUrl']}/predict{query}",
            json={"records": records},
            headers={"x-api-key": self.outputs["ApiKey"]},
            timeout=60,
        )
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An emulator with the stack, and this model active; neither MLflow nor a worker."""
    created = bundle(tmp_path_factory.mktemp("own"), "pymodel")
    config = Config(ROOT, tmp_path_factory.mktemp("pymodel"), free_ports(1)[0], 1, project="pymodel", workers=0)
    with ended_with_this_run(config.pids):
        try:
            local_cloud.start_emulator(config)
            deploy.deploy(config)
            outputs = deploy.outputs(config)
            store = S3Store(deploy.client(config, "s3"))
            settings_store.apply(store, config.data_bucket, SETTINGS)
            ActivePointer(store, config.data_bucket).replace(
                created.put(store, config.artifact_bucket, config.data_bucket), ""
            )
            yield Running(outputs, store, created.model, created.rows)
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)


def test_the_api_answers_with_the_models_own_code(running: Running) -> None:
    """Through gateway, predict and predict_python: labels, probabilities and identity; a caller's mistakes are 4xx as ever."""
    rows = running.rows.iloc[:50]
    status, answer = running.ask(onnx_graph.records(rows), "?coverage=0.9")
    assert status == 200, answer
    matches = [[p["probabilities"][c] for c in ("no", "yes")] for p in answer["predictions"]]
    assert np.array(matches) == pytest.approx(running.model.predict_proba(rows), abs=1e-9)
    assert [p["label"] for p in answer["predictions"]] == list(running.model.predict(rows))
    assert answer["model"] == {"name": "pymodel-own", "version": "1", "alias": "Production", "run_id": "r1"}
    assert all(p["prediction_set"]["labels"] for p in answer["predictions"])
    status, answer = running.ask([{"hours": "x", "kind": "air"}])
    assert (status, answer["code"]) == (422, "invalid_value")
    # missing numbers reach code that cannot take them: told, not a fault of the service
    status, answer = running.ask([{"hours": None, "kind": "air"}])
    assert (status, answer["code"]) == (422, "model_failed")
    status, answer = running.ask(onnx_graph.records(rows.iloc[:1]), "?explain=true")
    assert (status, answer["code"]) == (422, "not_explainable")


def test_a_batch_file_is_scored_by_it(running: Running) -> None:
    """The same values in a file get the same answers."""
    bucket = running.outputs["DataBucket"]
    uri = f"s3://{bucket}/batch/rows.csv"
    running.store.put(uri, running.rows.to_csv(index=False).encode())
    upload_id = ids.upload_id(bucket, "batch/rows.csv", running.store.get(uri).version)
    deadline, record = time.monotonic() + 60, {}
    while time.monotonic() < deadline and record.get("state") not in {"scored", "failed", "rejected"}:
        stored = running.store.stat(f"s3://{bucket}/uploads/{upload_id}.json")
        record = json.loads(running.store.get(stored.uri).body) if stored else {}
        time.sleep(0.1)
    assert record["state"] == "scored", record
    answer = list(csv.DictReader(io.StringIO(running.store.get(record["predictions_uri"]).body.decode(), newline="")))
    assert [a["prediction"] for a in answer] == list(running.model.predict(running.rows))
