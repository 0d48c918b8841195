"""Find the rows of one person in everything that is stored, and rewrite or delete it: every object version, MLflow, logs, files.

Tables (CSV, JSON lines, Parquet) lose the matching rows; other texts have the value replaced; anything else that holds it (a graph,
a pickle, an archive) is deleted. A raw upload is not rewritten in place, which would be a new upload: what is left of it goes
to `erased/`. The bundle of a model that is active is left alone until another one is: running it again then completes it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import html
import io
import json
import re
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote as url_quote

from dropforge import keys
from dropforge.config.settings import Limits
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.errors import InvalidRequest
from dropforge.ingest import file_format
from dropforge.ingest.duckdb_connection import connect, name, quote

ERASED: Final = "[erased]"
SHORTEST: Final = 4  # characters of a value that is looked for in any text; shorter ones are in everything
_TERM = re.compile(r"""\s*(?:"((?:[^"]|"")+)"|([\w.\-]+))\s*=\s*(?:'((?:[^']|'')*)'|(-?[\w.]+))\s*""")
_BINARY: Final = (".onnx", ".pkl")
_TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")


@dataclass(frozen=True, slots=True)
class Person:
    """Whose rows are meant: the value of a column; and hashes of rows already found."""

    columns: Mapping[str, str]
    rows: frozenset[int] = frozenset()

    @property
    def values(self) -> tuple[str, ...]:
        """Those that are looked for in texts."""
        return tuple(v for v in self.columns.values() if len(v) >= SHORTEST)

    def pattern(self) -> re.Pattern[bytes]:
        """The value as it may be written in a text, as a word of its own: plain, in JSON, HTML, an address, other encodings."""
        return self._pattern(rb"(?<![0-9A-Za-z])", rb"(?![0-9A-Za-z])")

    def binary_pattern(self) -> re.Pattern[bytes]:
        """The same anywhere. In a graph or a pickle a string ends where the next field's tag begins, and that may be a letter."""
        return self._pattern(b"", b"")

    def _pattern(self, before: bytes, after: bytes) -> re.Pattern[bytes]:
        parts = []
        for value in self.values:
            forms = {value, json.dumps(value)[1:-1], html.escape(value), url_quote(value)}
            written = {f.encode() for f in forms}
            with contextlib.suppress(UnicodeEncodeError):
                written.add(value.encode("latin-1"))
            parts += [before + re.escape(w) + after for w in sorted(written, key=len, reverse=True)]
            parts += [re.escape(value.encode(code)) for code in ("utf-16-le", "utf-16-be")]
        return re.compile(b"|".join(parts))


def person(where: str) -> Person:
    """From `customer_id = 'A-17'`. Raises InvalidRequest for anything else, or for a value too short to find.

    One column, not several: in texts and in other columns a value is looked for by itself, and one that others share (a region)
    would take them along.
    """
    term = _TERM.fullmatch(where)
    if term is None:
        raise _malformed(where)
    column = term[1].replace('""', '"') if term[1] else term[2]
    created = Person({column: term[3].replace("''", "'") if term[3] is not None else term[4]})
    if not created.values:
        raise InvalidRequest(
            f"no value in {where!r} has {SHORTEST} characters: it would be found everywhere",
            code="value_too_short",
            fix="name a column that identifies the person: an id, an e-mail address",
        )
    return created


def _malformed(where: str) -> InvalidRequest:
    return InvalidRequest(
        f"cannot read {where!r}",
        code="where_malformed",
        fix="write one column that identifies the person: --where \"customer_id = 'A-17'\"",
    )


@dataclass(slots=True)
class Outcome:
    """What was found, and done unless it was a dry run. `left`: bundles of models that are active, with the value in them."""

    rewritten: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    rows: int = 0
    datasets: set[str] = field(default_factory=set)
    hashes: set[int] = field(default_factory=set)
    parts: dict[str, tuple[str, int]] = field(
        default_factory=dict
    )  # URI of a rewritten snapshot → its new hash and rows

    @property
    def found(self) -> int:
        """Places that had the person."""
        return len(self.rewritten) + len(self.deleted) + len(self.left)


class Eraser:
    """Works on the buckets with the caller's own credentials. `active`: prefixes of URIs of bundles in use. `dry`: looks only."""

    def __init__(self, s3: Any, who: Person, active: Iterable[str], *, dry: bool) -> None:
        self._s3, self._who, self._dry = s3, who, dry
        self._active = tuple(active)
        self._pattern = who.pattern()
        self._binary_pattern = who.binary_pattern()
        self.outcome = Outcome()

    def bucket(self, bucket: str) -> None:
        """Every version of every object; datasets first, because they say which rows are meant."""
        versions = self._versions(bucket)
        for key in sorted(versions, key=lambda k: (not keys.is_of_dataset(k), k)):
            if not key.startswith(keys.ERASURES):
                self._object(bucket, key, versions[key])
        if not self._dry and self.outcome.parts:
            for key in versions:
                if key.endswith(".json"):
                    self._follow(bucket, key)

    def _versions(self, bucket: str) -> dict[str, list[tuple[str, bool]]]:
        """Versions by key, the latest first."""
        matches: dict[str, list[tuple[str, bool]]] = {}
        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for v in page.get("Versions", ()):
                matches.setdefault(v["Key"], []).append((v["VersionId"], v["IsLatest"]))
        return matches

    def _object(self, bucket: str, key: str, versions: list[tuple[str, bool]]) -> None:
        for version, latest in versions:
            body = self._s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
            left = self._cleaned(bucket, key, body)
            if left is body:
                continue
            uri = keys.uri(bucket, key)
            if any(uri.startswith(prefix) for prefix in self._active):
                self.outcome.left.append(uri)
                continue
            (self.outcome.rewritten if left is not None and latest else self.outcome.deleted).append(f"{uri}?{version}")
            if not self._dry:
                self._replace(bucket, key, version, left if latest else None)

    def _replace(self, bucket: str, key: str, version: str, left: bytes | None) -> None:
        if left is not None:
            target = f"erased/{key}" if key.startswith(keys.UPLOADED) else key
            self._s3.put_object(Bucket=bucket, Key=target, Body=left)
        self._s3.delete_object(Bucket=bucket, Key=key, VersionId=version)

    def _cleaned(self, bucket: str, key: str, body: bytes) -> bytes | None:
        """What remains of an object: the same bytes when the person is not in it, None when nothing can remain."""
        if self._pattern.search(key.encode()):
            return None
        if body[:4] == b"PAR1":
            return self._parquet(bucket, key, body)
        if body.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            table = _arrow_as_parquet(body)
            return body if self._parquet(bucket, key, table) is table else None
        if packed := _compression(body):
            inner = packed.decompress(body)
            left = self._cleaned(bucket, key.removesuffix(".gz").removesuffix(".zst"), inner)
            return body if left is inner else left and packed.compress(left)
        if body[:4] == b"PK\x03\x04" and any(self._binary_pattern.search(part) for part in _members(body)):
            return None
        binary = _text(body) is None or key.endswith(_BINARY)
        result = (self._binary_pattern if binary else self._pattern).search(body)
        return self._other(key, body) if result else body

    def _other(self, key: str, body: bytes) -> bytes | None:
        """A table loses records, another text the value itself; of a bundle or a pickle nothing can remain: their hashes are known."""
        whole = key.endswith(_BINARY) or "/bundle/" in key or ("/model/" in key and not key.endswith(".json"))
        text = None if whole else _text(body)
        if text is None:
            return None
        if key.endswith(_TABLES):
            return self._lines(text, key).encode(_encoding(body))
        return self._pattern.sub(ERASED.encode(), body)

    def _lines(self, text: str, key: str) -> str:
        """A table without the records that hold a value; the first record of a CSV is its header."""
        stored = []
        objects = key.endswith("jsonl") or text.lstrip("\ufeff \n").startswith("{")
        for number, record in enumerate(_records(text, quoted=not objects)):
            if self._pattern.search(record.encode()) and (number or objects):
                self.outcome.rows += 1
            else:
                stored.append(record)
        return "".join(stored)

    def _parquet(self, bucket: str, key: str, body: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="dropforge-") as folder, closing(connect(Path(folder))) as db:
            source, target = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
            source.write_bytes(body)
            table = f"read_parquet({quote(str(source))})"
            columns = {str(c[0]): str(c[1]) for c in db.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
            condition = self._condition(columns)
            hashes = f"{name(ROW_HASH)}" if ROW_HASH in columns else "NULL"
            matched = db.execute(f"SELECT {hashes} FROM {table} WHERE {condition}").fetchall()
            if not matched:
                return body
            self.outcome.rows += len(matched)
            self.outcome.hashes |= {int(m[0]) for m in matched if m[0] is not None}
            db.execute(
                f"COPY (SELECT * FROM {table} WHERE NOT coalesce({condition}, false)) TO {quote(str(target))} "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
            left = target.read_bytes()
            if keys.is_snapshot(key):
                self.outcome.datasets.add(key.split("/")[1])
            rows = int(db.execute(f"SELECT count(*) FROM {table} WHERE NOT coalesce({condition}, false)").fetchone()[0])
            self.outcome.parts[keys.uri(bucket, key)] = (hashlib.sha256(left).hexdigest(), rows)
            return left

    def _condition(self, columns: Mapping[str, str]) -> str:
        """SQL of the rows that are the person's: by its columns, by a value in any text, or by the hash of a row found before."""
        parts = []
        named = {c: next((n for n in (c, f"x.{c}") if n in columns), None) for c in self._who.columns}
        if all(named.values()):
            terms = [
                f"CAST({name(n)} AS VARCHAR) = {quote(self._who.columns[c])}" for c, n in named.items() if n is not None
            ]
            parts.append("(" + " AND ".join(terms) + ")")
        for column, kind in columns.items():
            if kind.startswith(("VARCHAR", "ENUM")):
                # As a word of its own: RE2 has no look-behind.
                words = [f"(^|[^0-9A-Za-z]){re.escape(v)}($|[^0-9A-Za-z])" for v in self._who.values]
                parts += [f"regexp_matches(CAST({name(column)} AS VARCHAR), {quote(w)})" for w in words]
        known = self._who.rows | self.outcome.hashes
        if ROW_HASH in columns and known:
            parts.append(f"{name(ROW_HASH)} IN ({', '.join(str(h) for h in sorted(known))})")
        return " OR ".join(parts) or "false"

    def _follow(self, bucket: str, key: str) -> None:
        """Manifests that name a rewritten snapshot name its new hash and number of rows."""
        try:
            value = json.loads(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except (ValueError, self._s3.exceptions.NoSuchKey):
            return
        if _renamed(value, self.outcome.parts):
            self._s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(value, indent=1).encode())


def _renamed(value: Any, parts: Mapping[str, tuple[str, int]]) -> bool:
    """Change every part of a manifest in place whose file was rewritten; whether there was one."""
    changed = False
    if isinstance(value, dict):
        if value.get("uri") in parts and "sha256" in value:
            value["sha256"], value["rows"] = parts[value["uri"]]
            changed = True
        return any([changed, *(_renamed(v, parts) for v in value.values())])
    if isinstance(value, list):
        return sum(_renamed(v, parts) for v in value) > 0  # every one, not up to the first
    return False


def _encoding(body: bytes) -> str:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _compression(body: bytes) -> Any:
    """The module that unpacks the bytes; None when they are not compressed. Told by content: names of uploads are anybody's."""
    if body[:2] == b"\x1f\x8b":
        return gzip
    if body[:4] != b"\x28\xb5\x2f\xfd":
        return None
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _members(body: bytes) -> Iterator[bytes]:
    """What a zip archive holds, such as a workbook."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(body)) as archive:
        for member in archive.namelist():
            yield archive.read(member)


def _arrow_as_parquet(body: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dropforge-") as folder:
        file = Path(folder) / "in.arrow"
        file.write_bytes(body)
        return file_format.unpacked(file, Path(folder), Limits())[0].read_bytes()


def _text(body: bytes) -> str | None:
    """None for bytes that are no text."""
    if b"\x00" in body and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    return body.decode(_encoding(body))


def _records(text: str, *, quoted: bool) -> Iterator[str]:
    """Lines with their ends; a line break within quotes ends no record of a CSV."""
    pending = ""
    for line in io.StringIO(text, newline=""):
        pending += line
        if quoted and pending.count('"') % 2:
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def erase_logs(logs: Any, prefix: str, who: Person, *, dry: bool) -> list[str]:
    """Delete log streams that hold a value; their names."""
    gone = []
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
        for group in page["logGroups"]:
            streams = set()
            for value in who.values:
                result = logs.get_paginator("filter_log_events").paginate(
                    logGroupName=group["logGroupName"], filterPattern=json.dumps(value, ensure_ascii=False)
                )
                streams |= {e["logStreamName"] for p in result for e in p["events"] if value in e["message"]}
            for stream in sorted(streams):
                if not dry:
                    logs.delete_log_stream(logGroupName=group["logGroupName"], logStreamName=stream)
                gone.append(f"{group['logGroupName']}/{stream}")
    return gone


def erase_files(folder: Path, who: Person, *, dry: bool) -> list[str]:
    """Overwrite the values in log files of a local cloud by as many `x`, so that a writer's place in the file stays right."""
    pattern, done = who.pattern(), []
    for path in sorted(p for p in folder.rglob("*.log") if p.is_file()):
        body = path.read_bytes()
        if pattern.search(body):
            done.append(str(path))
            if not dry:
                with path.open("r+b") as file:
                    file.write(pattern.sub(lambda m: b"x" * len(m[0]), body))
    return done


def erase_database(path: Path, who: Person, *, dry: bool) -> int:
    """Replace the values in every text of an SQLite database (MLflow's, locally) and rebuild its file; cells changed."""
    if not path.exists():
        return 0
    changed = 0
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [r[1] for r in db.execute(f"PRAGMA table_info({name(table)})")]:
                for value in who.values:
                    # Names come from the database's own catalogue, quoted; values are parameters.
                    where = f"FROM {name(table)} WHERE instr(CAST({name(column)} AS TEXT), ?) > 0"
                    count = db.execute(f"SELECT count(*) {where}", (value,)).fetchone()[0]
                    changed += count
                    if count and not dry:
                        db.execute(
                            f"UPDATE {name(table)} SET {name(column)} = replace(CAST({name(column)} AS TEXT), ?, ?) "
                            f"WHERE instr(CAST({name(column)} AS TEXT), ?) > 0",
                            (value, ERASED, value),
                        )
        if changed and not dry:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed
