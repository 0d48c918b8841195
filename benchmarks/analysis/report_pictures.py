"""Reports of two files by Dropforge and by three other tools, as pictures of the same size for docs/comparison.md.

python benchmarks/analysis/report_pictures.py [--keep FOLDER]     needs Chromium; `make report-pictures`

The files are Adult's reference and its new file with three faults: everybody is 8 years older, 4 % of the working hours are in
minutes, and one country has a new spelling. The others run in environments of their own below .cache/bench. Each picture is the
first screen and a half of the report, as its reader sees it before scrolling; --keep keeps the reports themselves, and whole
pages of ours in light, dark, on a phone and as printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import rivals

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser import chromium

PICTURES = rivals.ROOT / "docs" / "pictures"
SKRUB = """
import sys, pandas as pd
from skrub import TableReport
_, new, out = sys.argv[1:]
TableReport(pd.read_csv(new), title="new", verbose=0).write_html(out)
"""  # it describes one table and compares none
PROGRAMS = {**rivals.PROGRAMS, "skrub": SKRUB}
WIDTH, HEIGHT, WAIT_MS = 1280, 1400, 4000  # others draw their charts by script after the page has loaded
OURS = {
    "light": {"color_scheme": "light", "viewport": {"width": WIDTH, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": WIDTH, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "print": {"color_scheme": "light", "viewport": {"width": 794, "height": 1123}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder of the reports and of whole pages")
    keep = parser.parse_args().keep
    task = rivals.tasks(["adult"])[0]
    task = dataclasses.replace(task, new=faulty(task.new))
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for system in ("dropforge", *PROGRAMS):
            file = report(system, task, folder)
            first_screen(browser, file, PICTURES / f"report-{system}.webp")
        if keep:
            whole_pages(browser, folder / "dropforge.html", folder)


def faulty(file: Path) -> Path:
    """A copy of Adult's new file with the three faults."""
    changed = rivals.CACHE / "adult-faults.csv"
    hours = 'CASE WHEN hash(fnlwgt) % 25 = 0 THEN "hours-per-week"::INT * 60 ELSE "hours-per-week"::INT END'
    country = "replace(\"native-country\", 'United-States', 'USA')"
    changed.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect().execute(
        f'COPY (SELECT * REPLACE (age::INT + 8 AS age, {hours} AS "hours-per-week", {country} AS "native-country") '
        f"FROM read_csv('{file}', all_varchar = true)) TO '{changed}' (FORMAT csv, HEADER true)"
    )
    return changed


def report(system: str, task: rivals.Task, folder: Path) -> Path:
    """The report as a file; where it lies there already it is taken as it is."""
    file = folder / f"{system}.html"
    if file.exists():
        return file
    if system == "dropforge":
        program = Path(sys.executable).with_name("dropforge")
        command = [program, "analyze", task.old, task.new, "--out", file, "--settings", task.settings]
    else:
        command = [rivals.interpreter(system), "-c", PROGRAMS[system], task.old, task.new, file]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if not file.exists():  # `analyze` may end with another exit code for a drifted file
        sys.exit(f"error: {system} wrote no report: {done.stderr[-1500:]}")
    return file


def first_screen(browser: Any, file: Path, picture: Path) -> None:
    """The upper part of a report in light colours."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(file.resolve().as_uri(), wait_until="load")
    page.wait_for_timeout(WAIT_MS)
    shot = file.with_suffix(".png")
    page.screenshot(path=str(shot))
    page.close()
    with Image.open(shot) as opened:
        opened.convert("RGB").resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS).save(
            picture, "WEBP", quality=80, method=6
        )
    sys.stderr.write(f"{picture.relative_to(rivals.ROOT)}: {picture.stat().st_size:,} bytes\n")


def whole_pages(browser: Any, file: Path, folder: Path) -> None:
    """Our report in four looks, whole."""
    for name, look in OURS.items():
        page = browser.new_page(**look)
        page.goto(file.resolve().as_uri(), wait_until="load")
        if name == "print":
            page.emulate_media(media="print")
        page.screenshot(path=str(folder / f"dropforge-{name}.png"), full_page=True)
        page.close()


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as missing:  # there is no Chromium, and its words say what to install
        sys.exit(f"error: {missing}")
