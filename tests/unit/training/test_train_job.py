"""One job from message to result, on a small table with every kind of column."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import JobFailed, SettingsError
from dropforge.inference.bundle_manifest import BundleManifest, Feature
from dropforge.inference.predictor import open_bundle
from dropforge_training.data import training_table
from dropforge_training.export import onnx_graph
from dropforge_training.fit import calibration, conformal
from dropforge_training.fit.out_of_fold import Fitted
from dropforge_training.interruption import Interrupted
from dropforge_training.job_context import JobContext
from dropforge_training.search import job_search, tuner
from dropforge_training.worker import train_job
from dropforge_training.worker.deadline import Deadline, Member, Shares
from dropforge_training.worker.mlflow_run import JobRun

Bench = Callable[..., Any]
Finished = Callable[..., tuple[Any, Any]]  # of conftest: model, classes
MODELS = ("random_forest", "xgboost", "logistic_regression", "hist_gradient_boosting")
MULTICLASS = ("high", "low", "middle")


@pytest.mark.parametrize(
    ("model", "classes"),
    [
        *((m, ("no", "yes")) for m in MODELS[:3]),
        ("xgboost", MULTICLASS),
        pytest.param("hist_gradient_boosting", ("no", "yes"), marks=pytest.mark.campaign),
        *(pytest.param(m, MULTICLASS, marks=pytest.mark.campaign) for m in MODELS if m != "xgboost"),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{len(v)} classes",
)
def test_a_job_leaves_a_proven_bundle_and_a_loadable_model(
    finished: Finished, model: str, classes: tuple[str, ...]
) -> None:
    """The result names a bundle that serves what the logged pipeline predicts, missing cells and all."""
    import mlflow

    created, result = finished(model, classes)
    folder = Path(result.bundle_uri)
    body = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(body).hexdigest() == result.bundle_sha256
    manifest = BundleManifest.from_json(body)
    assert manifest.run_id == result.run_id
    assert [f.name for f in manifest.features] == ["size-cm", "visits", "colour", "active", "since", "note"]
    predictor = open_bundle(body, (folder / "model.onnx").read_bytes(), result.bundle_sha256)
    rows = pd.read_parquet(_body(created)).drop(columns=["label", "__row"]).iloc[:50]
    served = predictor.predict(onnx_graph.records(rows))
    mlflow.set_tracking_uri(created.tracking_uri)
    loaded = mlflow.pyfunc.load_model(result.model_source)
    expected = loaded.predict(rows.astype({"visits": "float64"}))
    assert served.labels == list(expected)
    assert np.allclose(served.probabilities.sum(axis=1), 1, atol=1e-5)
    assert result.metrics["roc_auc"] > 0.75
    scored = pd.read_parquet(result.predictions_uri)
    assert manifest.conformal_method == conformal.METHOD
    assert list(manifest.conformal_rows) == [int((scored["label"] == c).sum()) for c in manifest.classes]
    assert result.evidence.rarest_class_rows == min(manifest.conformal_rows)
    known = result.evidence.cross_validated["roc_auc"]
    assert known.low <= known.value <= known.high


def _rare(table: Callable[..., pd.DataFrame], classes: tuple[str, ...], rows: int) -> pd.DataFrame:
    frame = table(400, classes)
    return frame.drop(frame.index[frame["label"] == classes[-1]][rows:])


@pytest.mark.parametrize(
    ("model", "classes", "rows"),
    [
        ("xgboost", MULTICLASS, 2),
        ("random_forest", ("no", "yes"), 3),
        *(pytest.param(m, MULTICLASS, 2, marks=pytest.mark.campaign) for m in MODELS if m != "xgboost"),
        *(pytest.param(m, ("no", "yes"), 3, marks=pytest.mark.campaign) for m in MODELS[1:]),
    ],
)
def test_a_class_of_few_rows_is_trained_on(
    bench: Bench, table: Callable[..., pd.DataFrame], model: str, classes: tuple[str, ...], rows: int
) -> None:
    """One of its rows is fitted and one held out; the bundle knows the class, and the metrics are numbers."""
    created = bench(frame=_rare(table, classes, rows))
    result = created.run(created.job(model, upload=f"rare{model}{rows}"))
    manifest = BundleManifest.from_json((Path(result.bundle_uri) / "manifest.json").read_bytes())
    assert manifest.classes == tuple(sorted(classes))
    assert np.isfinite(list(result.metrics.values())).all()


def test_a_class_too_rare_to_tell_trials_apart_says_so(bench: Bench, table: Callable[..., pd.DataFrame]) -> None:
    """With two rows of one of two classes, one is held out and one is left: the failure names the class and the way out."""
    created = bench(frame=_rare(table, ("no", "yes"), 2))
    with pytest.raises(JobFailed, match="'yes' has too few different rows") as failure:
        created.run(created.job(upload="rare2"))
    assert "three" in failure.value.fix


def test_the_run_tells_where_the_model_comes_from(finished: Finished) -> None:
    """The run is a child of the analysis, carries upload, dataset and settings, parameters, metrics and its dataset."""
    import mlflow

    created, result = finished()
    run = mlflow.MlflowClient(created.tracking_uri).get_run(result.run_id)
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == created.parent_run_id
    assert (tags["dataset_id"], tags["settings_sha256"]) == ("d", created.settings.sha256)
    assert tags["upload_id"] == "random_forest2"
    assert run.info.status == "FINISHED"
    assert 3 <= int(run.data.params["max_depth"]) <= 6
    assert run.data.metrics["heldout.roc_auc"] == pytest.approx(result.metrics["roc_auc"])
    assert run.inputs.dataset_inputs[0].dataset.digest == "d"


def test_held_out_predictions_are_kept_for_the_gate(finished: Finished) -> None:
    """Row hash, true label and one probability a class for exactly the rows whose hash falls below the share."""
    created, result = finished()
    rows = pd.read_parquet(result.predictions_uri)
    table = pd.read_parquet(_body(created))
    below = table[table["__row"] % 10_000 < 2000]
    assert sorted(rows["__row"]) == sorted(below["__row"])
    assert list(rows.columns) == ["__row", "label", "p.no", "p.yes"]
    assert list(rows.set_index("__row")["label"].loc[below["__row"]]) == list(below["label"])
    assert len(rows) == result.metrics["rows"]


def test_the_served_model_is_scored_on_the_same_rows(finished: Finished) -> None:
    """Beside its own predictions a job stores those of the model that answers, and the gain by slice; over itself it is 0."""
    created, first = finished()
    comparison = json.loads(Path(first.comparison_uri).read_text())
    assert (comparison["served"], comparison["slices"]) == (None, [])
    for name in ("manifest.json", "model.onnx"):
        created.store.put(f"s3://artifacts/served/{name}", (Path(first.bundle_uri) / name).read_bytes())
    active = Active("m", "1", "Production", first.run_id, "s3://artifacts/served", first.bundle_sha256)
    ActivePointer(created.store, "data").replace(active, "")
    ModelRecords(created.store, "data").write(ModelRecord.of(active, serve="onnx", by="test"))
    second = created.run(created.job("logistic_regression", upload="beside"))
    rows = pd.read_parquet(second.predictions_uri)
    assert list(rows.columns) == ["__row", "label", "p.no", "p.yes", "served.no", "served.yes"]
    earlier = pd.read_parquet(first.predictions_uri)
    assert np.abs(rows["served.yes"] - earlier["p.yes"]).max() < 1e-5
    comparison = json.loads(Path(second.comparison_uri).read_text())
    assert comparison["served"]["run_id"] == first.run_id
    output = comparison["slices"][0]
    assert output["rows"] == len(rows)
    assert output["served"] == pytest.approx(first.metrics["roc_auc"], abs=1e-6)
    assert output["candidate"] == pytest.approx(second.metrics["roc_auc"], abs=1e-6)
    assert output["gain"] == pytest.approx(output["candidate"] - output["served"])


def test_a_served_model_of_other_columns_is_told_not_to_fit(finished: Finished) -> None:
    """Rows that lack a column of the served model are no fault of the job: the reason stands in the comparison."""
    created, first = finished()
    manifest = BundleManifest.from_json((Path(first.bundle_uri) / "manifest.json").read_bytes())
    wider = replace(manifest, features=(*manifest.features, Feature("height", "number"))).to_json()
    created.store.put("s3://artifacts/wider/manifest.json", wider)
    created.store.put("s3://artifacts/wider/model.onnx", (Path(first.bundle_uri) / "model.onnx").read_bytes())
    sha = hashlib.sha256(wider).hexdigest()
    active = Active("m", "1", "P", "r", "s3://artifacts/wider", sha)
    ActivePointer(created.store, "data").replace(active, "")
    ModelRecords(created.store, "data").write(ModelRecord.of(active, serve="onnx", by="test"))
    document = json.loads(
        Path(created.run(created.job("logistic_regression", upload="narrow")).comparison_uri).read_text()
    )
    assert "height" in document["reason"]
    assert document["slices"] == []


def test_fits_that_decide_of_the_target_take_the_threads_of_the_job(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a few rows: waking a second thread takes longer than such a fit."""
    threads: list[int] = []
    created = bench(rows=60)
    context = JobContext.of(created.job(), created.ports(), lambda: False)
    loaded = training_table.load(created.store, created.manifest, created.settings, tmp_path)

    def recorded(data: Any, _training: Any) -> Any:
        threads.extend(i["num_threads"] for i in threadpool_info() if i["user_api"] == "openmp")
        return data

    monkeypatch.setattr(job_search.target_transform, "with_transform", recorded)
    with threadpool_limits(2):
        job_search.decided(context, loaded, jobs=1)
    assert set(threads) == {1}


def test_a_logged_model_leaves_the_search_path_as_it_was(bench: Bench) -> None:
    """Modules of a model's own are not looked for in folders of models that were logged before."""
    created = bench()
    run = JobRun(created.tracking_uri, created.settings, created.job(upload="searchpath"))
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    before, known = list(sys.path), set(sys.path_importer_cache)
    run.log_model(LogisticRegression().fit(table, [0, 1, 0, 1]), table, {})  # type: ignore[arg-type] # any estimator is logged alike
    assert sys.path == before
    assert not [p for p in set(sys.path_importer_cache) - known if not Path(p).exists()]


def test_metrics_of_a_run_are_those_of_its_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's page of models compares by them; however many there are, none is read back from the server."""
    import mlflow

    created = bench()
    run = JobRun(created.tracking_uri, created.settings, created.job(upload="modelmetrics"))
    run.log_params({"depth": 3})
    table, given = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}), {f"metric{k}": k / 8 for k in range(5)}
    monkeypatch.setattr(mlflow.MlflowClient, "get_metric_history", _must_not_run)
    source = run.log_model(LogisticRegression().fit(table, [0, 1, 0, 1]), table, given)  # type: ignore[arg-type] # as above
    client = mlflow.MlflowClient(created.tracking_uri)
    logged = client.get_logged_model(source.rpartition("/")[2])
    assert {m.key: m.value for m in logged.metrics} == given
    assert client.get_run(run.run_id).data.metrics == given
    assert logged.params == {"depth": "3"}


def test_a_repeated_job_answers_without_training_again(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second delivery of a finished job gives the same result from the same run and starts no trial."""
    created, first = finished()
    monkeypatch.setattr("dropforge_training.search.tuner.tune", _must_not_run)
    assert created.run(created.job(upload="random_forest2")) == first


def test_a_run_closed_without_an_answer_is_trained_again(bench: Bench) -> None:
    """A worker that died after MLflow closed the run, but before the answer was kept, does not leave a job without result."""
    created = bench()
    job = created.job("logistic_regression", upload="torn")
    first = created.run(job)
    (Path(first.bundle_uri).parent / "result.json").unlink()
    second = created.run(job)
    assert second.run_id == first.run_id
    assert second.bundle_uri == first.bundle_uri
    assert second.metrics == pytest.approx(first.metrics)
    assert json.loads((Path(first.bundle_uri).parent / "result.json").read_text())["run_id"] == first.run_id


def test_an_interrupted_job_goes_on_with_its_study(bench: Bench) -> None:
    """Trials finished before the interruption are not repeated, and the interrupted attempt leaves no result."""
    created = bench()
    job = created.job("logistic_regression", upload="resumed")
    folder = "s3://data/tuning/resumed-logistic_regression/"

    def finished() -> int:
        files = [json.loads(created.store.get(o.uri).body) for o in created.store.list(folder)]
        entries = [
            e for file in files if isinstance(file, list) for e in file
        ]  # beside them: who adds the first trials
        return sum(1 for e in entries if e["op_code"] == 6 and e["state"] in (1, 2))

    with pytest.raises(Interrupted):
        created.run(job, stop=lambda: finished() == 1)
    created.run(job)
    assert finished() == 2


def test_a_bundle_that_differs_is_never_stored(
    bench: Bench, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph whose probabilities differ from the pipeline's fails the job and leaves no bundle behind."""
    import mlflow

    created = bench(rows=300)
    folder = Path(finished("xgboost")[1].bundle_uri)  # trained on other rows
    output = BundleManifest.from_json((folder / "manifest.json").read_bytes()).probabilities_output
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: ((folder / "model.onnx").read_bytes(), output))
    with pytest.raises(JobFailed) as failure:
        created.run(created.job("xgboost", upload="differs"))
    assert failure.value.code == "parity"
    runs = mlflow.MlflowClient(created.tracking_uri)
    result = runs.search_runs([runs.get_run(created.parent_run_id).info.experiment_id], "tags.upload_id = 'differs'")
    assert [f.path for f in runs.list_artifacts(result[0].info.run_id)] == []


def test_an_unknown_model_or_parameter_is_a_permanent_failure(bench: Bench) -> None:
    """A model that settings.yaml lacks, or a search key the model lacks, is named in the error."""
    created = bench()
    with pytest.raises(JobFailed, match="no model 'nobody'"):
        created.run(created.job(upload="unknown").model_copy(update={"model": "nobody"}))
    wrong = bench(
        extra="""
  - name: typo
    class: dropforge_training.models.random_forest:RandomForest
    search: {max_deph: 3}
"""
    )
    with pytest.raises(SettingsError, match=r"search\.max_deph"):
        wrong.run(wrong.job("typo", upload="typo"))


def _body(bundle: Any) -> Any:
    import io

    return io.BytesIO(bundle.store.get("s3://data/datasets/d0/data.parquet").body)


def _must_not_run(*_: Any, **__: Any) -> None:
    raise AssertionError("what must not run was called")


def _tuned(outside: tuple[Any, ...] = ()) -> tuner.Tuned:
    return tuner.Tuned(({},) * 8, 0.5, 1, 1.0, 0.0, (), member=Member(1.0, 0.5), weights=(1.0,) * 8, outside=outside)


def test_predictions_of_trials_stand_in_for_fits_without_time() -> None:
    """With time for one of five fits, 400 rows that trials predicted beat 80; with time for all, and of fewer rows, fits are made."""
    all_rows = tuple((np.arange(80) + 80 * f, np.full((80, 2), 0.5)) for f in range(5))
    wanted = Shares(8, 5, 0.8)
    short = Deadline(23.0)
    allowed, known = train_job._affordable(wanted, _tuned(all_rows), short, 400)
    assert known is not None
    assert len(known[0]) == len(known[1]) == 400
    assert (allowed.folds, allowed.members) == (0, 8)
    assert train_job._affordable(wanted, _tuned(), short, 400)[1] is None
    assert train_job._affordable(wanted, _tuned(all_rows[:1]), Deadline(40.0), 4000)[1] is None
    assert train_job._affordable(wanted, _tuned(all_rows), Deadline(600.0), 400) == (wanted, None)


def test_a_log_loss_is_compared_as_it_is_served() -> None:
    """What calibration gains out of fold counts for the job; of a metric that calibration does not change nothing is added."""
    y = np.repeat([0, 1], 300)
    shy = np.column_stack([0.55 - 0.1 * y, 0.45 + 0.1 * y])
    choice = calibration.choose("auto", y, shy, seed=1)
    assert choice.calibration is not None
    fitted = Fitted.__new__(Fitted)
    object.__setattr__(fitted, "calibration", choice)
    gained = choice.losses["none"] - choice.losses[choice.calibration.kind]
    assert gained > 0.1
    assert train_job._served_score("log_loss", -0.6, fitted) == pytest.approx(-0.6 + gained)
    assert train_job._served_score("roc_auc", 0.9, fitted) == 0.9
