"""A model with code of its own on the local cloud: through the API's gateway and from a batch file, under the roles' own rights."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from dropforge import identity, settings_store
from dropforge.adapters.s3 import S3Store
from dropforge.data.schema import Column
from dropforge.serving.pointer import Active, ActivePointer
from dropforge_local import cloud as local_cloud
from dropforge_local import deploy
from dropforge_local.layout import Config
from dropforge_training import export, python_models
from dropforge_training.models import base
from dropforge_training.processing import LabelledPipeline
from dropforge_training.tables import Table, TrainingData

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SETTINGS = (
    b"project: pymodel\ndata: {target: late}\nmodels: [{name: own, class: models.integration:Own, serve: python}]\n"
)
OWN = """
from sklearn.preprocessing import FunctionTransformer
from dropforge_training.models.base import Candidate


def squared(x):
    return x * x


class Own(Candidate):
    def search_space(self, trial):
        return {}

    def estimator(self, params, *, seed, jobs, classes):
        raise NotImplementedError

    def number_step(self):
        return FunctionTransformer(squared, feature_names_out="one-to-one")
"""


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _trained(folder: Path) -> tuple[LabelledPipeline, TrainingData, base.Candidate]:
    """A model whose step no converter knows, fitted on rows of two columns."""
    (folder / "models").mkdir()
    (folder / "models" / "integration.py").write_text(OWN, encoding="utf-8")
    sys.path.insert(0, str(folder))
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        del sys.modules[name]
    candidate = base.load("models.integration:Own")
    rng = np.random.default_rng(1)
    x = pd.DataFrame({"hours": rng.normal(0, 2, 300), "kind": rng.choice(["air", "sea"], 300).astype(object)})
    y = ((x["hours"] ** 2 + 2 * (x["kind"] == "sea")) > 4).to_numpy().astype(int)
    cleaner = candidate.processor(["hours"], ["kind"], {}, {})
    clean = cleaner.fit(x).transform(x)
    preprocessor = candidate.preprocessor(cleaner)
    matrix = preprocessor.fit_transform(clean)
    estimator = LogisticRegression().fit(np.asarray(matrix, dtype=np.float32), y)
    pipeline = Pipeline([("processor", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
    table = Table(x, y, np.arange(300, dtype=np.uint64))
    kinds = (Column(name="hours", kind="number"), Column(name="kind", kind="category"))
    data = TrainingData(table, table, ["no", "yes"], "yes", kinds, 0, 300, {}, x[[]])
    return LabelledPipeline(pipeline, ["no", "yes"], 0.5, "yes"), data, candidate


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An emulator with the stack, and this model active; neither MLflow nor a worker."""
    folder = tmp_path_factory.mktemp("own")
    model, data, candidate = _trained(folder)
    body, named = python_models.dump(model, candidate)
    sys.path.remove(str(folder))
    manifest = export.manifest_for(
        model, data, body, "probabilities", python=named, project="pymodel", name="own", run_id="r1", dataset_id="d1",
        target="late", markers={}, metrics={}, importance={}, conformal={"0.9": (0.6, 0.6)}, holdout_share=0.2,
    )  # fmt: skip
    parity = export.check_parity(model, manifest, body, data.heldout, logging.getLogger("test"))
    assert parity["label_flips"] == 0
    config = Config(ROOT, tmp_path_factory.mktemp("pymodel"), _free_port(), 1, project="pymodel", workers=0)
    (config.home / "tmp").mkdir()
    try:
        local_cloud.start_emulator(config)
        deploy.deploy(config)
        outputs = deploy.outputs(config)
        store = S3Store(deploy.client(config, "s3"))
        settings_store.apply(store, config.data_bucket, SETTINGS)
        uri = f"s3://{config.artifact_bucket}/mlflow/1/r1/artifacts/bundle"
        store.put(f"{uri}/manifest.json", manifest.to_json())
        store.put(f"{uri}/pipeline.pkl", body)
        sha256 = hashlib.sha256(manifest.to_json()).hexdigest()
        ActivePointer(store, config.data_bucket).replace(
            Active("pymodel-own", "1", "Production", "r1", uri, sha256), ""
        )
        yield Running(outputs, store, model, data.heldout.x)
    finally:
        local_cloud.down(config, lambda _what, _seconds: None)


def test_the_api_answers_with_the_models_own_code(running: Running) -> None:
    """Through gateway, predict and predict_python: labels, probabilities and identity; a caller's mistakes are 4xx as ever."""
    rows = running.rows.iloc[:50]
    status, answer = running.ask(export.records(rows), "?coverage=0.9")
    assert status == 200, answer
    found = [[p["probabilities"][c] for c in ("no", "yes")] for p in answer["predictions"]]
    assert np.array(found) == pytest.approx(running.model.predict_proba(rows), abs=1e-9)
    assert [p["label"] for p in answer["predictions"]] == list(running.model.predict(rows))
    assert answer["model"] == {"name": "pymodel-own", "version": "1", "alias": "Production", "run_id": "r1"}
    assert all(p["prediction_set"]["labels"] for p in answer["predictions"])
    status, answer = running.ask([{"hours": "x", "kind": "air"}])
    assert (status, answer["code"]) == (422, "invalid_value")
    # missing numbers reach code that cannot take them: told, not a fault of the service
    status, answer = running.ask([{"hours": None, "kind": "air"}])
    assert (status, answer["code"]) == (422, "model_failed")
    status, answer = running.ask(export.records(rows.iloc[:1]), "?explain=true")
    assert (status, answer["code"]) == (422, "not_explainable")


def test_a_batch_file_is_scored_by_it(running: Running) -> None:
    """The same values in a file get the same answers."""
    bucket = running.outputs["DataBucket"]
    uri = f"s3://{bucket}/batch/rows.csv"
    running.store.put(uri, running.rows.to_csv(index=False).encode())
    upload_id = identity.upload_id(bucket, "batch/rows.csv", running.store.get(uri).version)
    deadline, record = time.monotonic() + 60, {}
    while time.monotonic() < deadline and record.get("state") not in {"scored", "failed", "rejected"}:
        kept = running.store.stat(f"s3://{bucket}/uploads/{upload_id}.json")
        record = json.loads(running.store.get(kept.uri).body) if kept else {}
        time.sleep(0.1)
    assert record["state"] == "scored", record
    answer = list(csv.DictReader(io.StringIO(running.store.get(record["predictions_uri"]).body.decode(), newline="")))
    assert [a["prediction"] for a in answer] == list(running.model.predict(running.rows))
