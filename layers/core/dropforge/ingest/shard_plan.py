"""Where a large file is cut: a text into ranges of bytes that begin and end with a record, a Parquet file into ranges of its rows.

A line end inside quotes ends no record, and only a quote at the start of a field opens one. In a text without quotes every line end
is a place to cut.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shard:
    """Bytes of a text or rows of a Parquet file, from `start` to `end` (exclusive), the first of which is on `line` (from 1)."""

    number: int
    start: int
    end: int
    line: int


class Plan(Protocol):
    """The shards of a file, in order."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """At least one; every record is in one of them."""

    def write(self, shard: Shard, folder: Path) -> Path:
        """The file to read the shard from: below `folder`, or one that has the other shards too, of which rows are read."""

    def line_of(self, shard: Shard, line: int) -> int:
        """The line of the file (Parquet: the row) on which a line of the shard stands."""


@dataclass(frozen=True, slots=True)
class TextPlan:
    """Of a text. The bytes before `header_end` are the header record, which every shard is read with."""

    text: Path
    header_end: int
    header_lines: int
    shards: tuple[Shard, ...]

    def write(self, shard: Shard, folder: Path) -> Path:
        """The header and the shard's records as a file of its own."""
        target = folder / "shard.csv"
        with self.text.open("rb") as source, target.open("wb") as out:
            out.write(source.read(self.header_end))
            source.seek(shard.start)
            left = shard.end - shard.start
            while left and (chunk := source.read(min(_CHUNK, left))):
                out.write(chunk)
                left -= len(chunk)
        return target

    def line_of(self, shard: Shard, line: int) -> int:
        """As Plan has it: the header's lines are those of the text."""
        return line if line <= self.header_lines else line - self.header_lines + shard.line - 1


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Of a Parquet file."""

    file: Path
    shards: tuple[Shard, ...]

    def write(self, shard: Shard, folder: Path) -> Path:  # noqa: ARG002 - as Plan has it
        """The whole file: row groups are read where they lie."""
        return self.file

    def line_of(self, shard: Shard, line: int) -> int:
        """As Plan has it."""
        return shard.start + line


def plan_rows(file: Path, groups: Sequence[tuple[int, int]], shard_bytes: int) -> RowPlan:
    """Shards of whole row groups with at least `shard_bytes`, the last aside. `groups`: rows and unpacked bytes of each."""
    shards, start, end, size = list[Shard](), 0, 0, 0
    for number, (rows, unpacked) in enumerate(groups, 1):
        end, size = end + rows, size + unpacked
        if end > start and (size >= shard_bytes or number == len(groups)):
            shards.append(Shard(len(shards), start, end, start + 1))
            start, size = end, 0
    return RowPlan(file, tuple(shards))


def plan_text(text: Path, delimiter: str, *, header_lines: int, quotes: bool, shard_bytes: int) -> TextPlan:
    """Shards of about `shard_bytes`, each of at least one record. `header_lines`: to the end of the header; 0 without one."""
    size = text.stat().st_size
    with text.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        header_end = 0
        for _ in range(header_lines):
            header_end = content.find(b"\n", header_end) + 1 or size
        fields = _quoted_fields(content, delimiter, header_end) if quotes else _none()
        with closing(fields):  # it holds the mapped file
            cuts = _cuts(content, header_end, shard_bytes, fields)
        lines = [header_lines + 1]
        for start, end in pairwise(cuts):
            lines.append(lines[-1] + _count_lines(content, start, end))
    bounds = zip(cuts, [*cuts[1:], size], lines, strict=True)
    return TextPlan(text, header_end, header_lines, tuple(Shard(n, *bound) for n, bound in enumerate(bounds)))


def _cuts(
    content: mmap.mmap, start: int, shard_bytes: int, fields: Generator[tuple[int, int], None, None]
) -> list[int]:
    """Where shards begin. `fields`: ranges in which a line end ends no record."""
    cuts, size, inside = [start], len(content), next(fields, None)
    while (at := cuts[-1] + shard_bytes) < size:
        end = content.find(b"\n", at) + 1
        while end and inside is not None and inside[0] < end:
            if end <= inside[1]:
                end = content.find(b"\n", inside[1]) + 1
            inside = next(fields, None)
        if not end or end >= size:
            break
        cuts.append(end)
    return cuts


def _none() -> Generator[tuple[int, int], None, None]:
    yield from ()


def _quoted_fields(content: mmap.mmap, delimiter: str, start: int) -> Generator[tuple[int, int], None, None]:
    """Ranges of the quoted fields from `start`, a record's beginning, in ascending order."""
    quoted = re.compile(rb"(?:\A|(?<=[\n" + re.escape(delimiter.encode()) + rb']))[ ]*"(?:[^"]|"")*+"')
    for match in quoted.finditer(content, start):
        yield match.span()


def _count_lines(content: mmap.mmap, start: int, end: int) -> int:
    return sum(content[at : min(at + _CHUNK, end)].count(b"\n") for at in range(start, end, _CHUNK))
