"""Two local files compared, with no cloud."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from dropforge.analysis.report import html_report
from dropforge.analysis.report.build_report import compare_files
from dropforge.config import settings

from ...conftest import repeats

Row = tuple[int, str, str, str]
_SETTINGS = settings.load(
    "project: demo\ndata: {target: label, missing_markers: ['?']}\nmodels: [{name: m, class: 'a.b:C'}]\n"
)
# Categories that one file has and the other has not, missing ones, and texts that hardly repeat.
_ROW = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["a", "b", "c", "?", ""]),
    st.integers(0, 300).map(lambda n: f"id{n}"),
    st.just(""),
)


def _write(file: Path, rows: list[Row], seed: int) -> set[Row]:
    labelled = [(*r[:3], ("no", "yes")[i % 2]) for i, r in enumerate(rows)]
    random.Random(seed).shuffle(labelled)
    file.write_text("n,cat,code,label\n" + "".join(",".join(map(str, r)) + "\n" for r in labelled))
    return {(r[0], "" if r[1] == "?" else r[1], r[2], r[3]) for r in labelled}


@pytest.mark.repeated
@budget(max_examples=repeats(6, 100), deadline=None)
@given(
    old=st.lists(_ROW, min_size=4, max_size=80), new=st.lists(_ROW, min_size=4, max_size=80), half=st.integers(0, 40)
)
def test_rows_that_both_files_have_are_counted(
    tmp_path_factory: object, old: list[Row], new: list[Row], half: int
) -> None:
    """Whatever categories either file has: the share of the new distinct rows that the reference has too is exact."""
    folder: Path = tmp_path_factory.mktemp("files")  # type: ignore[attr-defined]
    new = [*new, *old[:half]]
    before, after = _write(folder / "old.csv", old, 1), _write(folder / "new.csv", new, 2)
    report = compare_files(folder / "old.csv", folder / "new.csv", _SETTINGS)
    assert report.shared_with_reference == len(before & after) / len(after)
    assert report.duplicates == len(new) - len(after)


def test_values_in_a_column_that_was_always_missing_are_reported(tmp_path: Path) -> None:
    """A column the reference has no value of: values in it are reported, with a suggestion that says so."""
    _write(tmp_path / "old.csv", [(n, "?", 1) for n in range(40)], 1)  # type: ignore[misc]
    _write(tmp_path / "new.csv", [(n, "a", 1) for n in range(40)], 2)  # type: ignore[misc]
    report = compare_files(tmp_path / "old.csv", tmp_path / "new.csv", _SETTINGS)
    (result,) = [f for f in report.findings if f.columns == ("cat",) and f.severity == "warn"]
    assert result.kind == "missing_decrease"
    assert "0.0% of cat is missing, 100.0% in the reference" in result.evidence
    assert "no value of cat at all" in result.suggestion


def test_a_report_without_a_time_shows_none(tmp_path: Path) -> None:
    """Files compared without a cloud have no hour of upload: the head of the report has no time, nor a bare `UTC`."""
    for seed, file in enumerate(("old.csv", "new.csv")):
        _write(tmp_path / file, [(n, "a", n % 2) for n in range(40)], seed)  # type: ignore[misc]
    report = compare_files(tmp_path / "old.csv", tmp_path / "new.csv", _SETTINGS)
    assert "<time" not in html_report.html(report)
    dated = report.model_copy(
        update={"provenance": report.provenance.model_copy(update={"created_at": "2026-01-02T03:04:05+00:00"})}
    )
    assert ">2026-01-02 03:04 UTC</time>" in html_report.html(dated)
