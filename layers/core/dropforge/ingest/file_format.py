"""What a file is, told by its bytes and never by its name; and its text made readable.

One pass over the bytes finds everything that would make a CSV reader guess: encoding, NUL bytes, line ends, quotes.
"""

from __future__ import annotations

import codecs
import gzip
import re
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from dropforge.config.settings import CsvSettings, Limits
from dropforge.errors import RejectedUpload
from dropforge.ingest import converted_table, csv_text

_CHUNK = 4 * 1024 * 1024
LONG_LINE = 128 * 1024
_HEAD = 4096  # bytes by which a wide encoding is recognised
_HINT = re.compile(r"\ufeff?\"?sep=.\"?\s*", re.IGNORECASE)  # of Excel
_FOREIGN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, or one with a password",
    b"\x7fELF": "a program",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"<stata_dta>": "a Stata file",
    b"$FL2": "an SPSS file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "a SQLite database",
    b"7z\xbc\xaf": "a 7-zip archive",
    b"FEA1": "a Feather file of version 1",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
}
_MAGIC = {
    b"PAR1": "parquet",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow stream",  # no text begins so: the length of a message follows
}
_COMPRESSED = frozenset({"gzip", "zstd"})
_ARROW = frozenset({"arrow", "arrow stream"})
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


@dataclass(slots=True)
class TextFacts:
    """What the pass over a CSV file found. `path` is the file to parse: UTF-8, one kind of line end, no BOM."""

    path: Path
    encoding: str
    bytes: int
    quotes: bool = False  # some field may be quoted
    lines: int = 0
    long_lines: bool = True  # some line may have more than LONG_LINE bytes
    notes: list[tuple[str, str]] = field(default_factory=list)  # (code, sentence) for the report


def detect(path: Path) -> str:
    """`csv`, `parquet`, `jsonl`, `excel`, `arrow`, `arrow stream`, `gzip` or `zstd`, by content.

    Raises RejectedUpload for an empty file and anything else."""
    with path.open("rb") as f:
        head = f.read(512)
    if not head:
        raise RejectedUpload(
            "the file is empty (0 bytes)", code="empty_file", fix="upload a CSV or Parquet file with rows"
        )
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if kind:
        return kind
    if head[:4] == b"PK\x03\x04":
        if converted_table.is_workbook(path):
            return "excel"
        raise _no_table("a zip archive or another workbook than Excel's .xlsx")
    foreign = next((words for magic, words in _FOREIGN.items() if head.startswith(magic)), "")
    if foreign:
        raise _no_table(foreign)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise RejectedUpload(
            "the file is a web page or XML", code="not_a_table", fix="upload the data itself as CSV or Parquet"
        )
    if start.startswith(b"{"):
        return "jsonl"
    if re.match(rb"\[\s*[{\[]", start):
        raise RejectedUpload(
            "the file is one JSON array", code="not_a_table", fix="write one object a line: jq -c '.[]' file.json"
        )
    return "csv"


def _no_table(kind: str) -> RejectedUpload:
    return RejectedUpload(
        f"the file is {kind}, whatever its name says",
        code="not_a_table",
        fix="upload CSV, Parquet, JSON lines, Arrow (Feather) or an Excel workbook (.xlsx)",
    )


def unpacked(path: Path, workdir: Path, limits: Limits) -> tuple[Path, str]:
    """The file itself, or what it holds when it is compressed, Parquet for Arrow; and what that is, as `detect` says.

    Raises RejectedUpload.
    """
    kind = detect(path)
    if kind in _COMPRESSED:
        path = _decompress(path, kind, workdir / "unpacked", limits)
        inner = detect(path)
        if inner in _COMPRESSED:
            raise RejectedUpload(
                f"the {kind} file holds another {inner} file",
                code="not_a_table",
                fix="compress it once and upload it again",
            )
        kind = inner
    if kind in _ARROW:
        return converted_table.arrow(path, workdir / "arrow.parquet", stream=kind == "arrow stream"), "parquet"
    return path, kind


def _decompress(path: Path, kind: str, target: Path, limits: Limits) -> Path:
    """Within the byte budget. Raises RejectedUpload when the budget is passed or the data are broken."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    written = 0
    try:
        with (gzip if kind == "gzip" else zstd).open(path, "rb") as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limits.max_bytes:
                    raise RejectedUpload(
                        f"the {kind} file unpacks to more than {limits.max_bytes:,} bytes",
                        code="over_byte_budget",
                        fix="split the file, or raise data.limits.max_bytes",
                    )
                out.write(chunk)
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise RejectedUpload(
            f"the {kind} file is broken: {error}", code="truncated", fix="compress and upload it again"
        ) from None
    return target


def read_text(path: Path, workdir: Path, settings: CsvSettings) -> TextFacts:
    """Check every byte, and write a normalised copy only when the file needs one.

    Raises RejectedUpload naming the byte offset for NUL bytes and for bytes that are not of the encoding.
    """
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(_HEAD)
    facts = TextFacts(path, settings.encoding, size)
    if settings.encoding in {"utf-8", "utf-16"} and (wide := _wide_encoding(head)):
        facts.encoding = wide
    elif head[:3] == codecs.BOM_UTF8:
        facts.notes.append(("bom_removed", "the file begins with a byte order mark; it was left out"))
    if facts.encoding == "utf-8":
        counts = _check_utf8(path)
    else:
        facts.notes.append(("decoded", f"the file was read as {facts.encoding}"))
        facts.path = _recode(path, workdir / "decoded.csv", facts.encoding)
        counts = _check_utf8(facts.path)
    facts.quotes, facts.long_lines = bool(counts["quotes"]), bool(counts["long"])
    lone = counts["cr"] - counts["crlf"]
    facts.lines = counts["lf"] + lone + counts["open"]
    mixed = counts["crlf"] and counts["lf"] > counts["crlf"]
    if lone or mixed or head[:3] == codecs.BOM_UTF8:
        if lone:
            facts.notes.append(
                ("line_ends", f"{lone:,} lines end with a bare carriage return; they were read as line ends")
            )
        elif mixed:
            facts.notes.append(("line_ends", "the file mixes two kinds of line ends; both were read as line ends"))
        facts.path = _normalise(facts.path, workdir / "normalised.csv")
    return facts


def _wide_encoding(head: bytes) -> str:
    """UTF-32 or UTF-16 by a byte order mark, or UTF-16 without one by the zeros beside ASCII; empty for anything else."""
    if head[:4] in {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}:
        return "utf-32"
    if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "utf-16"
    first, second = head[::2].count(0), head[1::2].count(0)
    if len(head) % 2 or max(first, second) * 4 < len(head) or min(first, second) * 10 > max(first, second):
        return ""
    return "utf-16-le" if second > first else "utf-16-be"


def _check_utf8(path: Path) -> dict[str, int]:
    counts = {"cr": 0, "crlf": 0, "lf": 0, "quotes": 0, "long": 0, "open": 0}
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, previous = 0, b""
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            nul = chunk.find(b"\0")
            if nul >= 0:
                raise RejectedUpload(
                    f"NUL byte at offset {offset + nul:,}",
                    code="nul_bytes",
                    fix="the file is damaged, packed or of another encoding; export it again as text in UTF-8",
                )
            if not chunk.isascii() or decoder.getstate()[0]:
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    _reject_encoding(path, offset - pending + error.start)
            if b"\r" in chunk or previous == b"\r":
                counts["cr"] += chunk.count(b"\r")
                counts["crlf"] += chunk.count(b"\r\n") + (previous == b"\r" and chunk[:1] == b"\n")
            counts["lf"] += chunk.count(b"\n")
            counts["quotes"] = counts["quotes"] or b'"' in chunk
            counts["long"] += _has_long_line(chunk)
            previous = chunk[-1:]
            offset += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        _reject_encoding(path, offset)
    counts["open"] = previous not in {b"", b"\n", b"\r"}
    return counts


def long_line(path: Path, limit: int) -> int:
    """The first line of more than `limit` bytes, from 1; 0 when there is none."""
    number = 1
    with path.open("rb") as f:
        while piece := f.readline(limit + 1):
            if len(piece) > limit:
                return number
            number += 1
    return 0


def has_empty_line(path: Path) -> bool:
    """Some line of a file as TextFacts.path names it has nothing in it."""
    with path.open("rb") as f:
        return any(not line.strip(b"\r\n") for line in f)


def lines_with_text(path: Path) -> int:
    """How many lines of a file as TextFacts.path names it have something in them."""
    with path.open("rb") as f:
        return sum(1 for line in f if line.strip(b"\r\n"))


def _has_long_line(chunk: bytes) -> bool:
    """No line of LONG_LINE bytes can hide when every half of that length has a line end."""
    step = LONG_LINE // 2
    return any(
        chunk.find(b"\n", at, at + step) < 0 and chunk.find(b"\r", at, at + step) < 0
        for at in range(0, len(chunk) - step, step)
    )


def _reject_encoding(path: Path, offset: int) -> None:
    line = 1
    with path.open("rb") as f:
        line += f.read(offset).count(b"\n")
    raise RejectedUpload(
        f"the byte at offset {offset:,} (line {line:,}) is not UTF-8",
        code="encoding",
        fix="save the file as UTF-8, or declare its encoding: data.csv.encoding: cp1252 (Excel on Windows) or latin-1",
    )


def _recode(path: Path, target: Path, encoding: str) -> Path:
    try:
        with (
            path.open("r", encoding=encoding, newline="") as source,
            target.open("w", encoding="utf-8", newline="") as out,
        ):
            while text := source.read(_CHUNK):
                out.write(text)
    except UnicodeError as error:
        raise RejectedUpload(
            f"the file is not {encoding}: {error}", code="encoding", fix="correct data.csv.encoding or export as UTF-8"
        ) from None
    return target


def _normalise(path: Path, target: Path) -> Path:
    """No BOM, `\\n` line ends. Line numbers stay what they were."""
    with path.open("rb") as source, target.open("wb") as out:
        pending = b""
        first = True
        while chunk := source.read(_CHUNK):
            text = pending + chunk
            if first:
                text, first = text.removeprefix(codecs.BOM_UTF8), False
            pending = b"\r" if text.endswith(b"\r") else b""
            out.write(text[: len(text) - len(pending)].replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        out.write(pending.replace(b"\r", b"\n"))
    return target


def first_record(path: Path, limits: Limits, delimiter: str = "auto") -> str:
    """The first non-empty record of a file as text, line ends inside quotes included. Raises RejectedUpload for Excel's `sep=;`."""
    lines: list[str] = []
    size, inside = 0, False
    opening = csv_text.opening("".join(_DELIMITERS) if delimiter == "auto" else delimiter)
    with path.open("r", encoding="utf-8", newline="") as f:
        while line := f.readline(limits.max_field_bytes + 1):
            if not lines and not line.strip():
                continue
            lines.append(line)
            size += len(line)
            inside = csv_text.is_open(line.encode(), opening, inside=inside)
            if size > limits.max_field_bytes:
                raise RejectedUpload(
                    f"the header has more than {limits.max_field_bytes:,} characters",
                    code="long_header",
                    fix="write a line with the columns' names; close a quote that opens in it",
                )
            if not inside:
                break
    text = "".join(lines)
    if _HINT.fullmatch(text):
        raise RejectedUpload(
            f"the first line is {text.strip()!r}, a hint for Excel and no header",
            code="excel_hint",
            fix="delete that line; the delimiter is recognised without it",
        )
    return text


def choose_delimiter(record: str, settings: CsvSettings, known: frozenset[str]) -> str:
    """The delimiter declared; else the one that splits the first record best.

    `known`: column names expected (of the reference); a delimiter that yields more of them wins, then more cells. The
    choice is confirmed afterwards against every line of the file: rows that do not fit it are counted.
    Raises RejectedUpload when two delimiters split it equally well.
    """
    if settings.delimiter != "auto":
        return settings.delimiter
    scores = {}
    for d in _DELIMITERS:
        cells = [c.strip() for c in csv_text.record(record, d)]
        scores[d] = (len(known & set(cells)), len(cells))
    best = max(scores, key=lambda d: scores[d])
    if scores[best][1] > 1 and sum(s == scores[best] for s in scores.values()) > 1:
        names = " and ".join(_DELIMITERS[d] for d, s in scores.items() if s == scores[best])
        raise RejectedUpload(
            f"the first line splits equally well by {names}", code="delimiter", fix="name it: data.csv.delimiter"
        )
    return best
