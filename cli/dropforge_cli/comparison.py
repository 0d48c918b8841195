"""`dropforge.compare(a, b)`: the report of two tables as a value that a notebook shows."""

from __future__ import annotations

import html
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge.analysis.report_model import Report
from dropforge.errors import InvalidRequest

_FRAME_HEIGHT = 720  # pixels of the report in a notebook; it scrolls inside


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What `compare` found: `report` has every figure (dropforge.analysis.report_model.Report)."""

    report: Report

    @property
    def verdict(self) -> str:
        """pass, warn or block."""
        return self.report.verdict.word

    @property
    def drifted(self) -> list[str]:
        """Names of the columns that drifted."""
        return [c.name for c in self.report.drifted]

    def html(self) -> str:
        """The whole report as one page."""
        from dropforge.analysis.report import html_report

        return html_report.html(self.report)

    def save(self, path: str | Path) -> Path:
        """Write the page; its path."""
        file = Path(path)
        file.write_text(self.html(), encoding="utf-8")
        return file

    def __repr__(self) -> str:
        """Verdict, what to do, and a line with sparklines for each changed column."""
        from dropforge_cli.commands.analyze import summary

        return "\n".join(summary(self.report))

    def _repr_html_(self) -> str:
        """The report in a frame of its own: its style and script do not meet the notebook's."""
        return (
            '<iframe title="Data quality and drift report" sandbox="allow-scripts" '
            f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0" srcdoc="{html.escape(self.html())}"></iframe>'
        )


def compare(reference: Any, new: Any, *, target: str = "", settings: str | Path | None = None) -> Comparison:
    """Compare two tables, each the path of a file or a pandas DataFrame, with the code of `dropforge analyze`.

    target: its column; inferred from `reference` when left out. settings: a settings.yaml, which names the target.
    Raises RejectedUpload for a table that cannot be used, InvalidRequest for anything that is no table.
    """
    from dropforge.analysis.report import build_report
    from dropforge_cli.commands.analyze import settings_for

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropforge-compare-")))
        before, now = _file(reference, folder, "reference"), _file(new, folder, "new")
        parsed = settings_for(Path(settings) if settings else None, before, target)
        return Comparison(build_report.compare_files(before, now, parsed))


def _file(table: Any, folder: Path, name: str) -> Path:
    """The file itself; a DataFrame as the CSV that would be uploaded."""
    if isinstance(table, str | Path):
        file = Path(table)
        if not file.is_file():
            raise InvalidRequest(f"there is no file {file}", code="file_missing", fix="give the path of a table")
        return file
    if not hasattr(table, "to_csv"):
        raise InvalidRequest(
            f"{type(table).__name__} is no table", code="no_table", fix="give a path or a pandas DataFrame"
        )
    file = folder / f"{name}.csv"
    table.to_csv(file, index=False)
    return file
