"""A backup holds what a system knows; put into an empty one of the same name it is there again, and starts nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from dropforge.errors import Conflict, InvalidRequest, PermanentError, Unavailable
from dropforge_cli.archive import Archive
from dropforge_cli.commands.backup import create, put_back
from dropforge_cli.target import Target

DATA, ARTIFACTS = "p-data-1-r", "p-artifacts-1-r"
RECOVERY = "uploads/recovery.json"
RECORDS = {
    "config/settings.yaml": b"project: p",
    "config/settings-ab.yaml": b"project: p",
    "datasets/history.json": b"[1]",
    "serving/active.json": b'{"model": "m"}',
    "serving/history/1.json": b"{}",
    "uploads/aa.json": b"{}",
    "uploads/open/training/2026-0-bb": b"",
    "decisions/uploads/aa.json": b"{}",
}


class _Local(Target):
    """A system whose client is moto's; `answers`: how many objects may be read or written before the network goes away."""

    def client(self, _service: str, **_: Any) -> Any:
        return boto3.client("s3", "us-east-1")


class _Failing:
    """A client whose calls of one operation fail after so many."""

    def __init__(self, operation: str, after: int) -> None:
        self._s3, self._operation, self._left = boto3.client("s3", "us-east-1"), operation, after

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            self._left -= 1
            if self._left < 0:
                raise EndpointConnectionError(endpoint_url="http://s3")
        return getattr(self._s3, name)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], _Local]]:
    """Makes an empty system of the same name each time: what the one before it held is gone."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    mocks: list[Any] = []

    def empty() -> _Local:
        while mocks:
            mocks.pop().stop()
        mocks.append(mock_aws())
        mocks[0].start()
        s3 = boto3.client("s3", "us-east-1")
        for bucket in (DATA, ARTIFACTS):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=DATA, Key=RECOVERY, Body=b"{}")  # the first recovery ran before anything was uploaded
        return _Local({"DataBucket": DATA, "ArtifactBucket": ARTIFACTS})

    yield empty
    while mocks:
        mocks.pop().stop()


@pytest.fixture
def full(system: Callable[[], _Local]) -> _Local:
    """Records, a raw file uploaded twice under one key, a pointer written twice, a deleted object, artifacts."""
    target, s3 = system(), boto3.client("s3", "us-east-1")
    s3.put_object(Bucket=DATA, Key="serving/active.json", Body=b"older")
    for key, body in RECORDS.items():
        s3.put_object(Bucket=DATA, Key=key, Body=body, ContentType="application/json")
    for body in (b"a,b\n1,2\n", b"a,b\n3,4\n"):
        s3.put_object(Bucket=DATA, Key="incoming/a b.csv", Body=body)
    s3.put_object(Bucket=DATA, Key="serving/gone.json", Body=b"x")
    s3.delete_object(Bucket=DATA, Key="serving/gone.json")
    s3.put_object(Bucket=ARTIFACTS, Key="mlflow/1/bundle/model.onnx", Body=bytes(range(256)) * 9000)
    return target


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A local cloud's folder with MLflow's database and the history's key."""
    folder = tmp_path / "home"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("create table runs (id text)")
        database.execute("insert into runs values ('r1')")
        database.commit()
    (folder / "history.key").write_text("secret")
    return folder


def _objects(bucket: str) -> dict[str, list[bytes]]:
    s3 = boto3.client("s3", "us-east-1")
    matches: dict[str, list[bytes]] = {}
    for v in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        body = s3.get_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])["Body"].read()
        matches.setdefault(v["Key"], []).append(body)
    return matches


def _nothing() -> None:
    return None


def test_what_is_restored_is_what_was_there(full: _Local, system: Any, home: Path, tmp_path: Path) -> None:
    """Every object's newest content, the database, the key; every version of a raw upload, under names that start nothing."""
    archive = Archive(tmp_path / "b")
    manifest = create(full, archive, home)
    assert (manifest.objects, manifest.under_way) == (len(RECORDS) + 4, ("2026-0-bb",))
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        database.execute("delete from runs")
        database.commit()
    (home / "history.key").write_text("another")
    target, stopped = system(), list[int]()
    output = put_back(target, archive, home, lambda: stopped.append(1))
    assert stopped == [1]
    assert output["objects"] == manifest.objects - 1  # how far recovery had searched is the new system's own affair
    data = _objects(DATA)
    assert not [k for k in data if k.startswith(("incoming/", "batch/", "decisions/"))]
    raw = [body for key, (body,) in data.items() if key.startswith("restored/incoming/a b.csv@")]
    assert sorted(raw) == [b"a,b\n1,2\n", b"a,b\n3,4\n"]
    assert data["restored/decisions/uploads/aa.json"] == [b"{}"]
    assert data.pop(RECOVERY) == [b"{}"]
    assert {k: v for k, (v,) in data.items() if not k.startswith("restored/")} == {
        k: v for k, v in RECORDS.items() if not k.startswith("decisions/")
    }
    assert _objects(ARTIFACTS) == {"mlflow/1/bundle/model.onnx": [bytes(range(256)) * 9000]}
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("select id from runs").fetchall() == [("r1",)]
    assert (home / "history.key").read_text() == "secret"
    kind = boto3.client("s3", "us-east-1").head_object(Bucket=DATA, Key="serving/active.json")["ContentType"]
    assert kind == "application/json"


def test_only_the_owner_may_read_it(full: _Local, home: Path, tmp_path: Path) -> None:
    """Rows, models and a key lie in it."""
    create(full, Archive(tmp_path / "b"), home)
    assert (tmp_path / "b").stat().st_mode & 0o77 == 0
    assert (tmp_path / "b" / "history.key").stat().st_mode & 0o77 == 0


def test_an_interrupted_backup_is_none_and_goes_on(full: _Local, system: Any, tmp_path: Path) -> None:
    """Restore refuses it and names the way on; the second run copies what is missing and nothing twice."""
    archive = Archive(tmp_path / "b")
    with pytest.raises(Unavailable):
        archive.copy(_Failing("get_object", 4), {"data": DATA, "artifacts": ARTIFACTS}, lambda *_: None)
    with (tmp_path / "b" / "objects.jsonl").open("a") as index:
        index.write('{"role": "data", "key": "cut o')
    with pytest.raises(InvalidRequest, match="no finished backup") as error:
        put_back(full, archive, None, _nothing)
    assert f"dropforge backup {tmp_path / 'b'}" in error.value.fix
    before = sum(1 for _ in archive.copied())
    manifest = create(full, archive, None)
    assert sum(1 for _ in archive.copied()) == manifest.objects == len(RECORDS) + 4
    assert before <= 4
    assert put_back(system(), archive, None, _nothing)["objects"] == manifest.objects - 1


def test_a_later_backup_into_the_same_folder_copies_what_is_new(full: _Local, system: Any, tmp_path: Path) -> None:
    """Of a pointer that moved meanwhile the newer one is restored."""
    archive = Archive(tmp_path / "b")
    create(full, archive, None)
    boto3.client("s3", "us-east-1").put_object(Bucket=DATA, Key="serving/active.json", Body=b"newer")
    assert archive.copy(full.client("s3"), {"data": DATA, "artifacts": ARTIFACTS}, lambda *_: None) == 1
    create(full, archive, None)
    put_back(system(), archive, None, _nothing)
    assert _objects(DATA)["serving/active.json"] == [b"newer"]


def test_an_interrupted_restore_goes_on(full: _Local, system: Any, tmp_path: Path) -> None:
    """The system it began to fill is its own, and what is there is not put there again; nothing answers before all of it is there."""
    archive = Archive(tmp_path / "b")
    manifest = create(full, archive, None)
    target = system()
    failing = _Failing("put_object", 5)
    with pytest.raises(Unavailable):
        put_back(_WithClient(target.outputs, failing), archive, None, _nothing)
    assert "serving/active.json" not in _objects(DATA)
    put_back(target, archive, None, _nothing)
    assert len(_objects(DATA)) + len(_objects(ARTIFACTS)) == manifest.objects + 1  # and the mark
    assert all(len(versions) == 1 for versions in _objects(DATA).values())


class _WithClient(Target):
    def __init__(self, outputs: Any, client: Any) -> None:
        super().__init__(outputs)
        object.__setattr__(self, "client", lambda *_, **__: client)


def test_a_system_that_is_not_empty_is_left_alone(full: _Local, tmp_path: Path) -> None:
    """With the way to an empty one."""
    archive = Archive(tmp_path / "b")
    create(full, archive, None)
    before = _objects(DATA)
    with pytest.raises(Conflict, match="holds data already"):
        put_back(full, archive, None, _nothing)
    assert _objects(DATA) == before


def test_a_backup_of_another_system_is_refused(full: _Local, system: Any, tmp_path: Path) -> None:
    """Addresses in the records name the buckets of the system that is left."""
    archive = Archive(tmp_path / "b")
    create(full, archive, None)
    with pytest.raises(InvalidRequest, match="p-data-1-r"):
        put_back(_Local({"DataBucket": "q-data", "ArtifactBucket": "q-artifacts"}), archive, None, _nothing)


@pytest.mark.parametrize("name", ["objects.jsonl", "file"])
def test_a_damaged_backup_is_found_before_it_is_believed(full: _Local, system: Any, tmp_path: Path, name: str) -> None:
    """A changed index or a changed file: the error names it, and the pointer to a model is not put back."""
    archive = Archive(tmp_path / "b")
    create(full, archive, None)
    onnx = next(c for c in archive.copied() if c.role == "artifacts")
    file = tmp_path / "b" / name if name == "objects.jsonl" else archive.file(onnx.content)
    file.write_bytes(file.read_bytes()[:-1] + json.dumps(1).encode())
    with pytest.raises((InvalidRequest, PermanentError), match=str(file)):
        put_back(system(), archive, None, _nothing)
    assert "serving/active.json" not in _objects(DATA)
