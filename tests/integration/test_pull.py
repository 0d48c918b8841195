"""Pulls against real servers: Athena of the emulator, Postgres of Debian; by the command, and by the worker's own entry point."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.config.settings import DataSettings, SourceSettings
from dropforge.errors import InvalidRequest
from dropforge.ingest.ingest_file import admit
from dropforge_cli.main import app
from dropforge_cli.target import Target
from dropforge_training.sources import athena
from dropforge_training.sources.pulled import Position, Pulled
from harness.processes import bare_emulator

from .. import postgres_server
from ..conftest import free_ports
from ..watcher import ended_with_this_run

pytestmark = pytest.mark.integration

_COLUMNS = [
    ("ID", "bigint"), ("pay", "decimal(9,2)"), ("share", "double"), ("city", "string"), ("code", "string"), ("at", "timestamp"),
    ("day", "date"), ("ok", "boolean"), ("label", "string"),
]  # fmt: skip


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """An emulated AWS without a stack, as the command line sees a local cloud."""
    home, (port,) = tmp_path_factory.mktemp("emulator"), free_ports(1)
    with ended_with_this_run(home / "pids"), bare_emulator(home, port):
        yield Target(
            {
                "DataBucket": "data",
                "ArtifactBucket": "artifacts",
                "EndpointUrl": f"http://127.0.0.1:{port}",
                "Region": "us-east-1",
                "AccessKeyId": "test",
                "SecretAccessKey": "test",
            }
        )


def _rows(first: int, count: int, **changes: Any) -> pa.Table:
    numbers = list(range(first, first + count))
    values: dict[str, list[Any]] = {
        "ID": numbers,
        "pay": [f"{n}.25" for n in numbers],
        "share": [n / 7 for n in numbers],
        "city": [(None, "", 'Bern, "BE"', "O'Hara\nzwei")[n % 4] for n in numbers],
        "code": [f"{n:05d}" for n in numbers],
        "at": [f"2024-01-{1 + n % 28:02d} 10:00:00.125" for n in numbers],
        "day": [f"2024-02-{1 + n % 28:02d}" for n in numbers],
        "ok": [None if n % 5 == 0 else n % 2 == 0 for n in numbers],
        "label": [("no", "yes")[n % 2] for n in numbers],
        **changes,
    }
    kinds = {
        "pay": pa.decimal128(9, 2), "at": pa.timestamp("ms"), "day": pa.date32(), "ID": pa.int64(), "share": pa.float64(),
        "ok": pa.bool_(),
    }  # fmt: skip
    return pa.table({name: pa.array(v).cast(kinds.get(name, pa.string())) for name, v in values.items()})


class Lake:
    """A table of the Glue catalog over Parquet files in the bucket."""

    def __init__(self, target: Target, name: str) -> None:
        self._s3, self._name, self._files = target.client("s3"), name, 0
        for left in self._s3.list_objects_v2(Bucket="data", Prefix=f"lake/{name}/").get("Contents", ()):
            self._s3.delete_object(Bucket="data", Key=left["Key"])  # of a test before, whose table had this name
        glue = target.client("glue")
        with contextlib.suppress(glue.exceptions.AlreadyExistsException):
            glue.create_database(DatabaseInput={"Name": "shop"})
        serde = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
        storage = {
            "Columns": [{"Name": n, "Type": t} for n, t in _COLUMNS],
            "Location": f"s3://data/lake/{name}/",
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "SerdeInfo": {"SerializationLibrary": serde},
        }
        glue.create_table(DatabaseName="shop", TableInput={"Name": name, "StorageDescriptor": storage})

    def append(self, rows: pa.Table) -> None:
        self._files += 1
        out = io.BytesIO()
        pq.write_table(rows, out)
        self._s3.put_object(Bucket="data", Key=f"lake/{self._name}/{self._files}.parquet", Body=out.getvalue())


def _source(name: str, query: str, **more: str) -> SourceSettings:
    return SourceSettings(name=name, kind="athena", query=query, database="shop", **more)


def _pull(target: Target, source: SourceSettings, position: Position | None, folder: Path) -> Pulled:
    folder.mkdir()
    place = f"s3://data/progress/pulls/{source.name}/{folder.name}/"
    return athena.pull(source, position or Position(place=source.place), folder, target.client, place)


def _left(target: Target) -> list[str]:
    """Versions of what pulls have written for themselves."""
    listed = target.client("s3").list_object_versions(Bucket="data", Prefix="progress/pulls/")
    return [
        o["Key"] for k in ("Versions", "DeleteMarkers") for o in listed.get(k, ()) if not o["Key"].endswith(".json")
    ]


@pytest.mark.parametrize("increment", ["ID", "at", "day", "share", "code"])
def test_of_an_athena_query_only_rows_above_the_last_pull_come(
    emulator: Target, tmp_path: Path, increment: str
) -> None:
    """By a number, a moment, a day or a text; Athena's own files are deleted, every version."""
    lake = Lake(emulator, f"orders_{increment.lower()}")
    source = _source("orders", f"SELECT * FROM orders_{increment.lower()} -- all of it", increment=increment)
    lake.append(_rows(0, 28))
    first = _pull(emulator, source, None, tmp_path / "1")
    later = {"at": ["2030-01-01 00:00:00.000"] * 3, "day": ["2030-01-01"] * 3, "share": [99.5] * 3}
    lake.append(_rows(100, 3, **later))
    second = _pull(emulator, source, first.after, tmp_path / "2")
    third = _pull(emulator, source, second.after, tmp_path / "3")
    assert [r.rows for r in (first, second, third)] == [28, 3, 0]
    assert third.after == second.after
    assert pq.read_table(second.file).column("ID").to_pylist() == [100, 101, 102]
    assert all("Athena scanned" in r.remarks[-1] for r in (first, second, third))
    assert _left(emulator) == []


def test_a_text_with_quotes_is_a_limit_like_any_other(emulator: Target, tmp_path: Path) -> None:
    """The largest value is a literal of the next query; rows without a value are counted and said."""
    lake = Lake(emulator, "quoted")
    source = _source("quoted", "SELECT * FROM quoted", increment="city")
    lake.append(_rows(0, 28))
    first = _pull(emulator, source, None, tmp_path / "1")
    assert (first.rows, first.after.value) == (21, "O'Hara\nzwei")
    assert first.remarks[0] == "7 rows have no city and are never pulled"
    lake.append(_rows(100, 2, city=["' OR 1=1 --", "Z'"]))
    assert _pull(emulator, source, first.after, tmp_path / "2").rows == 1


def test_values_keep_their_types_and_a_missing_one_is_no_empty_text(emulator: Target, tmp_path: Path) -> None:
    """Every value of the result is the one of the table, and the reader of uploads takes the columns for what they are."""
    lake = Lake(emulator, "typed")
    lake.append(_rows(0, 60))
    result = _pull(emulator, _source("typed", "SELECT * FROM typed ORDER BY id"), None, tmp_path / "1")
    got, put = pq.read_table(result.file), _rows(0, 60)
    for name in put.column_names:
        expected = put.column(name).cast(pa.string()) if name == "pay" else put.column(name)
        expected = expected.cast(pa.timestamp("us")) if name == "at" else expected
        assert got.column(name).to_pylist() == expected.to_pylist(), name
    (tmp_path / "a").mkdir()
    admission = admit(result.file, data=DataSettings(target="label"), reference=None, workdir=tmp_path / "a")
    kinds = {c.name: c.kind for c in admission.schema.columns}
    assert (admission.rows_used, kinds["pay"], kinds["share"], kinds["at"], kinds["ok"]) == (
        60, "number", "number", "datetime", "boolean",
    )  # fmt: skip


def test_a_result_of_several_pages_comes_whole(emulator: Target, tmp_path: Path) -> None:
    """Athena gives 1,000 rows at once; the row of names on the first page is no row."""
    lake = Lake(emulator, "large")
    lake.append(_rows(0, 3_507))
    result = _pull(emulator, _source("large", "SELECT id, city FROM large", increment="id"), None, tmp_path / "1")
    ids = pq.read_table(result.file).column(0).to_pylist()
    assert (result.rows, sorted(ids)) == (3507, list(range(3507)))


def test_a_query_that_fails_tells_athenas_reason(emulator: Target, tmp_path: Path) -> None:
    """With the source's name and what to do; nothing of it is left behind."""
    for number, query in enumerate(("SELECT nothing FROM nowhere", "SELEC 1")):
        with pytest.raises(InvalidRequest) as caught:
            _pull(emulator, _source("wrong", query), None, tmp_path / str(number))
        words = ("nowhere", "syntax error")[number]
        assert words in caught.value.message
        assert caught.value.fix
    assert _left(emulator) == []


# --- by the command and by the worker ------------------------------------------------------------------------------------
_SETTINGS = """project: demo
data: {target: label}
models: [{name: m, class: 'a.b:C'}]
sources:
  - {name: orders, kind: athena, query: "SELECT * FROM command", increment: id, database: shop}
  - {name: events, kind: postgres, query: "SELECT * FROM events -- of the shop", increment: id, secret: events-reader}
  - {name: wrong, kind: postgres, query: SELECT 1/0, secret: events-reader}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """What a secret of a server of its own holds."""
    with postgres_server.running() as secret:
        yield secret


@pytest.fixture(params=["here", "worker"])
def pulled(request: pytest.FixtureRequest, emulator: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`dropforge pull` in this process, and in a process of the worker's entry point; a function of the source."""
    settings_store.apply(S3Store(emulator.client("s3")), "data", _SETTINGS.encode())
    (tmp_path / "settings.yaml").write_text(_SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Target, "find", lambda: emulator)
    more = ["--in-worker"] if request.param == "worker" else []

    def run(name: str, *options: str) -> Any:
        return CliRunner().invoke(app, ["pull", name, "--json", *more, *options])

    for name in ("orders", "events"):  # the other one pulled before
        emulator.client("s3").delete_object(Bucket="data", Key=f"uploads/pulled/{name}.json")
    return run


def _brought(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    return dict(json.loads(result.stdout))


def test_a_postgres_table_is_pulled_twice(pulled: Any, emulator: Target, server: dict[str, str]) -> None:
    """The second time only what is new; the password comes from Secrets Manager and is nowhere in the bucket."""
    secrets = emulator.client("secretsmanager")
    text = json.dumps({**server, "port": int(server["port"])})
    try:
        secrets.create_secret(Name="events-reader", SecretString=text)
    except secrets.exceptions.ResourceExistsException:
        secrets.put_secret_value(SecretId="events-reader", SecretString=text)
    known = {"user" if k == "username" else k: v for k, v in server.items()}
    with psycopg.connect(autocommit=True, **known) as connection:  # type: ignore[arg-type] # texts only
        connection.execute("DROP TABLE IF EXISTS events")
        connection.execute(
            "CREATE TABLE events AS SELECT i AS id, i / 4.0 AS pay, 'no' AS label FROM generate_series(1, 60) i"
        )
        first = _brought(pulled("events"))
        connection.execute("INSERT INTO events SELECT i, 1, 'yes' FROM generate_series(61, 65) i")
        rest = [_brought(pulled("events"))["rows"] for _ in range(2)]
        whole = _brought(pulled("events", "--whole"))
    assert [first["rows"], *rest, whole["rows"]] == [60, 5, 0, 65]
    assert len(first["upload_id"]) == 20
    s3 = emulator.client("s3")
    stored = [o["Key"] for o in s3.list_objects_v2(Bucket="data")["Contents"]]
    assert any(key.startswith("incoming/pulled/events/") for key in stored)
    assert not [k for k in stored if server["password"].encode() in s3.get_object(Bucket="data", Key=k)["Body"].read()]


def test_an_athena_query_is_pulled_twice(pulled: Any, emulator: Target, request: pytest.FixtureRequest) -> None:
    """By the command as well as by the worker."""
    with contextlib.suppress(emulator.client("glue").exceptions.EntityNotFoundException):
        emulator.client("glue").delete_table(DatabaseName="shop", Name="command")
    lake = Lake(emulator, "command")
    lake.append(_rows(0, 40))
    first = _brought(pulled("orders"))["rows"]
    lake.append(_rows(40, 2))
    assert [first, _brought(pulled("orders"))["rows"], _brought(pulled("orders"))["rows"]] == [40, 2, 0]


def test_what_fails_in_the_worker_is_told_where_it_was_asked_for(
    pulled: Any, emulator: Target, server: dict[str, str]
) -> None:
    """The reason of the source and its fix, as where the command reads it itself."""
    secrets = emulator.client("secretsmanager")
    with contextlib.suppress(secrets.exceptions.ResourceExistsException):
        secrets.create_secret(Name="events-reader", SecretString=json.dumps(server))
    failed = pulled("wrong").exception
    assert isinstance(failed, InvalidRequest)
    assert (failed.code, "division by zero" in failed.message) == ("source_unreadable", True)
    absent = pulled("nobody").exception
    assert isinstance(absent, InvalidRequest)
    assert "there are orders, events, wrong" in absent.message
