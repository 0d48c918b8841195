"""A Delta table, an Iceberg table and a Postgres table, pulled twice: the second time only what is new."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import deltalake
import psycopg
import pyarrow as pa
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from typer.testing import CliRunner

from dropforge.adapters import s3_store
from dropforge.config.settings import DataSettings, SourceSettings
from dropforge.errors import InvalidRequest, Unavailable
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit
from dropforge_cli.commands import pull as command
from dropforge_cli.main import app
from dropforge_local.memory import MemoryStore
from dropforge_training.sources import athena, delta, iceberg, postgres
from dropforge_training.sources.pulled import Position, Pulled
from dropforge_training.sources.unreadable_source import unreadable

from ... import postgres_server


def _rows(first: int, count: int) -> pa.Table:
    numbers = list(range(first, first + count))
    return pa.table({"id": numbers, "pay": [n / 4 for n in numbers], "label": [("no", "yes")[n % 2] for n in numbers]})


def _admitted(result: Pulled, folder: Path) -> Admission:
    folder.mkdir()
    return admit(result.file, data=DataSettings(target="label"), reference=None, workdir=folder)


# --- Delta ---------------------------------------------------------------------------------------------------------------
def _delta(table: Path, position: Position | None, folder: Path) -> Pulled:
    folder.mkdir(exist_ok=True)
    source = SourceSettings(name="orders", kind="delta", uri=str(table))
    return delta.pull(source, position or Position(place=source.place), folder)


def test_of_a_delta_table_only_appended_rows_come_the_second_time(tmp_path: Path) -> None:
    """By its versions; the third time there is nothing new."""
    table = tmp_path / "orders"
    deltalake.write_deltalake(str(table), _rows(0, 60))
    first = _delta(table, None, tmp_path / "1")
    for start in (60, 70):
        deltalake.write_deltalake(str(table), _rows(start, 10), mode="append")
    second = _delta(table, first.after, tmp_path / "2")
    third = _delta(table, second.after, tmp_path / "3")
    assert [r.rows for r in (first, second, third)] == [60, 20, 0]
    assert third.after == second.after
    assert _admitted(first, tmp_path / "a").rows_used == 60
    ids = pa.parquet.read_table(second.file).column("id").to_pylist()
    assert sorted(ids) == list(range(60, 80))


def test_compacted_files_bring_no_row_again(tmp_path: Path) -> None:
    """OPTIMIZE and VACUUM rewrite files, not rows."""
    table = tmp_path / "orders"
    deltalake.write_deltalake(str(table), _rows(0, 30))
    deltalake.write_deltalake(str(table), _rows(30, 30), mode="append")
    first = _delta(table, None, tmp_path / "1")
    deltalake.DeltaTable(str(table)).optimize.compact()
    second = _delta(table, first.after, tmp_path / "2")
    assert (first.rows, second.rows, second.remarks) == (60, 0, ())
    deltalake.write_deltalake(str(table), _rows(60, 5), mode="append")
    assert _delta(table, second.after, tmp_path / "3").rows == 5


@pytest.mark.parametrize("change", ["overwrite", "delete", "update"])
def test_after_a_change_that_is_no_append_the_whole_table_comes_and_is_said(tmp_path: Path, change: str) -> None:
    """New rows cannot be told from old ones then; none is lost."""
    table = tmp_path / "orders"
    deltalake.write_deltalake(str(table), _rows(0, 60))
    first = _delta(table, None, tmp_path / "1")
    if change == "overwrite":
        deltalake.write_deltalake(str(table), _rows(100, 40), mode="overwrite")
    elif change == "delete":
        deltalake.DeltaTable(str(table)).delete("id < 20")
    else:
        deltalake.DeltaTable(str(table)).update(predicate="id < 20", updates={"pay": "1.0"})
    second = _delta(table, first.after, tmp_path / "2")
    assert second.rows == {"overwrite": 40, "delete": 40, "update": 60}[change]
    assert "whole table" in second.remarks[0]


def test_partitions_of_a_delta_table_are_columns(tmp_path: Path) -> None:
    """Also of the appended files alone."""
    table = tmp_path / "orders"
    deltalake.write_deltalake(str(table), _rows(0, 60), partition_by=["label"])
    first = _delta(table, None, tmp_path / "1")
    deltalake.write_deltalake(str(table), _rows(60, 11), mode="append")
    second = _delta(table, first.after, tmp_path / "2")
    rows = pa.parquet.read_table(second.file)
    assert (rows.num_rows, sorted(set(rows.column("label").to_pylist()))) == (11, ["no", "yes"])


def test_a_table_that_is_not_there_is_an_error_with_a_fix(tmp_path: Path) -> None:
    """It names the source."""
    with pytest.raises(InvalidRequest, match=r"sources\.orders"):
        _delta(tmp_path / "none", None, tmp_path / "1")


# --- Iceberg ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def lake(tmp_path: Path) -> Any:
    """An Iceberg table of 60 rows with the folder that holds it."""
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", schema=_rows(0, 1).schema)
    table.append(_rows(0, 60))
    return table


def _iceberg(table: Any, position: Position | None, folder: Path) -> Pulled:
    folder.mkdir(exist_ok=True)
    source = SourceSettings(name="orders", kind="iceberg", uri=table.location())
    return iceberg.pull(source, position or Position(place=source.place), folder)


def test_of_an_iceberg_table_only_appended_rows_come_the_second_time(lake: Any, tmp_path: Path) -> None:
    """By its snapshots; the third time there is nothing new."""
    first = _iceberg(lake, None, tmp_path / "1")
    for start in (60, 70):
        lake.append(_rows(start, 10))
    second = _iceberg(lake, first.after, tmp_path / "2")
    third = _iceberg(lake, second.after, tmp_path / "3")
    assert [(r.rows, r.remarks) for r in (first, second, third)] == [(60, ()), (20, ()), (0, ())]
    assert third.after == second.after
    assert _admitted(first, tmp_path / "a").rows_used == 60
    assert sorted(pa.parquet.read_table(second.file).column("id").to_pylist()) == list(range(60, 80))


@pytest.mark.parametrize("change", ["overwrite", "delete"])
def test_after_a_change_of_an_iceberg_table_that_is_no_append_the_whole_comes(
    lake: Any, tmp_path: Path, change: str
) -> None:
    """New rows cannot be told from old ones then; none is lost, and it is said."""
    first = _iceberg(lake, None, tmp_path / "1")
    if change == "overwrite":
        lake.overwrite(_rows(100, 40))
    else:
        lake.delete("id < 20")
    second = _iceberg(lake, first.after, tmp_path / "2")
    assert second.rows == 40
    assert "whole table" in second.remarks[0]


def test_an_iceberg_table_is_read_by_its_metadata_file(lake: Any, tmp_path: Path) -> None:
    """The address of one metadata file is that state of the table, whatever came after."""
    before = lake.metadata_location
    lake.append(_rows(60, 10))
    (tmp_path / "1").mkdir()
    source = SourceSettings(name="orders", kind="iceberg", uri=before)
    assert iceberg.pull(source, Position(place=source.place), tmp_path / "1").rows == 60


def test_an_iceberg_table_of_the_glue_catalog_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """glue:database.table, with the credentials and region of the environment."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        catalog = load_catalog("glue", type="glue")
        catalog.create_namespace("shop")
        location = f"file://{tmp_path}/lake/orders"
        catalog.create_table("shop.orders", schema=_rows(0, 1).schema, location=location).append(_rows(0, 60))
        (tmp_path / "1").mkdir()
        source = SourceSettings(name="orders", kind="iceberg", uri="glue:shop.orders")
        assert iceberg.pull(source, Position(place=source.place), tmp_path / "1").rows == 60
        for uri in ("glue:shop.sales", "glue:orders", "glue:nobody.orders"):
            wrong = SourceSettings(name="orders", kind="iceberg", uri=uri)
            with pytest.raises(InvalidRequest, match=f"sources.orders: {uri} cannot be read"):
                iceberg.pull(wrong, Position(place=wrong.place), tmp_path / "1")


def test_a_folder_without_iceberg_metadata_is_refused(tmp_path: Path) -> None:
    """With the source's name and its address."""
    source = SourceSettings(name="orders", kind="iceberg", uri=str(tmp_path))
    with pytest.raises(InvalidRequest, match=r"sources\.orders: .* cannot be read: it has no metadata") as caught:
        iceberg.pull(source, Position(place=source.place), tmp_path)
    assert caught.value.code == "source_unreadable"


# --- Postgres ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """What a secret of a server of its own holds."""
    with postgres_server.running() as secret:
        yield secret


@pytest.fixture
def events(server: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
    """A table of 60 rows with what Postgres has of types."""
    known = {"user" if k == "username" else k: v for k, v in server.items()}
    with psycopg.connect(autocommit=True, **known) as connection:  # type: ignore[arg-type] # texts only
        connection.execute("DROP TABLE IF EXISTS events")
        connection.execute(
            "CREATE TABLE events (id bigint, pay numeric(9,2), city text, at timestamptz, ok boolean, label text)"
        )
        connection.execute(
            "INSERT INTO events SELECT i, i / 4.0, CASE WHEN i % 5 = 0 THEN NULL ELSE 'Bern, \"BE\"' END, "
            "timestamptz '2024-01-01 12:00+02' + i * interval '1 hour', i % 2 = 0, CASE WHEN i % 2 = 0 THEN 'no' ELSE 'yes' END "
            "FROM generate_series(1, 60) i"
        )
        yield connection


_QUERY = "SELECT * FROM events WHERE city IS DISTINCT FROM 'x';"


def _postgres(secret: dict[str, str], position: Position | None, folder: Path, increment: str = "id") -> Pulled:
    folder.mkdir()
    source = SourceSettings(name="events", kind="postgres", query=_QUERY, increment=increment)
    return postgres.pull(source, position or Position(place=source.place), folder, secret)


@pytest.mark.parametrize("increment", ["id", "at"])
def test_of_a_query_only_rows_above_the_last_pull_come(
    server: dict[str, str], events: Any, tmp_path: Path, increment: str
) -> None:
    """By a number or a time; every value as the reader of uploads takes it."""
    first = _postgres(server, None, tmp_path / "1", increment)
    events.execute(
        "INSERT INTO events VALUES (1000, 1, 'Oslo', '2030-01-01', true, 'no'), (NULL, 1, 'Oslo', NULL, true, 'no')"
    )
    second = _postgres(server, first.after, tmp_path / "2", increment)
    third = _postgres(server, second.after, tmp_path / "3", increment)
    assert [r.rows for r in (first, second, third)] == [60, 1, 0]
    assert second.remarks == (f"1 rows have no {increment} and are never pulled",)
    admission = _admitted(first, tmp_path / "a")
    kinds = {c.name: c.kind for c in admission.schema.columns}
    assert kinds == {
        "id": "integer", "pay": "number", "city": "category", "at": "datetime", "ok": "boolean", "label": "category"
    }  # fmt: skip
    assert (admission.rows_used, admission.missing["city"]) == (60, {"(empty)": 12})


def test_without_an_increment_every_row_comes(server: dict[str, str], events: Any, tmp_path: Path) -> None:
    """Rows that are in use already are recognised by their content."""
    first = _postgres(server, None, tmp_path / "1", "")
    assert (first.rows, _postgres(server, first.after, tmp_path / "2", "").rows) == (60, 60)


@pytest.mark.usefixtures("events")
def test_a_query_changes_nothing(server: dict[str, str], tmp_path: Path) -> None:
    """The transaction is read-only, whatever the query says."""
    source = SourceSettings(name="events", kind="postgres", query="DELETE FROM events RETURNING *")
    with pytest.raises(InvalidRequest):
        postgres.pull(source, Position(place=source.place), tmp_path, server)
    assert _postgres(server, None, tmp_path / "1").rows == 60


def test_no_message_holds_the_password(
    server: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of a refused login, nor of a host that does not answer."""
    caplog.set_level(logging.DEBUG)
    for change in ({"password": "wr0ng-word"}, {"port": "1"}, {"dbname": "nowhere"}):
        secret = {**server, **change}
        with pytest.raises(InvalidRequest) as caught:
            _postgres(secret, None, tmp_path / next(iter(change)))
        assert secret["password"] not in f"{caught.value.message}{caught.value.fix}{caplog.text}"


# --- Athena: what the emulator cannot show -------------------------------------------------------------------------------
@pytest.fixture
def services() -> Iterator[Any]:
    """Athena and S3 whose answers are given; requests are held to the services' models."""
    known: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    clients = {name: boto3.client(name, **known) for name in ("athena", "s3")}
    with Stubber(clients["athena"]) as queries, Stubber(clients["s3"]) as objects:
        objects.add_response("list_object_versions", {}, {"Bucket": "data", "Prefix": "q/"})
        yield SimpleNamespace(client=clients.__getitem__, queries=queries)
        queries.assert_no_pending_responses()
        objects.assert_no_pending_responses()


def _athena(services: Any, folder: Path) -> Pulled:
    source = SourceSettings(name="sales", kind="athena", query="SELECT 1", database="shop", workgroup="team")
    return athena.pull(source, Position(place=source.place), folder, services.client, "s3://data/q/")


def _started(services: Any, **status: str) -> None:
    sent = {
        "QueryString": "SELECT * FROM (\nSELECT 1\n) AS pulled", "WorkGroup": "team", "QueryExecutionContext": {"Database": "shop"},
        "ResultConfiguration": {"OutputLocation": "s3://data/q/"},
    }  # fmt: skip
    services.queries.add_response("start_query_execution", {"QueryExecutionId": "7"}, sent)
    found = {"Status": status, "Statistics": {"DataScannedInBytes": 20_480}}
    services.queries.add_response("get_query_execution", {"QueryExecution": found}, {"QueryExecutionId": "7"})


def test_a_query_of_athena_that_does_not_end_is_stopped(
    services: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on costing."""
    monkeypatch.setattr(athena, "_LONGEST", 0.0)
    _started(services, State="RUNNING")
    services.queries.add_response("stop_query_execution", {}, {"QueryExecutionId": "7"})
    with pytest.raises(Unavailable, match=r"sources\.sales"):
        _athena(services, tmp_path)


def test_the_workgroups_limit_is_told(services: Any, tmp_path: Path) -> None:
    """In Athena's words: it is what bounds the cost."""
    _started(services, State="CANCELLED", StateChangeReason="Bytes scanned limit was exceeded")
    with pytest.raises(InvalidRequest, match=r"sources\.sales: Bytes scanned limit was exceeded"):
        _athena(services, tmp_path)


def test_types_of_athena_that_the_emulator_lacks_are_read(services: Any, tmp_path: Path) -> None:
    """Moments with a zone become UTC, infinity stays a number, decimals keep every digit."""
    kinds = {
        "at": "timestamp with time zone",
        "then": "timestamp with time zone",
        "x": "real",
        "n": "decimal",
        "j": "json",
    }
    cells = [
        "2024-03-01 10:00:00.000 Europe/Rome",
        "2024-03-01 10:00:00.500 +02:00",
        "Infinity",
        "12345678901234567890.10",
        "[1]",
    ]
    _types(services, kinds, cells)
    result = _athena(services, tmp_path)
    first, second = pa.parquet.read_table(result.file).to_pylist()
    assert [str(v) for v in first.values()] == [
        "2024-03-01 09:00:00", "2024-03-01 08:00:00.500000", "inf", cells[3], "[1]",
    ]  # fmt: skip
    assert list(second.values()) == [None] * 5
    assert result.remarks == ("Athena scanned 20,480 bytes",)


def test_lists_of_athena_are_refused_by_the_columns_name(services: Any, tmp_path: Path) -> None:
    """Their text would be a category that nobody meant."""
    _types(services, {"id": "bigint", "parts": "array"}, ["1", "[1, 2]"])
    with pytest.raises(InvalidRequest, match="column parts of the query holds lists"):
        _athena(services, tmp_path)


def _types(services: Any, kinds: dict[str, str], cells: list[str]) -> None:
    """A result of one row with these cells and one without any."""
    _started(services, State="SUCCEEDED")
    columns = [{"Name": n, "Type": t} for n, t in kinds.items()]
    rows = [{"Data": [{"VarCharValue": c} for c in row]} for row in (list(kinds), cells)] + [
        {"Data": [{}] * len(cells)}
    ]
    found = {"ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": columns}}}
    services.queries.add_response("get_query_results", found, {"QueryExecutionId": "7", "MaxResults": 1000})


# --- the command -----------------------------------------------------------------------------------------------------------
class _Bucket(MemoryStore):
    """Both the adapter's port and the client that `put` writes with."""

    def put_object(self, *, Bucket: str, Key: str, Body: Any) -> dict[str, str]:  # noqa: N803 - boto3's names
        return {"ETag": self.put(f"s3://{Bucket}/{Key}", Body.read())}


class _Target:
    outputs = {"DataBucket": "data"}  # noqa: RUF012 - read only
    bucket = _Bucket()

    def client(self, _service: str) -> _Bucket:
        return self.bucket


def test_the_command_uploads_what_is_new_and_remembers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: one upload of all rows, then one of the new ones; then none."""
    table = tmp_path / "orders"
    deltalake.write_deltalake(str(table), _rows(0, 60))
    (tmp_path / "settings.yaml").write_text(
        f"project: demo\ndata: {{target: label}}\nmodels: [{{name: m, class: 'a.b:C'}}]\n"
        f"sources: [{{name: orders, kind: delta, uri: {table}}}]\n"
    )
    monkeypatch.chdir(tmp_path)
    target = _Target()
    monkeypatch.setattr(command.Target, "find", lambda: target)
    monkeypatch.setattr(s3_store, "S3Store", lambda client: client)

    def pulled() -> int:
        result = CliRunner().invoke(app, ["pull", "orders", "--json"])
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["rows"])

    counts = [pulled(), pulled()]
    deltalake.write_deltalake(str(table), _rows(60, 7), mode="append")
    assert [*counts, pulled(), pulled()] == [60, 0, 7, 0]
    assert len(list(target.bucket.list("s3://data/incoming/pulled/orders/"))) == 2
    refused = CliRunner().invoke(app, ["pull", "nothing"]).exception
    assert isinstance(refused, InvalidRequest)
    assert "there are orders" in refused.message


@mock_aws
def test_the_command_reads_the_secret_that_the_source_names(
    events: psycopg.Connection[Any], server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Secrets Manager; what it prints and what it uploads does not hold the password."""
    clients = {name: boto3.client(name, region_name="us-east-1") for name in ("s3", "secretsmanager")}
    clients["s3"].create_bucket(Bucket="data")
    clients["s3"].put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    secret = {**server, "port": int(server["port"])}
    clients["secretsmanager"].create_secret(Name="events-reader", SecretString=json.dumps(secret))
    (tmp_path / "settings.yaml").write_text(
        "project: demo\ndata: {target: label}\nmodels: [{name: m, class: 'a.b:C'}]\n"
        "sources: [{name: events, kind: postgres, query: SELECT * FROM events, increment: id, secret: events-reader}]\n"
    )
    monkeypatch.chdir(tmp_path)
    target = SimpleNamespace(outputs={"DataBucket": "data"}, client=clients.__getitem__)
    monkeypatch.setattr(command.Target, "find", lambda: target)
    result = CliRunner().invoke(app, ["pull", "events", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == 60
    stored = [o["Key"] for o in clients["s3"].list_objects_v2(Bucket="data")["Contents"]]
    bodies = [clients["s3"].get_object(Bucket="data", Key=key)["Body"].read() for key in stored]
    assert len(stored) == 2  # the rows, and how far the source was read
    assert server["password"] not in result.output
    assert not [body for body in bodies if server["password"].encode() in body]


@pytest.mark.parametrize(("error", "words"), [(OSError(), "OSError"), (OSError("\n gone \nat line 7"), "gone")])
def test_a_reason_without_words_is_the_type_of_the_error(error: OSError, words: str) -> None:
    """Of several lines the first; a source with an address is named by it."""
    source = SourceSettings(name="orders", kind="delta", uri="s3://lake/orders")
    said = unreadable(source, error, "check the address").message
    assert said.rstrip() == f"sources.orders: s3://lake/orders cannot be read: {words}"
