"""A table in many files (a folder, a glob, several names) as one file: one upload, one analysis, one training.

Parts are taken in the order of their paths, whatever order they were written or named in; one whose bytes another part has too is
taken once.
Names that begin with a point or an underscore (_SUCCESS, .crc) are no parts. Parquet keeps its types, and folders named column=value
are columns, as Hive and Spark write them. Text parts keep their lines: what is wrong in one is quarantined as in any upload.
"""

from __future__ import annotations

import glob
import hashlib
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dropforge.config.settings import DataSettings
from dropforge.errors import InvalidRequest, RejectedUpload
from dropforge.ingest import file_format, text_table
from dropforge.ingest.duckdb_connection import connect, quote

MOST: Final = 10_000
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One file, and the lines (of Parquet: the rows) of the whole that are its own, from 1."""

    file: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Whole:
    """`file` is what is uploaded under `name`; `parts` is empty for a table that was one file; `twice`: copies left out."""

    file: Path
    name: str
    parts: tuple[Part, ...] = ()
    twice: tuple[str, ...] = ()


def whole(given: Sequence[str], workdir: Path, data: DataSettings) -> Whole:
    """The one file of what was named. Raises InvalidRequest for names that are nothing, RejectedUpload for parts that do not fit."""
    root, files = _files(given)
    if len(files) == 1 and root != files[0] and not _partitions(root, files[0]):
        return Whole(files[0], files[0].name)
    if root == files[0]:
        return Whole(root, root.name)
    distinct, twice = _distinct(files)
    kinds = {f: file_format.unpacked(f, _folder(workdir, i), data.limits) for i, f in enumerate(distinct)}
    different = sorted({kind for _, kind in kinds.values()})
    if len(different) > 1:
        raise RejectedUpload(
            f"the parts are of several formats: {', '.join(different)}",
            code="parts_differ",
            fix="upload them one by one",
        )
    name = root.name or root.resolve().name
    if different == ["parquet"]:
        target = workdir / f"{name}.parquet"
        parts = _parquet(root, {f: kinds[f][0] for f in distinct}, target, workdir)
    else:
        target = workdir / f"{name}.{'jsonl' if different == ['jsonl'] else 'csv'}"
        for file in distinct:
            if _partitions(root, file):
                raise RejectedUpload(
                    f"{file} lies in a folder named column=value, which is read for Parquet only",
                    code="parts_differ",
                    fix="write the column into the files, or write Parquet",
                )
        join = _json_lines if different == ["jsonl"] else _text
        parts = join({f: kinds[f][0] for f in distinct}, target, workdir, data)
    return Whole(target, target.name, tuple(parts), tuple(str(t) for t in twice))


def _files(given: Sequence[str]) -> tuple[Path, list[Path]]:
    """The folder that holds them all (a file: itself), and the files in the order of their paths."""
    named = [Path(g) for g in given]
    if len(named) == 1 and named[0].is_file():
        return named[0], [named[0]]
    if len(named) == 1 and not named[0].exists():
        named = sorted(Path(p) for p in glob.glob(given[0], recursive=True))
    listed = [f for p in named for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    files = sorted({f for f in listed if f.is_file() and not _is_hidden(f, named)})
    missing = [str(p) for p in named if not p.exists()]
    if missing or not files:
        raise InvalidRequest(
            f"there is no {missing[0]}" if missing else f"{', '.join(given)[:200]}: no file",
            code="no_file",
            fix="name a file, a folder with files, or several files; a glob in quotes",
        )
    if len(files) > MOST:
        raise InvalidRequest(
            f"{len(files):,} files; the limit is {MOST:,}",
            code="too_many_parts",
            fix="join them, or upload folder by folder",
        )
    root = named[0] if len(named) == 1 and named[0].is_dir() else files[0].parent
    return root, files


def _is_hidden(file: Path, named: Sequence[Path]) -> bool:
    below = next((file.relative_to(p) for p in named if p.is_dir() and file.is_relative_to(p)), Path(file.name))
    return any(part.startswith((".", "_")) and "=" not in part for part in below.parts)


def _partitions(root: Path, file: Path) -> list[str]:
    """Folders between root and file that are named column=value."""
    if not file.is_relative_to(root):
        return []
    return [p for p in file.relative_to(root).parts[:-1] if "=" in p]


def _folder(workdir: Path, number: int) -> Path:
    folder = workdir / f"part-{number}"
    folder.mkdir()
    return folder


def _distinct(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files of different content, and those left out because an earlier one has the same bytes and the same partition."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    distinct, twice = list[Path](), list[Path]()
    for file in files:
        with file.open("rb") as f:
            content = (hashlib.file_digest(f, "sha256").hexdigest(), tuple(p for p in file.parts[:-1] if "=" in p))
        (twice if content in seen else distinct).append(file)
        seen.add(content)
    return distinct, twice


def _text(files: dict[Path, Path], target: Path, workdir: Path, data: DataSettings) -> list[Part]:
    """CSV, or the sheets of workbooks: the first header, then every part's lines below its own."""
    parts: list[Part] = []
    first: text_table.Source | None = None
    line = 1
    with closing(connect(workdir)) as connection, target.open("wb") as out:
        for number, (file, unpacked) in enumerate(files.items()):
            source = _opened(file, unpacked, workdir / f"part-{number}", connection, data)
            text = source.text
            assert text is not None  # noqa: S101 - only Parquet has none
            if first is None:
                first = source
                header = (
                    file_format.first_record(text.path, data.limits, data.csv.delimiter) if source.header_lines else ""
                )
                out.write(header.encode().rstrip(b"\n") + b"\n" if header else b"")
                line += header.count("\n") or bool(header)
            elif (source.header, source.delimiter) != (first.header, first.delimiter):
                raise _differs(file, source, first)
            lines = _append(text.path, source.header_lines, out)
            parts.append(Part(str(file), line, line + lines - 1))
            line += lines
    return parts


def _opened(file: Path, unpacked: Path, folder: Path, connection: Any, data: DataSettings) -> text_table.Source:
    """Raises RejectedUpload, which names the part."""
    try:
        return text_table.open_source(
            unpacked, folder, connection, data, None, text_table.OpenOptions(keep_nested=True, pair_quotes=False)
        )
    except RejectedUpload as error:
        raise RejectedUpload(f"{file}: {error.message}", code=error.code, fix=error.fix) from None


def _append(path: Path, skipped: int, out: Any) -> int:
    """Copy a text without its first lines; return how many lines were written."""
    lines = 0
    with path.open("rb") as f:
        for line in f:
            if skipped:
                skipped -= 1
                continue
            out.write(line if line.endswith(b"\n") else line + b"\n")
            lines += 1
    return lines


def _differs(file: Path, source: text_table.Source, first: text_table.Source) -> RejectedUpload:
    if source.delimiter != first.delimiter:
        message = f"its fields are separated by {source.delimiter!r}, those of the first part by {first.delimiter!r}"
    else:
        odd = sorted(set(source.header) ^ set(first.header))
        message = (
            f"columns {', '.join(odd)[:_SHOWN]} stand in one of them only"
            if odd
            else "its columns come in another order"
        )
    return RejectedUpload(
        f"{file} is not like the first part: {message}", code="parts_differ", fix="write all parts with one header line"
    )


def _json_lines(files: dict[Path, Path], target: Path, _workdir: Path, _data: DataSettings) -> list[Part]:
    parts: list[Part] = []
    line = 1
    with target.open("wb") as out:
        for file, unpacked in files.items():
            lines = _append(unpacked, 0, out)
            parts.append(Part(str(file), line, line + lines - 1))
            line += lines
    return parts


def _parquet(root: Path, files: dict[Path, Path], target: Path, workdir: Path) -> list[Part]:
    """Types are distinct; a column that some parts lack is missing there."""
    import duckdb

    staged = workdir / "staged"
    listed: list[Path] = []
    for number, (file, unpacked) in enumerate(files.items()):
        place = staged.joinpath(*_partitions(root, file), f"{number:06d}.parquet")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(unpacked, place)
        listed.append(place)
    hive = str(any(_partitions(root, f) for f in files)).lower()
    read = f"read_parquet([{', '.join(quote(str(p)) for p in listed)}], union_by_name = true, "
    read += f"hive_partitioning = {hive}, binary_as_string = true)"
    with closing(connect(workdir)) as connection:
        try:
            connection.execute(
                f"COPY (SELECT * FROM {read}) TO {quote(str(target))} (FORMAT parquet, COMPRESSION zstd)"
            )
            counts = [
                int(
                    connection.execute(f"SELECT max(num_rows) FROM parquet_file_metadata({quote(str(p))})").fetchone()[
                        0
                    ]
                )
                for p in listed
            ]
        except duckdb.Error as error:
            raise RejectedUpload(
                f"the parts are no one table: {str(error).splitlines()[0]}",
                code="parts_differ",
                fix="write all parts with the same columns and types",
            ) from None
    parts, row = [], 1
    for file, count in zip(files, counts, strict=True):
        parts.append(Part(str(file), row, row + count - 1))
        row += count
    return parts
