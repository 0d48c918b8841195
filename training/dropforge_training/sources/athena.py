"""A query on Athena: rows whose increment column is above the largest value pulled before, read with the types of the result.

Results are read by GetQueryResults, whose pages tell a missing value from an empty text, as Athena's CSV file does to few readers.
API: https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryResults.html
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import re
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from dropforge import s3_uri
from dropforge.config.settings import SourceSettings
from dropforge.errors import InvalidRequest, Unavailable
from dropforge_training.sources import parquet_rows
from dropforge_training.sources.pulled import Position, Pulled
from dropforge_training.sources.unreadable_source import unreadable

Client = Callable[[str], Any]  # a boto3 client by the service's name
_PAGE: Final = 1000  # rows; Athena gives no more at once
_PAGES_AT_ONCE: Final = 50  # of one row group
_LONGEST: Final = 1800.0  # seconds: Athena's own default limit of a query
_ENDED: Final = {"SUCCEEDED", "FAILED", "CANCELLED"}
_INTEGERS: Final = {"tinyint", "smallint", "integer", "bigint"}
_FLOATS: Final = {"double", "float", "real"}
_NESTED: Final = {"array", "map", "row", "struct"}
_ZONE: Final = re.compile(r"^(?P<clock>[0-9-]{10} [0-9:.]+) (?P<zone>\S+)$")


def pull(source: SourceSettings, position: Position, workdir: Path, client: Client, place: str) -> Pulled:
    """`place`: an empty folder on S3 (s3://…/) for Athena's files, which are deleted again.

    Raises InvalidRequest with Athena's reason for a query that fails, Unavailable for one that takes longer than 30 minutes.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    queries = _Queries(source, client("athena"), place)
    try:
        result = _rows(queries, source, position, workdir / "new.parquet")
    except (BotoCoreError, ClientError, ValueError) as error:  # ValueError: a year that no reader knows
        raise _refused(source, str(error)) from None
    finally:
        with contextlib.suppress(BotoCoreError, ClientError):  # what cannot be deleted now expires (template.yaml)
            _delete(client("s3"), place)
    return result


def _rows(queries: _Queries, source: SourceSettings, position: Position, target: Path) -> Pulled:
    query = f"SELECT * FROM (\n{source.query.strip().rstrip(';')}\n) AS pulled"  # its last line may end in a remark
    after, remarks = position, list[str]()
    if source.increment:
        largest, kind, without = _limits(queries, query, source.increment)
        if without:
            remarks.append(f"{without:,} rows have no {source.increment} and are never pulled")
        if largest is None or largest == position.value:
            return Pulled(target, 0, position, (*remarks, queries.cost))
        after = Position(place=position.place, value=largest)
        column = _name(source.increment)
        query += f" WHERE {column} <= CAST({_text(largest)} AS {kind})"
        if position.value:
            query += f" AND {column} > CAST({_text(position.value)} AS {kind})"
    query_id = queries.run(query)
    rows = _write(queries.pages(query_id), target)
    return Pulled(target, rows, after, (*remarks, queries.cost))


def _limits(queries: _Queries, query: str, increment: str) -> tuple[str | None, str, int]:
    """Largest value of the increment as text, its type in SQL, rows without one."""
    column = _name(increment)
    sql = (
        f"SELECT CAST(max({column}) AS varchar) AS largest, typeof(max({column})) AS kind, "
        f"CAST(count(*) - count({column}) AS varchar) AS without FROM (\n{query}\n) AS limits"
    )
    page = next(queries.pages(queries.run(sql)))
    largest, kind, without = (cell.get("VarCharValue") for cell in page["Rows"][0]["Data"])
    return largest, str(kind), int(without or 0)


class _Queries:
    """Queries of one pull, one after the other. `cost`: what they read, in words."""

    def __init__(self, source: SourceSettings, athena: Any, place: str) -> None:
        self._source = source
        self._athena = athena
        self._place = place
        self._scanned = 0

    @property
    def cost(self) -> str:
        return f"Athena scanned {self._scanned:,} bytes"

    def run(self, sql: str) -> str:
        """The id of a query that succeeded. One that is still running when we are stopped is stopped as well."""
        source = self._source
        known: dict[str, Any] = {"QueryString": sql, "ResultConfiguration": {"OutputLocation": self._place}}
        if source.database:
            known["QueryExecutionContext"] = {"Database": source.database}
        query_id = str(self._athena.start_query_execution(WorkGroup=source.workgroup, **known)["QueryExecutionId"])
        execution: dict[str, Any] = {}
        try:
            execution = self._ended(query_id)
        finally:
            if not execution:
                self._athena.stop_query_execution(QueryExecutionId=query_id)
        self._scanned += int(execution.get("Statistics", {}).get("DataScannedInBytes", 0))
        status = execution["Status"]
        if status["State"] != "SUCCEEDED":
            raise _refused(source, status.get("StateChangeReason") or f"the query was {status['State'].lower()}")
        return query_id

    def _ended(self, query_id: str) -> dict[str, Any]:
        from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

        waiting = Retrying(
            retry=retry_if_result(lambda e: e["Status"]["State"] not in _ENDED),
            wait=wait_exponential(multiplier=0.2, max=5),
            stop=stop_after_delay(_LONGEST),
        )
        try:
            found: dict[str, Any] = waiting(
                lambda: self._athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
            )
        except RetryError:
            raise Unavailable(
                f"sources.{self._source.name}: the query did not end within {_LONGEST / 60:.0f} minutes and was stopped",
                code="source_slow",
                fix="let the query read less, or pull again when Athena is less busy",
            ) from None
        return found

    def pages(self, query_id: str) -> Iterator[dict[str, Any]]:
        """Result sets of at most 1,000 rows; the names of the columns, which Athena gives as the first row, left out."""
        more: dict[str, str] = {}
        for number in itertools.count():
            answer = self._athena.get_query_results(QueryExecutionId=query_id, MaxResults=_PAGE, **more)
            found = answer["ResultSet"]
            yield {**found, "Rows": found["Rows"][1:]} if number == 0 else found
            if not answer.get("NextToken"):
                return
            more = {"NextToken": answer["NextToken"]}


def _write(pages: Iterator[dict[str, Any]], target: Path) -> int:
    """The rows of all pages as Parquet; how many there are."""
    import pyarrow as pa

    first = next(pages)
    described = first["ResultSetMetadata"]["ColumnInfo"]
    nested = [c["Name"] for c in described if c["Type"].partition("(")[0] in _NESTED]
    if nested:
        raise InvalidRequest(
            f"column {nested[0]} of the query holds lists or records",
            code="source_nested",
            fix="select its parts as columns of their own, or leave it out",
        )
    schema = pa.schema([(c["Name"], _arrow_type(c["Type"])) for c in described])
    together = itertools.chain([first], pages)

    def batches() -> Iterator[Any]:
        while group := list(itertools.islice(together, _PAGES_AT_ONCE)):
            rows = [row["Data"] for page in group for row in page["Rows"]]
            columns = [
                _column([row[i].get("VarCharValue") for row in rows], field.type) for i, field in enumerate(schema)
            ]
            yield pa.record_batch(columns, schema=schema)

    return parquet_rows.write(schema, batches(), target)


def _arrow_type(kind: str) -> Any:
    """Of a type of Athena. Decimals stay texts, which are exact: the reader of uploads takes them for the numbers they are."""
    import pyarrow as pa

    kind = kind.partition("(")[0].strip().lower()
    if kind in _INTEGERS:
        return pa.int64()
    if kind in _FLOATS:
        return pa.float64()
    if kind.startswith("timestamp"):
        return pa.timestamp("us")
    return {"boolean": pa.bool_(), "date": pa.date32()}.get(kind, pa.string())


def _column(texts: list[str | None], kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.array([None if t is None else _moment(t) for t in texts], kind)
    if pa.types.is_floating(kind):  # Python knows Infinity, as Athena writes it
        return pa.array([None if t is None else float(t) for t in texts], kind)
    return pa.array(texts, pa.string()).cast(kind)


def _moment(text: str) -> dt.datetime:
    """In UTC where the text names a zone: 2024-03-01 10:00:00.000 Europe/Rome."""
    zoned = _ZONE.match(text)
    zone = zoned["zone"] if zoned else ""
    offset = zone[:1] in {"+", "-"}
    moment = dt.datetime.fromisoformat(f"{zoned['clock']}{zone if offset else ''}" if zoned else text)
    if zone and not offset:
        moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _refused(source: SourceSettings, reason: str) -> InvalidRequest:
    fix = "try the query in Athena's editor with the same workgroup and database; check your permission to read its tables"
    return unreadable(source, reason, fix)


def _delete(s3: Any, place: str) -> None:
    """Every version of every object: the files hold rows."""
    bucket, prefix = s3_uri.split(place)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [
            {"Key": o["Key"], "VersionId": o["VersionId"]}
            for k in ("Versions", "DeleteMarkers")
            for o in page.get(k, ())
        ]
        if found:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
