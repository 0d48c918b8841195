"""A query on Postgres: rows whose increment column is above the largest value pulled before, written by the server as CSV."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dropforge.config.settings import SourceSettings
from dropforge_training.sources.pulled import Position, Pulled
from dropforge_training.sources.unreadable_source import unreadable

_KNOWN: Final = {"host": "host", "port": "port", "dbname": "dbname", "database": "dbname", "username": "user", "user": "user",
                 "password": "password", "sslmode": "sslmode", "sslrootcert": "sslrootcert"}  # fmt: skip
_BOOLEAN: Final = 16  # its type's number in every database
_TIMEOUT: Final = 10  # seconds to connect


def pull(source: SourceSettings, position: Position, workdir: Path, secret: Mapping[str, str]) -> Pulled:
    """`secret`: host, port, dbname, username, password as Secrets Manager keeps them; empty: what libpq's environment says.

    Reads in one read-only transaction, so that the limit and the rows are of one moment. Raises InvalidRequest.
    """
    import psycopg

    target = workdir / "new.csv"
    try:
        with psycopg.connect(**_parameters(secret)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            return _rows(connection, source, position, target)
    except psycopg.Error as error:
        fix = "check the query, the secret's host, dbname and username, and that this machine may connect"
        raise unreadable(source, error, fix) from None


def _rows(connection: Any, source: SourceSettings, position: Position, target: Path) -> Pulled:
    from psycopg import sql

    connection.execute("SET LOCAL DateStyle = ISO; SET LOCAL TimeZone = UTC")
    query = sql.SQL("SELECT * FROM (\n{}\n) AS pulled").format(sql.SQL(source.query.strip().rstrip(";")))
    after, remarks = position, list[str]()
    if source.increment:
        column = sql.Identifier(source.increment)
        limits = sql.SQL("SELECT max({c})::text, count(*) FILTER (WHERE {c} IS NULL) FROM ({q}) AS limits").format(
            c=column, q=query
        )
        largest, without = connection.execute(limits).fetchone()
        if without:
            remarks.append(f"{without:,} rows have no {source.increment} and are never pulled")
        if largest is None or largest == position.value:
            return Pulled(target, 0, position, tuple(remarks))
        after = Position(place=position.place, value=largest)
        kind = _kind(connection, query, source.increment)
        bounds = [sql.SQL("{} <= {}::{}").format(column, sql.Literal(largest), sql.SQL(kind))]
        if position.value:
            bounds.append(sql.SQL("{} > {}::{}").format(column, sql.Literal(position.value), sql.SQL(kind)))
        query = sql.SQL("{} WHERE {} ORDER BY {}").format(query, sql.SQL(" AND ").join(bounds), column)
    query = _with_words(connection, query)
    with connection.cursor() as cursor, target.open("wb") as out:
        with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')").format(query)) as copied:
            for block in copied:
                out.write(block)
        rows = max(cursor.rowcount, 0)
    return Pulled(target, rows, after, tuple(remarks))


def _with_words(connection: Any, query: Any) -> Any:
    """Truths as true and false: COPY writes t and f, which are words like any other to who reads them."""
    from psycopg import sql

    described = connection.execute(sql.SQL("SELECT * FROM ({}) AS described LIMIT 0").format(query)).description
    columns = (
        sql.SQL("{c}::text AS {c}" if d.type_code == _BOOLEAN else "{c}").format(c=sql.Identifier(d.name))
        for d in described
    )
    return sql.SQL("SELECT {} FROM ({}) AS worded").format(sql.SQL(", ").join(columns), query)


def _kind(connection: Any, query: Any, column: str) -> str:
    """The column's type by its name in SQL."""
    from psycopg import sql

    one = sql.SQL("SELECT pg_typeof({})::text FROM ({}) AS typed LIMIT 1").format(sql.Identifier(column), query)
    return str(connection.execute(one).fetchone()[0])


def _parameters(secret: Mapping[str, str]) -> dict[str, Any]:
    given = {_KNOWN[k]: v for k, v in secret.items() if k in _KNOWN}
    if given.get("host") and not _is_loopback(given["host"]):
        given.setdefault("sslmode", "require")
    return {"connect_timeout": _TIMEOUT, "application_name": "dropforge", **given}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or host.startswith("/") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
