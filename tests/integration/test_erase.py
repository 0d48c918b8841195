"""A person erased from a cloud that worked with their rows, through the documented commands; `make test-erase`."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dropforge import keys
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge_cli.main import app
from dropforge_local import cloud as local_cloud

from ..conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.erase]
VALUE = "maria.mueller@example.org"
COLUMN = "native-country"
ROWS = 1500


def _cli(*arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON; before an erasure the value may be in it, as evidence of unseen categories is."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


class Person:
    """Rows of one person, and every place of a cloud where a byte of them can be read."""

    def __init__(self, cloud: Any, lines: list[str]) -> None:
        self.cloud, self.lines, self.s3 = cloud, lines, cloud.client("s3")
        self.data, self.artifacts = cloud.outputs["DataBucket"], cloud.outputs["ArtifactBucket"]
        self.header = lines[0].split(",")

    def row(self, number: int, **changes: str) -> dict[str, str]:
        values = dict(zip(self.header, self.lines[number].split(","), strict=True))
        return {**values, COLUMN: VALUE, **changes}

    def table(self, *rows: dict[str, str]) -> bytes:
        """The person's rows first, then those of others."""
        own = [",".join(r.values()) for r in rows]
        return ("\n".join((self.lines[0], *own, *self.lines[1:ROWS])) + "\n").encode()

    def versions(self) -> Iterator[tuple[str, bytes]]:
        for bucket in (self.data, self.artifacts):
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for v in page.get("Versions", ()):
                    answer = self.s3.get_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])
                    yield f"{bucket}/{v['Key']}", answer["Body"].read()

    def places(self) -> list[str]:
        """Object versions (also within gzip and Parquet), files of MLflow's database, log files and log events with the value."""
        needle, result = VALUE.encode(), [place for place, body in self.versions() if _holds(place, body)]
        home = self.cloud.config.home
        files = [*home.glob("mlflow.db*"), *(home / "logs").rglob("*.log")]
        result += [f"file {p.name}" for p in files if needle in p.read_bytes()]
        logs = self.cloud.client("logs")
        for group in logs.describe_log_groups()["logGroups"]:
            events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
            result += [f"log {group['logGroupName']}" for e in events if VALUE in e["message"]]
        return result

    def prefixes(self) -> set[str]:
        """The kinds of places: first parts of keys in the data bucket, endings of artifacts, the others by name."""
        kinds = set()
        for place in self.places():
            bucket, _, key = place.partition("/")
            if bucket == self.data:
                kinds.add(key.partition("/")[0])
            elif bucket == self.artifacts:
                kinds.add(key.rpartition("/")[2] if key.startswith("mlflow/") else key.partition("/")[0])
            else:
                kinds.add(place.partition(" ")[0] if place.startswith("log ") else place)
        return kinds

    def files(self) -> list[str]:
        """Files of the stopped cloud with the value: the emulator's own state and the bytes of its objects, temporary files, all."""
        home = self.cloud.config.home
        return [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and _holds(p.name, p.read_bytes())]


def _holds(name: str, body: bytes) -> bool:
    """Whether the value is in the name or the bytes, also within gzip and Parquet."""
    inner = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else b""
    if body[:4] == b"PAR1":
        inner = str(pq.read_table(io.BytesIO(body)).to_pydict()).encode()
    return any(VALUE.encode() in text for text in (name.encode(), body, inner))


@pytest.fixture
def person(cloud: Any, adult_lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Person:
    """The commands find this cloud as they find anybody's: by the project's folder and DROPFORGE_HOME. Every request is kept."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DROPFORGE_HOME", str(cloud.config.home))
    monkeypatch.delenv("DROPFORGE_STACK", raising=False)
    store, bucket = S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]
    settings = store.get(keys.settings(bucket)).body
    assert b"sample: 0 " in settings
    settings_store.apply(store, bucket, settings.replace(b"sample: 0 ", b"sample: 1 "))
    return Person(cloud, adult_lines)


def _until(true: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.2)
    raise AssertionError(what)


def _activate(record: dict[str, Any]) -> None:
    """The last upload's version of a model becomes the active one, by the documented commands."""
    newest = record["models"][0]
    _cli("alias", newest["model"], "Production", "--version", str(newest["version"]))
    output = _cli("set-model", "Production")
    assert output["model"]["version"] == str(newest["version"])


def _spread(person: Person, drop: Any, wait: Any) -> None:
    """The person's rows go wherever the system takes them, and the value where people and programs may have written it."""
    bad = person.row(5, age="thirty")
    upload_id = drop("people.csv", person.table(*(person.row(n) for n in (1, 2, 3)), bad))
    record = wait(upload_id)
    assert (record["state"], record["rows_quarantined"]) == ("concluded", 1), record
    _activate(record)
    rows = [{k: v for k, v in person.row(n).items() if k != "income"} for n in (1, 2)]
    answer = person.cloud.target.api("POST", "/predict", json={"records": rows}).json()
    truth = [{"prediction_id": answer["prediction_id"], "row": 0, "label": "<=50K"}]
    person.cloud.target.api("POST", "/ground_truth", json={"labels": truth})
    person.s3.put_object(Bucket=person.data, Key="batch/people.csv", Body=person.table(person.row(1)))
    _until(lambda: "predictions" in person.prefixes(), "the batch was not answered")
    _until(lambda: _cli("monitor")["windows"] and "monitoring" in person.prefixes(), "nothing was monitored")
    # What no part of the system writes by itself, but a person or another program may have; a version that was overwritten too.
    for body in (VALUE.encode(), b"nothing"):
        person.s3.put_object(Bucket=person.data, Key="config/note.txt", Body=body)
    person.s3.put_object(
        Bucket=person.data,
        Key="labels/2026-01-01/b.jsonl",
        Body=json.dumps({"prediction_id": VALUE, "row": 0, "label": "<=50K"}).encode() + b"\n",
    )
    from mlflow import MlflowClient

    MlflowClient(person.cloud.outputs["MlflowUrl"]).set_tag(record["run_id"], "note", f"asked by {VALUE}")
    with (person.cloud.config.logs / "worker.log").open("a") as log:
        log.write(f"refused {VALUE}\n")
    logs, group = person.cloud.client("logs"), f"{person.cloud.outputs['LogGroupPrefix']}training"
    logs.create_log_stream(logGroupName=group, logStreamName="by-hand")
    events = [{"timestamp": int(time.time() * 1000), "message": f"refused {VALUE}"}]
    logs.put_log_events(logGroupName=group, logStreamName="by-hand", logEvents=events)


def test_no_byte_of_a_person_is_left_once_the_retrained_model_is_active(person: Person, drop: Any, wait: Any) -> None:
    """One command erases the person, starts a training without them and leaves a receipt without them; when the new model is
    active the same command finishes what the old one still held.
    """
    _spread(person, drop, wait)
    before = person.prefixes()
    assert len(before) >= 12, before
    where = f"{COLUMN} = '{VALUE}'"
    dry = CliRunner().invoke(app, ["erase", "--where", where, "--dry-run", "--json"])
    assert dry.exit_code == 0, dry.output
    assert person.prefixes() == before

    done = CliRunner().invoke(app, ["erase", "--where", where, "--yes", "--json"])
    receipt = json.loads(done.stdout[done.stdout.index("{") :])
    assert done.exit_code == (0 if receipt["complete"] else 1), done.output
    assert receipt["rows"] > 0
    assert receipt["models"]
    stored = person.s3.get_object(Bucket=person.data, Key=f"erasures/{receipt['id']}.json")["Body"].read()
    assert VALUE.encode() not in stored
    assert json.loads(stored) == receipt
    left = person.places()
    assert len(left) == receipt["objects_in_use"], left

    retrained = wait(receipt["retraining"])
    assert retrained["state"] == "concluded", retrained
    _activate(retrained)
    last = CliRunner().invoke(app, ["erase", "--where", where, "--yes", "--json", "--no-retrain"])
    assert last.exit_code == 0, last.output
    assert person.places() == []
    answer = person.cloud.target.api("POST", "/predict", json={"records": [person.row(1, **{COLUMN: "Peru"})]}).json()
    assert answer["model"]["version"] == str(retrained["models"][0]["version"])
    local_cloud.down(person.cloud.config, lambda _what, _seconds: None)
    assert person.files() == []
