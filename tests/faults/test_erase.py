"""A person erased: the value is planted wherever rows can end up, and afterwards no byte of it is left anywhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge.errors import InvalidRequest
from dropforge_cli import erasing
from harness.processes import aws

VALUE = "maria.müller@example.org"
OTHER = "somebody.else@example.org"
PARTS = "s3://data/datasets/00112233445566ff/data.parquet"


def _csv(*values: str) -> str:
    return "customer_id,age\n" + "".join(f'{v},"4\n{n}"\n' for n, v in enumerate(values))


def _parquet(column: str, *values: str, hashes: bool = False) -> bytes:
    columns: dict[str, Any] = {column: list(values), "age": list(range(len(values)))}
    if hashes:
        columns["__row"] = pa.array(range(2**63, 2**63 + len(values)), pa.uint64())
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


ROWS = _parquet("customer_id", OTHER, VALUE, OTHER, hashes=True)
MANIFEST = {
    "parts": [{"uri": PARTS, "dataset_id": "00112233445566ff", "rows": 3, "sha256": hashlib.sha256(ROWS).hexdigest()}]
}
HELDOUT = io.BytesIO()
pq.write_table(pa.table({"__row": pa.array([2**63, 2**63 + 1], pa.uint64()), "label": ["no", "yes"]}), HELDOUT)
# (bucket, key) → body: the places where a row, or a value of it, can end up
PLANTED: dict[tuple[str, str], bytes] = {
    ("data", "incoming/people.csv"): _csv(OTHER, VALUE).encode(),
    ("data", "incoming/latin.csv"): _csv(VALUE, OTHER).encode("latin-1"),
    ("data", "incoming/people.csv.gz"): gzip.compress(_csv(OTHER, VALUE).encode()),
    ("data", "batch/people.parquet"): _parquet("customer_id", OTHER, VALUE),
    ("data", "datasets/00112233445566ff/data.parquet"): ROWS,
    ("data", "datasets/00112233445566ff/profile.json"): json.dumps({"top": {VALUE: 1, OTHER: 2}}).encode(),
    ("data", "quarantine/0123/rows.csv"): f'line,raw\n3,"{VALUE},x"\n4,"{OTHER},y"\n'.encode(),
    ("data", "predictions/0123/people.csv"): _csv(OTHER, VALUE).encode(),
    ("data", "captured/2026-01-01/m/1/a.jsonl"): b"".join(
        json.dumps({"features": {"customer_id": v}}).encode() + b"\n" for v in (OTHER, VALUE)
    ),
    ("data", "labels/2026-01-01/b.jsonl"): json.dumps({"prediction_id": VALUE, "label": "yes"}).encode() + b"\n",
    ("data", "monitoring/rows/2026-01-01/m/1.parquet"): _parquet("x.customer_id", OTHER, VALUE),
    ("data", "uploads/0123.json"): json.dumps({"reason": {"message": f"line 3: {VALUE}"}}).encode(),
    ("artifacts", "reports/0123/report.html"): f"<td>{VALUE}</td>".encode(),
    ("artifacts", "mlflow/1/r/artifacts/model/input_example.json"): json.dumps({"data": [[VALUE]]}).encode(),
    ("artifacts", "mlflow/1/r/artifacts/model/model.pkl"): b"\x80\x04\x00" + VALUE.encode() + b"\x00.",
    ("artifacts", "mlflow/1/r/artifacts/bundle/manifest.json"): json.dumps(
        {"example": {"customer_id": VALUE}}
    ).encode(),
    ("artifacts", "mlflow/1/r/artifacts/bundle/model.onnx"): b"\x08\x00" + VALUE.encode(),
    ("artifacts", "mlflow/1/r/artifacts/data/data.parquet"): ROWS,
}
UNTOUCHED = {
    ("data", "datasets/00112233445566ff/manifest.json"): json.dumps(MANIFEST).encode(),
    ("data", "datasets/aabb/data.parquet"): _parquet("customer_id", OTHER),
    ("artifacts", "mlflow/1/r/artifacts/evaluation/heldout.parquet"): HELDOUT.getvalue(),
    ("artifacts", "mlflow/1/q/artifacts/bundle/model.onnx"): b"\x08\x00graph",
}


class Planted:
    """Both buckets with the value in every place, twice over: an older version and the latest; a database; a log."""

    def __init__(self, port: int, home: Path) -> None:
        self.s3, self.home = aws("s3", port), home
        for (bucket, key), body in {**PLANTED, **UNTOUCHED}.items():
            for _ in range(2):
                self.s3.put_object(Bucket=bucket, Key=key, Body=body)
        self.s3.put_object(Bucket="data", Key="config/older.json", Body=json.dumps({"x": VALUE}).encode())
        self.s3.put_object(Bucket="data", Key="config/older.json", Body=b"{}")  # in a version that was overwritten
        self.s3.put_object(Bucket="data", Key="config/gone.json", Body=json.dumps({"x": VALUE}).encode())
        self.s3.delete_object(Bucket="data", Key="config/gone.json")  # and in one that was deleted
        with closing(sqlite3.connect(home / "mlflow.db")) as db:
            db.execute("CREATE TABLE tags (key TEXT, value TEXT)")
            db.executemany("INSERT INTO tags VALUES (?, ?)", [("note", f"row of {VALUE}"), ("note", OTHER)])
            db.commit()
        (home / "logs").mkdir()
        (home / "logs" / "worker.log").write_text(f"refused {VALUE}\nrefused {OTHER}\n")

    def erase(self, *, active: tuple[str, ...] = (), dry: bool = False) -> erasing.Outcome:
        who = erasing.person(f"customer_id = '{VALUE}'")
        eraser = erasing.Eraser(self.s3, who, active, dry=dry)
        eraser.bucket("data")
        eraser.bucket("artifacts")
        erasing.erase_database(self.home / "mlflow.db", who, dry=dry)
        erasing.erase_files(self.home, who, dry=dry)
        return eraser.outcome

    def versions(self) -> Iterator[tuple[str, bytes]]:
        for bucket in ("data", "artifacts"):
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for v in page.get("Versions", ()):
                    answer = self.s3.get_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])
                    yield f"{bucket}/{v['Key']}", answer["Body"].read()

    def places(self) -> list[str]:
        """Where the value still is: plain or compressed, in any encoding, in any object version, in the database, in files."""
        forms = [VALUE.encode(code) for code in ("utf-8", "latin-1", "utf-16-le")] + [json.dumps(VALUE)[1:-1].encode()]
        matches = []
        for place, body in self.versions():
            texts = [body, gzip.decompress(body) if place.endswith(".gz") else b""]
            texts.append(
                str(pq.read_table(io.BytesIO(body)).to_pydict()).encode() if place.endswith(".parquet") else b""
            )
            matches += [place for text in texts if any(f in text for f in forms)]
        matches += [str(p) for p in self.home.rglob("*") if p.is_file() and any(f in p.read_bytes() for f in forms)]
        return matches

    def body(self, bucket: str, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.fixture
def planted(emulator: int, tmp_path: Path) -> Iterator[Planted]:
    created = Planted(emulator, tmp_path)
    yield created
    for bucket in ("data", "artifacts"):
        for page in created.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for v in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                created.s3.delete_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])


def test_no_byte_of_a_person_is_left(planted: Planted) -> None:
    """In 18 keys, old, overwritten and deleted versions, a database and a log: found everywhere, then nowhere; others stay."""
    assert len({p for p in planted.places() if "/" in p}) >= len(PLANTED)
    outcome = planted.erase()
    assert planted.places() == []
    assert outcome.datasets == {"00112233445566ff"}
    assert planted.erase().found == 0  # again: nothing to do
    assert OTHER in planted.body("data", "erased/incoming/people.csv").decode()
    assert OTHER in planted.body("data", "predictions/0123/people.csv").decode()
    assert OTHER in planted.body("data", "captured/2026-01-01/m/1/a.jsonl").decode()
    assert (planted.home / "logs" / "worker.log").read_text().splitlines()[1] == f"refused {OTHER}"
    for (bucket, key), body in UNTOUCHED.items():
        if key.endswith(("aabb/data.parquet", "q/artifacts/bundle/model.onnx")):
            assert planted.body(bucket, key) == body


def test_a_dataset_can_still_be_trained_on(planted: Planted) -> None:
    """The manifest names the rewritten snapshot's own hash and rows, and of the held-out predictions the person's row is gone."""
    planted.erase()
    left = planted.body("data", "datasets/00112233445566ff/data.parquet")
    (part,) = json.loads(planted.body("data", "datasets/00112233445566ff/manifest.json"))["parts"]
    assert (part["rows"], part["sha256"]) == (2, hashlib.sha256(left).hexdigest())
    assert pq.read_table(io.BytesIO(left))["customer_id"].to_pylist() == [OTHER, OTHER]
    stored = pq.read_table(io.BytesIO(planted.body("artifacts", "mlflow/1/r/artifacts/evaluation/heldout.parquet")))
    assert stored["__row"].to_pylist() == [2**63]


def test_a_dry_run_changes_nothing(planted: Planted) -> None:
    """It finds the same places and leaves every version as it is."""
    before = sorted(planted.versions())
    assert planted.erase(dry=True).found >= 2 * len(PLANTED)
    assert sorted(planted.versions()) == before


def test_the_model_in_use_goes_on_until_another_one_is(planted: Planted) -> None:
    """Its bundle is told as left; the same command after the switch completes the erasure."""
    bundle = "s3://artifacts/mlflow/1/r/artifacts/bundle"
    outcome = planted.erase(active=(bundle,))
    assert {u.rpartition("/")[2] for u in outcome.left} == {"manifest.json", "model.onnx"}
    assert planted.body("artifacts", "mlflow/1/r/artifacts/bundle/model.onnx")
    planted.erase()
    assert planted.places() == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("customer_id", "where_malformed"),
        ("a = 'xxxx' or b = 'yyyy'", "where_malformed"),
        ("a = 'xxxx' and b = 'yyyy'", "where_malformed"),
        ("", "where_malformed"),
        ("a = 'ab'", "value_too_short"),
    ],
)
def test_what_would_erase_too_much_is_refused(where: str, code: str) -> None:
    """A condition that cannot be read, or a value so short that it is everywhere."""
    with pytest.raises(InvalidRequest) as error:
        erasing.person(where)
    assert error.value.code == code


def test_a_condition_is_read_as_it_is_written() -> None:
    """Quoted names and values, numbers."""
    assert erasing.person("\"customer id\" = 'O''Brien 7'").columns == {"customer id": "O'Brien 7"}
    assert erasing.person("number=1234567").columns == {"number": "1234567"}


def test_other_people_with_a_longer_value_stay(planted: Planted) -> None:
    """`maria…` is not `annamaria…`, 1234567 is not part of 9123456789: neither in texts nor in columns."""
    longer = f"anna{VALUE}"
    assert not erasing.person(f"customer_id = '{VALUE}'").pattern().search(longer.encode())
    assert not erasing.person("number = 1234567").pattern().search(b"9123456789")
    for key, body in (
        ("predictions/9/x.csv", _csv(longer).encode()),
        ("datasets/cc/data.parquet", _parquet("customer_id", longer)),
    ):
        planted.s3.put_object(Bucket="data", Key=key, Body=body)
    planted.erase()
    assert longer in planted.body("data", "predictions/9/x.csv").decode()
    assert pq.read_table(io.BytesIO(planted.body("data", "datasets/cc/data.parquet")))["customer_id"].to_pylist() == [
        longer
    ]
