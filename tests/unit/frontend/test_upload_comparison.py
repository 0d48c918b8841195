"""Two uploads side by side, from what their reports say."""

from __future__ import annotations

from typing import Any

EVIL = "<script>alert(1)</script>"


def _report(key: str, columns: dict[str, tuple[str, float, float]], findings: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "intake": {"key": f"incoming/{key}", "rows_used": 100, "rows_quarantined": 0},
        "verdict": {"word": "warn"},
        "columns": [
            {"name": n, "outcome": o, "effect_corrected": e, "missing_share": m, "distinct": 7}
            for n, (o, e, m) in columns.items()
        ],
        "findings": [{"kind": k, "columns": [c], "title": f"{c}: {k}"} for k, c in findings],
    }


def test_what_differs_comes_first() -> None:
    """A column that only one has, then other outcomes, then the size of the change; equal values are shown once."""
    from dropforge_ui.pages.data.comparison import comparison

    a = _report(
        "a.csv", {"same": ("no_drift", 0.0, 0.0), "moved": ("no_drift", 0.01, 0.0), "gaps": ("no_drift", 0.0, 0.1)}, []
    )
    b = _report(
        "b.csv",
        {
            "same": ("no_drift", 0.0, 0.0),
            "moved": ("drift", 0.5, 0.0),
            "gaps": ("no_drift", 0.0, 0.4),
            "new": ("drift", 0.2, 0.0),
        },
        [],
    )
    page = str(comparison(a, b))
    places = [page.index(f"<b>{n}</b>") for n in ("new", "moved", "gaps", "same")]
    assert places == sorted(places)
    assert "no drift → drift" in page
    assert "10.0% → 40.0%" in page
    assert "absent → drift" in page


def test_findings_of_one_alone_are_listed() -> None:
    """What both have is left out."""
    from dropforge_ui.pages.data.comparison import comparison

    both, first, second = ("outliers", "x"), ("drift", "x"), ("duplicates", "x")
    columns = {"x": ("no_drift", 0.0, 0.0)}
    page = str(comparison(_report("a.csv", columns, [both, first]), _report("b.csv", columns, [both, second])))
    assert (
        page.index("of the first alone")
        < page.index("x: drift")
        < page.index("of the second alone")
        < page.index("x: duplicates")
    )
    assert "outliers" not in page


def test_foreign_texts_are_escaped_and_no_columns_are_told() -> None:
    """Markup in a column's name stays text; two reports without columns say so."""
    from dropforge_ui.pages.data.comparison import comparison

    one = _report(EVIL, {EVIL: ("drift", 0.1, 0.0)}, [(EVIL, EVIL)])
    assert "<script" not in str(comparison(one, _report("b.csv", {}, [])))
    assert "Nothing to compare" in str(comparison(_report("a.csv", {}, []), _report("b.csv", {}, [])))
