"""`dropforge erase`: what it says, what it leaves behind, and when it stops. That nothing is left: tests/faults, make test-erase."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from dropforge.deployment.active_model import Active
from dropforge_cli.main import app
from dropforge_cli.target import Target

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

VALUE = "maria.mueller@example.org"
WHERE = f"customer_id = '{VALUE}'"
BUNDLE = "mlflow/1/r/artifacts/bundle/model.onnx"
OUTPUTS = {
    "DataBucket": "data",
    "ArtifactBucket": "artifacts",
    "Region": "us-east-1",
    "LogGroupPrefix": "/dropforge/x/",
}
OUTPUTS |= {"AnalyzeFunction": "analyze", "EndpointUrl": ""}
Run = Callable[..., tuple[int, str]]


class Analyze:
    """The function that starts a training: its answer, and what it was asked."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {"retraining": {"0123456789abcdef0123": "training"}}
        self.requests: list[dict[str, Any]] = []

    def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert FunctionName == "analyze"
        self.requests.append(json.loads(Payload))
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode())}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two versioned buckets: a dataset and a report with the person in them, and the bundle of a model that learned the value."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        created = boto3.client("s3", "us-east-1")
        for bucket in ("data", "artifacts"):
            created.create_bucket(Bucket=bucket)
            created.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        rows = io.BytesIO()
        pq.write_table(pa.table({"customer_id": [VALUE, "other"]}), rows)
        created.put_object(Bucket="data", Key="datasets/00aa/data.parquet", Body=rows.getvalue())
        created.put_object(Bucket="artifacts", Key="reports/1/report.html", Body=f"<td>{VALUE}</td>".encode())
        created.put_object(
            Bucket="artifacts", Key=BUNDLE, Body=b"\x00\x19" + VALUE.encode() + b"J\x04"
        )  # as protobuf ends it
        yield created


@pytest.fixture
def analyze() -> Analyze:
    return Analyze()


@pytest.fixture
def run(s3: Any, analyze: Analyze, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command on a stack on AWS; exit code and output."""
    target = Target(OUTPUTS)
    result = Target.client

    def client(self: Target, service: str, *, timeout: int = 0) -> Any:
        return analyze if service == "lambda" else result(self, service, timeout=timeout)

    monkeypatch.setattr(Target, "client", client)
    monkeypatch.setattr(Target, "find", lambda: target)

    def command(*arguments: str, answer: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(app, ["erase", "--where", WHERE, *arguments], input=answer)
        return done.exit_code, done.stdout

    return command


def _bodies(s3: Any) -> dict[str, list[bytes]]:
    """Key → bodies of all its versions."""
    matches: dict[str, list[bytes]] = {}
    for bucket in ("data", "artifacts"):
        for v in s3.list_object_versions(Bucket=bucket).get("Versions", ()):
            body = s3.get_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])["Body"].read()
            matches.setdefault(v["Key"], []).append(body)
    return matches


def _receipts(s3: Any) -> list[dict[str, Any]]:
    return [json.loads(b) for key, bodies in _bodies(s3).items() if key.startswith("erasures/") for b in bodies[:1]]


def test_a_receipt_holds_numbers_and_no_data_of_the_person(s3: Any, run: Run, analyze: Analyze) -> None:
    """Who, when, column, counts and the training that follows; the value itself stands in no version of it."""
    code, printed = run("--yes", "--json")
    assert code == 0
    assert VALUE not in printed
    (receipt,) = _receipts(s3)
    assert (receipt["columns"], receipt["rows"], receipt["datasets"]) == (["customer_id"], 1, ["00aa"])
    assert (receipt["objects_rewritten"], receipt["objects_deleted"], receipt["complete"]) == (2, 1, True)
    assert receipt["retraining"] == "0123456789abcdef0123"
    assert [r["retrain"]["cause"] for r in analyze.requests] == [f"erase-{receipt['id']}"]
    assert all(VALUE.encode() not in body for bodies in _bodies(s3).values() for body in bodies)


def test_what_was_erased_is_on_record_although_no_training_starts(s3: Any, run: Run, analyze: Analyze) -> None:
    """The rows are gone, so the receipt is written before anything else can fail; the command says that the training is missing."""
    analyze.answer = {"errorMessage": "no settings"}
    assert run("--yes")[0] == 1
    (receipt,) = _receipts(s3)
    assert receipt["rows"] == 1
    assert "retraining" not in receipt


def test_without_a_yes_nothing_is_erased(s3: Any, run: Run, analyze: Analyze) -> None:
    """A dry run and a no leave every version as it was, and start nothing."""
    before = _bodies(s3)
    assert run("--dry-run")[0] == 0
    assert run(answer="n\n")[0] == 1
    assert _bodies(s3) == before
    assert analyze.requests == []


def test_no_training_starts_where_none_is_wanted(s3: Any, run: Run, analyze: Analyze) -> None:
    """--no-retrain erases and leaves the training to whoever runs it."""
    assert run("--yes", "--no-retrain")[0] == 0
    assert analyze.requests == []


def test_the_bundle_of_the_active_model_is_left_and_said_so(s3: Any, run: Run) -> None:
    """Exit code 1 and `complete: false` until another model is active; then the same command ends it."""
    active = Active("m", "1", "Production", "r", "s3://artifacts/" + BUNDLE.rpartition("/")[0], "0" * 64)
    s3.put_object(Bucket="data", Key="serving/active.json", Body=active.to_json())
    assert run("--yes", "--json")[0] == 1
    (receipt,) = _receipts(s3)
    assert (receipt["objects_in_use"], receipt["complete"]) == (1, False)
    assert VALUE.encode() in _bodies(s3)[BUNDLE][0]
    s3.delete_object(Bucket="data", Key="serving/active.json")
    assert run("--yes", "--json")[0] == 0
    assert BUNDLE not in _bodies(s3)


def test_nothing_found_leaves_no_receipt(s3: Any, run: Run) -> None:
    """A second run says that there is nothing, and writes nothing."""
    assert run("--yes")[0] == 0
    before = _bodies(s3)
    code, printed = run("--yes", "--json")
    assert (code, json.loads(printed)["found"]) == (0, 0)
    assert _bodies(s3) == before


def test_a_person_in_a_packed_upload_is_found_whatever_its_name_says() -> None:
    """gzip, zstd and workbooks are told by content; JSON lines have no header to keep."""
    from dropforge_cli import erasing

    who = erasing.person(WHERE)
    pattern = f'{{"customer_id": "{VALUE}"}}\n'.encode()
    other = b'{"customer_id": "other"}\n'
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", f"<t>{VALUE}</t>")
    eraser = erasing.Eraser(None, who, (), dry=True)
    for packed, unpack in (
        (gzip.compress(pattern + other), gzip.decompress),
        (zstd.compress(pattern + other), zstd.decompress),
    ):
        left = eraser._cleaned("data", "incoming/rows.csv", packed)
        assert left is not None
        assert unpack(left) == other
    assert eraser._cleaned("data", "incoming/rows.csv", book.getvalue()) is None
    assert eraser._cleaned("data", "incoming/rows.csv", other) is other
