"""Live traffic on a schedule: nothing lost, nothing twice, drift told and scores right once labels are there."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sklearn.metrics import roc_auc_score

from dropforge import keys
from dropforge.analysis.report import build_report
from dropforge.api import schemas
from dropforge.config import settings_store
from dropforge.config.settings import load
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Unavailable
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import admit
from dropforge.monitoring import ground_truth, monitor_run, windows
from dropforge_local.memory import MemoryStore

GOLDEN = Path(__file__).parents[2] / "contracts" / "golden" / "Monitoring.json"
TODAY = date(2026, 3, 5)
TEXT = b"project: demo\ndata: {target: y, positive_class: 'yes', missing_markers: ['?']}\nmodels: [{name: forest, class: a.b:C}]\n"
MANIFEST = BundleManifest(
    project="demo", model="forest", run_id="r", dataset_id="d", created_at="now", target="y",
    features=(Feature("age", "integer"), Feature("job", "category", categories=("cook", "nurse"), missing_markers=("?",))),
    inputs=(GraphInput("n", "float32", ("age",)), GraphInput("t", "string", ("job",))), probabilities_output="p",
    classes=("no", "yes"), positive_class="yes", threshold=0.5, onnx_sha256=hashlib.sha256(b"g").hexdigest(),
    metrics={"roc_auc": 0.9, "accuracy": 0.8},
)  # fmt: skip
BUNDLE = "s3://artifacts/mlflow/run/bundle"


def _probability(age: int) -> float:
    return min(0.99, max(0.01, (age - 20) / 50))


class Traffic:
    """A reference, a model with its held-out rows, and days of requests."""

    def __init__(self, folder: Path) -> None:
        self.store, self.dice, self.number = MemoryStore(), random.Random(7), 0
        settings_store.apply(self.store, "b", TEXT)
        self._reference(folder)
        self.store.put(f"{BUNDLE}/manifest.json", MANIFEST.to_json())
        chances = [_probability(self.dice.randint(20, 70)) for _ in range(2000)]
        table = folder / "heldout.parquet"
        duckdb.connect().execute(
            f'COPY (SELECT 1 - p AS "p.no", p AS "p.yes" FROM (SELECT unnest({chances}) AS p)) TO \'{table}\' (FORMAT parquet)'
        )
        self.store.put("s3://artifacts/mlflow/run/evaluation/heldout.parquet", table.read_bytes())

    def _reference(self, folder: Path) -> None:
        lines = ["age,job,y,ignored"]
        for _ in range(2000):
            age = self.dice.randint(20, 70)
            lines.append(f"{age},{self.dice.choice(['cook', 'nurse', '?'])},{'yes' if age > 45 else 'no'},1")
        file = folder / "reference.csv"
        file.write_text("\n".join(lines) + "\n")
        settings = load(TEXT)
        database = connect(folder)
        admission = admit(file, data=settings.data, reference=None, workdir=folder, connection=database)
        datasets = DatasetStore(self.store, "b")
        datasets.save(admission, source="s", created_at="now")
        datasets.claim_reference(admission.dataset_id)
        profile = build_report.profile_of(admission, folder, None, database)
        database.close()
        self.store.put(keys.profile(datasets._bucket, admission.dataset_id), profile.model_dump_json().encode())

    def ask(
        self, rows: int, day: str = "2026-03-05", version: str = "1", shift: int = 0, without: str = ""
    ) -> list[tuple[str, float]]:
        """One object of captured lines; id and probability of each row."""
        created, lines = [], []
        for _ in range(rows):
            self.number += 1
            age, p_id = min(90, self.dice.randint(20, 70) + shift), f"id-{self.number}"
            p = _probability(age)
            created.append((p_id, p))
            features = {"age": age if self.number % 2 else str(age), "job": self.dice.choice(["cook", "nurse", None])}
            lines.append({
                "prediction_id": p_id, "row": 0, "at": f"{day}T10:00:{self.number % 60:02d}.000+00:00", "model": "demo-forest",
                "version": version, "bundle_uri": BUNDLE, "label": "yes" if p >= 0.5 else "no",
                "probabilities": {"no": 1 - p, "yes": p},
                "features": {k: None if k == without else v for k, v in features.items()},
            })  # fmt: skip
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.store.put(f"s3://b/captured/{day}/demo-forest/{version}/100000-x-{self.number:06d}.jsonl", body)
        return created

    def label(self, *labels: tuple[str, str]) -> None:
        ground_truth.accept(
            {"labels": [{"prediction_id": i, "label": v} for i, v in labels]}, store=self.store, bucket="b"
        )

    def look(self, today: date = TODAY) -> dict[str, Any]:
        return monitor_run.monitor(monitor_run.MonitorPorts(self.store, "b", logging.getLogger("test")), today)

    def shown(self) -> list[dict[str, Any]]:
        return list(windows.shown(self.store, "b", 100)["windows"])

    def rows(self, day: str = "2026-03-05") -> list[str]:
        """Prediction ids in the Parquet."""
        body = self.store.get(f"s3://b/monitoring/rows/{day}/demo-forest/1.parquet").body
        import pyarrow.parquet

        return sorted(pyarrow.parquet.read_table(io.BytesIO(body))["prediction_id"].to_pylist())


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    return Traffic(tmp_path)


def test_the_same_population_is_no_drift(traffic: Traffic) -> None:
    """Requests drawn as the reference pass; counts and times are told; no score without labels."""
    traffic.ask(600)
    (output,) = traffic.look()["new"]
    assert (output["rows"], output["requests"], output["problem"]) == (600, 600, "")
    assert output["verdict"]["word"] == "pass", output["verdict"]
    assert {c["name"]: c["outcome"] for c in output["features"]} == {"age": "no_drift", "job": "no_drift"}
    assert {c["name"]: c["outcome"] for c in output["predicted"]} == {
        "prediction": "no_drift",
        "probability": "no_drift",
    }
    assert sum(output["predictions"].values()) == 600
    assert output["score"] is None
    assert output["model"] == {"name": "demo-forest", "version": "1"}


def test_older_people_are_feature_and_prediction_drift(traffic: Traffic) -> None:
    """A shifted population makes the verdict warn, naming the feature and the prediction; the column left alone is not named."""
    traffic.ask(600, shift=15)
    (output,) = traffic.look()["new"]
    assert output["verdict"]["word"] == "warn"
    outcome = {c["name"]: c["outcome"] for c in [*output["features"], *output["predicted"]]}
    assert outcome == {"age": "drift", "job": "no_drift", "prediction": "drift", "probability": "drift"}


@pytest.mark.parametrize("feature", ["age", "job"])
def test_a_feature_that_is_never_sent_is_a_problem(traffic: Traffic, feature: str) -> None:
    """Full in the reference and null in every request: drift, a critical finding, and the verdict warns."""
    traffic.ask(300, without=feature)
    (output,) = traffic.look()["new"]
    assert output["verdict"]["word"] == "warn"
    assert {c["name"]: c["outcome"] for c in output["features"]}[feature] == "drift"
    (result,) = [f for f in output["findings"] if f["kind"] == "missing_increase"]
    assert result["severity"] == "critical"
    assert result["evidence"].startswith(f"100.0% of {feature} is missing, ")


def test_late_labels_give_the_score(traffic: Traffic) -> None:
    """Accuracy and AUC are those of scikit-learn; an unknown id is counted, the last of two labels counts."""
    response = traffic.ask(300)
    traffic.look()
    truth = {i: "yes" if traffic.dice.random() < p else "no" for i, p in response[:200]}
    wrong = next(iter(truth))
    traffic.label((wrong, "no" if truth[wrong] == "yes" else "yes"))
    traffic.label(*truth.items(), ("never-asked", "yes"))
    output = traffic.look()
    assert (output["labels"], output["labels_unmatched"]) == (201, 1)
    (window,) = output["new"]
    score = window["score"]
    assert (window["labelled"], score["rows"]) == (200, 200)
    p = dict(response)
    right = sum((p[i] >= 0.5) == (v == "yes") for i, v in truth.items())
    assert score["accuracy"] == pytest.approx(right / 200)
    assert score["roc_auc"] == pytest.approx(roc_auc_score([v == "yes" for v in truth.values()], [p[i] for i in truth]))
    assert traffic.look()["new"] == []


def test_rows_come_once_however_often_it_looks(traffic: Traffic) -> None:
    """New objects are added to the Parquet; nothing new changes nothing; an object with rows that are there adds none."""
    first = traffic.ask(30)
    traffic.look()
    assert traffic.look()["new"] == []
    second = traffic.ask(20)
    body = next(o for o in traffic.store.list("s3://b/captured/") if "000030" in o.uri)
    traffic.store.put(
        "s3://b/captured/2026-03-05/demo-forest/1/100001-y-000001.jsonl", traffic.store.get(body.uri).body
    )
    (output,) = traffic.look()["new"]
    assert output["rows"] == 50
    assert traffic.rows() == sorted(i for i, _ in first + second)


def test_a_look_that_dies_between_rows_and_state_loses_nothing(traffic: Traffic, monkeypatch: Any) -> None:
    """The rows are written first; the next look takes up where the dead one stopped, also when the lines have expired."""
    traffic.ask(40)
    write = windows.write

    def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(windows, "write", dies)
    with pytest.raises(RuntimeError):
        traffic.look()
    assert len(traffic.rows()) == 40
    assert traffic.shown() == []
    monkeypatch.setattr(windows, "write", write)
    (output,) = traffic.look()["new"]
    assert output["rows"] == len(traffic.rows()) == 40


def test_two_looks_at_once_lose_no_row(traffic: Traffic, monkeypatch: Any) -> None:
    """The slower of two writers changes nothing, and its rows are taken up by the next look."""
    traffic.ask(10)
    put, raced = traffic.store.put, []

    def race(uri: str, body: bytes, **how: Any) -> str:
        if uri.endswith(".parquet") and not raced:
            raced.append(uri)
            traffic.ask(5)
            traffic.look()  # another look, with more rows, is quicker
        return put(uri, body, **how)

    monkeypatch.setattr(traffic.store, "put", race)
    traffic.look()
    assert len(traffic.rows()) == 15
    traffic.look()
    assert [w["rows"] for w in traffic.shown()] == [15]


def test_a_day_that_failed_is_looked_at_again_later(traffic: Traffic, monkeypatch: Any) -> None:
    """While the store fails a window is left for the next look, days later too; the others are done."""
    traffic.ask(12, day="2026-03-05")
    traffic.ask(8, day="2026-03-04", version="2")
    get = traffic.store.get

    def fails(uri: str, version: str = "") -> Any:
        if "/captured/2026-03-05/" in uri:
            raise Unavailable("away", code="store_unavailable")
        return get(uri, version)

    monkeypatch.setattr(traffic.store, "get", fails)
    assert [w["rows"] for w in traffic.look()["new"] if not w["problem"]] == [8]
    monkeypatch.setattr(traffic.store, "get", get)
    traffic.look(date(2026, 3, 9))
    assert [(w["day"], w["rows"], w["problem"]) for w in traffic.shown()] == [
        ("2026-03-05", 12, ""), ("2026-03-04", 8, ""),
    ]  # fmt: skip


def test_a_model_whose_bundle_is_gone_says_so(traffic: Traffic) -> None:
    """The window tells its problem, the rows stay under captured/, other versions are looked at."""
    traffic.ask(5)
    traffic.ask(6, version="2")
    body = traffic.store.get(next(o for o in traffic.store.list("s3://b/captured/") if "/1/" in o.uri).uri).body
    uri = "s3://b/captured/2026-03-05/demo-forest/1/100000-x-000005.jsonl"
    traffic.store.put(uri, body.replace(b"mlflow/run", b"mlflow/gone"))
    document = {w["model"]["version"]: w for w in traffic.look()["new"]}
    assert "is gone" in document["1"]["problem"]
    assert document["2"]["rows"] == 6


def test_several_classes_are_compared_and_scored(traffic: Traffic) -> None:
    """Without a positive class the likeliest label counts; there is no AUC."""
    traffic.store.put(f"{BUNDLE}/manifest.json", replace(MANIFEST, positive_class="").to_json())
    response = traffic.ask(50)
    traffic.label((response[0][0], "yes"), (response[1][0], "maybe"))
    (output,) = traffic.look()["new"]
    assert (output["score"]["rows"], output["score"]["roc_auc"], output["labels_of_no_class"]) == (1, None, 1)
    assert output["predicted"]


def test_what_is_shown_is_what_was_described(traffic: Traffic, monkeypatch: Any) -> None:
    """The answer of GET /monitoring is of its type, newest day first, and has the very fields of the golden message."""
    traffic.ask(40, day="2026-03-04")
    response = traffic.ask(40)
    traffic.label((response[0][0], "yes"), (response[1][0], "no"))
    traffic.look()
    shown = json.loads(json.dumps(windows.shown(traffic.store, "b", 100)))
    schemas.Monitoring.model_validate(shown)
    assert [w["day"] for w in shown["windows"]] == ["2026-03-05", "2026-03-04"]
    golden = json.loads(GOLDEN.read_text())
    schemas.Monitoring.model_validate(golden)
    assert _shape(shown["windows"][0]) == _shape(golden["windows"][0])
    assert shown.keys() == golden.keys()
    assert len(windows.shown(traffic.store, "b", 1)["windows"]) == 1


def test_a_summary_of_an_earlier_release_is_read(traffic: Traffic) -> None:
    """Its time was named looked_at."""
    document = {"through": "2026-03-05", "looked_at": "2026-03-05T08:00:00+00:00", "labels": 1, "labels_unmatched": 0}
    traffic.store.put("s3://b/monitoring/summary.json", json.dumps(document).encode())
    assert windows.shown(traffic.store, "b", 1)["checked_at"] == "2026-03-05T08:00:00+00:00"


def _shape(value: Any) -> Any:
    """Field names, through everything but lists and free maps."""
    if not isinstance(value, dict):
        return None
    return {k: {} if k in {"predictions", "heldout"} else _shape(v) for k, v in value.items()}


def test_rows_of_an_earlier_version_are_read(traffic: Traffic, tmp_path: Path) -> None:
    """A Parquet that lacks a column which came later is completed, not refused."""
    traffic.ask(10)
    traffic.look()
    uri, old = "s3://b/monitoring/rows/2026-03-05/demo-forest/1.parquet", tmp_path / "old.parquet"
    old.write_bytes(traffic.store.get(uri).body)
    less = tmp_path / "less.parquet"
    duckdb.connect().execute(f"COPY (SELECT * EXCLUDE (shadow) FROM '{old}') TO '{less}' (FORMAT parquet)")
    traffic.store.put(uri, less.read_bytes())
    traffic.ask(5)
    (output,) = traffic.look()["new"]
    assert (output["rows"], output["shadow_rows"], output["problem"]) == (15, 0, "")


def test_a_window_that_cannot_be_read_keeps_what_was_found(traffic: Traffic) -> None:
    """Its figures stay with the reason why they are old, other windows are done, and it is well again when the rows are."""
    traffic.ask(10)
    traffic.look()
    uri = "s3://b/monitoring/rows/2026-03-05/demo-forest/1.parquet"
    good = traffic.store.get(uri).body
    traffic.store.put(uri, b"damaged")
    traffic.ask(5)
    traffic.ask(6, version="2")
    traffic.look()
    document = {w["model"]["version"]: w for w in traffic.shown()}
    assert (document["1"]["rows"], document["2"]["rows"], document["2"]["problem"]) == (10, 6, "")
    assert document["1"]["problem"]
    traffic.store.put(uri, good)
    traffic.look(date(2026, 3, 8))
    assert [(w["rows"], w["problem"]) for w in traffic.shown() if w["model"]["version"] == "1"] == [(15, "")]
