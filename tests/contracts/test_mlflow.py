"""What every Tracking and Registry promises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from dropforge.adapters.mlflow_registry import MlflowRegistry, connect
from dropforge.errors import NotFound
from dropforge.ports import DatasetInput, Registry, Tracking

Books = tuple[Tracking, Registry, Callable[[str], bytes]]


def test_the_same_key_is_the_same_run(books: Books) -> None:
    """A replayed step finds the run it made before."""
    tracking, registry, _ = books
    first = tracking.ensure_run("upload-1", name="analysis", tags={"upload_id": "1"})
    assert tracking.ensure_run("upload-1", name="analysis", tags={"upload_id": "1"}).run_id == first.run_id
    assert tracking.ensure_run("upload-2", name="analysis", tags={}).run_id != first.run_id
    assert registry.run_tags(first.run_id)["upload_id"] == "1"


def test_logging_twice_is_no_error(books: Books, tmp_path: Path) -> None:
    """A repeated step logs its parameters again without a complaint, and its artifacts over the old ones."""
    tracking, _, artifact = books
    run = tracking.ensure_run("log", name="n", tags={})
    for value in ("1", "2"):
        tracking.log(run.run_id, metrics={"drift/a b>c": 0.5}, params={"p": value})
        local = tmp_path / "data.parquet"
        local.write_bytes(value.encode())
        tracking.put_artifacts(run.run_id, {"report/report.json": value.encode(), "data/data.parquet": local})
        tracking.set_tags(run.run_id, {"t": value})
    tracking.log_dataset(
        run.run_id, DatasetInput("d", "abc", "s3://b/k", [{"name": "x", "type": "double"}], 3, "analysis")
    )
    tracking.finish(run.run_id)
    assert artifact(f"{run.run_id}/report/report.json") == b"2"
    assert tracking.ensure_run("log", name="n", tags={}).status == "FINISHED"


def test_one_run_is_one_version(books: Books) -> None:
    """Registering the same run again gives the version it already has."""
    tracking, registry, _ = books
    runs = [tracking.ensure_run(f"r{i}", name="m", tags={}).run_id for i in (1, 2)]
    name = f"model-{id(books)}"
    versions = [registry.register(name, source=f"runs:/{r}/model", run_id=r, tags={"k": "v"}) for r in (*runs, runs[0])]
    assert [v.version for v in versions] == ["1", "2", "1"]
    assert [v.version for v in registry.versions([name])] == ["2", "1"]
    assert registry.versions([name])[0].tags["k"] == "v"


def test_versions_of_several_models_come_by_model_and_newest_first(books: Books) -> None:
    """Of the models named and no other, also of one whose name begins as theirs do."""
    tracking, registry, _ = books
    names = [f"several-{id(books)}-{suffix}" for suffix in ("a", "b", "c")]
    for i, name in enumerate([*names, *names]):
        run = tracking.ensure_run(f"{name}-{i}", name="m", tags={}).run_id
        registry.register(name, source=f"runs:/{run}/model", run_id=run, tags={})
    registry.set_alias(names[2], "Production", "1")
    listed = registry.versions([names[2], names[0]])
    assert [(v.name, v.version) for v in listed] == [(n, v) for n in (names[0], names[2]) for v in ("2", "1")]
    assert [v.aliases for v in listed] == [(), (), (), ("Production",)]
    assert registry.versions([]) == []


def test_an_alias_points_to_one_version(books: Books) -> None:
    """Setting it again moves it; resolving finds it on the models named; nobody carrying it is an empty list."""
    tracking, registry, _ = books
    name = f"alias-{id(books)}"
    for i in (1, 2):
        run = tracking.ensure_run(f"a{i}", name="m", tags={}).run_id
        registry.register(name, source=f"runs:/{run}/model", run_id=run, tags={})
        registry.set_alias(name, "Production", str(i))
    result = registry.resolve("Production", [name])
    assert [(v.name, v.version, v.aliases) for v in result] == [(name, "2", ("Production",))]
    assert registry.resolve("Nobody", [name]) == []
    registry.drop_alias(name, "Production")
    registry.drop_alias(name, "Production")
    assert registry.resolve("Production", [name]) == []


def test_unknown_names_are_not_found(books: Books) -> None:
    """An unknown run or version raises NotFound."""
    _, registry, _ = books
    with pytest.raises(NotFound):
        registry.run_tags("0" * 32)
    with pytest.raises(NotFound):
        registry.set_alias("no-such-model", "Production", "7")


def test_one_dataset_may_be_named_by_several_runs_at_once(books: Books) -> None:
    """Workers that finish together name the same training data: each run has it afterwards, none of them fails."""
    tracking, _, _ = books
    runs = [tracking.ensure_run(f"at-once-{i}", name="m", tags={}).run_id for i in range(8)]
    for again in range(4):
        barrier = Barrier(len(runs))

        def name(run_id: str, digest: str = f"d{again}", ready: Barrier = barrier) -> None:
            ready.wait()
            tracking.log_dataset(run_id, DatasetInput("n", digest, "s3://a/b", [], 1, "training"))

        with ThreadPoolExecutor(len(runs)) as pool:
            list(pool.map(name, runs))


def test_more_models_than_a_page_are_all_known(mlflow_uri: str) -> None:
    """A server lists a page at a time (two here, 100 by default); a model on a later one has its alias and versions too."""
    client = connect(mlflow_uri)
    for letter in "abcde":
        client.create_registered_model(f"page-{letter}")
    run = client.create_run(client.create_experiment("pages", artifact_location="s3://artifacts/mlflow"))
    version = client.create_model_version("page-e", "s3://artifacts/mlflow/m", run.info.run_id)
    client.set_registered_model_alias("page-e", "Production", version.version)
    client.search_registered_models = functools.partial(client.search_registered_models, max_results=2)
    registry = MlflowRegistry(mlflow_uri)
    registry._client_ = client
    assert [v.name for v in registry.resolve("Production", ["page-e"])] == ["page-e"]
    assert [v.name for v in registry.versions(["page-e"])] == ["page-e"]
