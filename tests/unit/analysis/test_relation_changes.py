"""Pairs of columns: what changed although every single column looks the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats.contingency

from dropforge.analysis import column_pairs
from dropforge.analysis.report_model import Report

from ...conftest import repeats

Compare = Callable[..., Report]


def _tied(count: int, seed: int) -> list[dict[str, Any]]:
    """Four features that tell of the label, and two that tell of each other."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        yes = rng.random() < 0.4
        team = rng.choice(["red", "blue", "green"])
        rows.append(
            {
                "height": round(rng.gauss(180 if yes else 165, 10), 2),
                "weight": round(rng.gauss(80 if yes else 65, 10), 2),
                "city": rng.choices(["Bern", "Oslo", "Rome"], [6, 2, 1] if yes else [1, 2, 6])[0],
                "plan": rng.choices(["a", "b"], [3, 1] if yes else [1, 3])[0],
                "team": team,
                "shirt": team if rng.random() < 0.9 else rng.choice(["red", "blue", "green"]),
                "label": "yes" if yes else "no",
            }
        )
    return rows


@pytest.fixture(scope="module")
def reference() -> list[dict[str, Any]]:
    return _tied(3000, 1)


def _kinds(report: Report) -> set[str]:
    return {f.kind for f in report.findings}


@pytest.mark.repeated
def test_nothing_changed_is_said_of_the_same_distribution(compared: Compare, reference: Any) -> None:
    """Samples of one distribution: no changed relation and no noisy labels."""
    for i in range(repeats(4, 30)):
        assert not _kinds(compared(reference, _tied(1000, 50 + i))) & {"joint_drift", "labels_weakened"}


def test_a_column_shuffled_on_its_own_is_found(compared: Compare, reference: Any) -> None:
    """No single column drifts; the pair that fell apart is named."""
    rows = _tied(2000, 2)
    shirts = [r["shirt"] for r in rows]
    random.Random(3).shuffle(shirts)
    report = compared(reference, [{**r, "shirt": s} for r, s in zip(rows, shirts, strict=True)])
    assert not report.drifted
    finding = next(f for f in report.findings if f.kind == "joint_drift")
    assert set(finding.columns) == {"shirt", "team"}
    assert report.verdict.word == "warn"


def test_swapped_labels_are_found(compared: Compare, reference: Any) -> None:
    """One label in ten turned round: no feature changed, yet each tells less of the label."""
    rng = random.Random(4)
    rows = [
        {**r, "label": {"yes": "no", "no": "yes"}[r["label"]] if rng.random() < 0.1 else r["label"]}
        for r in _tied(4000, 5)
    ]
    report = compared(reference, rows)
    assert report.top_actions[0].kind == "labels_weakened"


def test_a_feature_that_gives_the_target_away_is_told(compared: Compare, reference: Any) -> None:
    """A copy of the label under another name is a leak; two columns that say the same are told too."""
    rows = [{"outcome": "won" if r["label"] == "yes" else "lost", "copy": r["team"], **r} for r in reference]
    kinds = {(f.kind, f.columns) for f in compared(None, rows).findings}
    assert ("leakage", ("outcome",)) in kinds
    assert ("strong_association", ("copy", "team")) in kinds


def test_a_drifted_column_is_not_told_twice(compared: Compare, reference: Any) -> None:
    """A shifted column moves its relations as well; the shift is the finding."""
    rows = [{**r, "height": r["height"] + 15} for r in _tied(2000, 6)]
    report = compared(reference, rows)
    assert {c.name for c in report.drifted} == {"height"}
    assert "joint_drift" not in _kinds(report)


def test_the_strength_is_the_fields() -> None:
    """Uncorrected it is scipy's Cramér's V; the correction only takes a little off for thousands of rows; missing is left out."""
    table = [[500, 200, 100], [100, 300, 400]]
    counts = [9, 9, 9, 9] + [n for row in table for n in (9, *row)]
    expected = scipy.stats.contingency.association(table, method="cramer")
    assert column_pairs.cramers_v(counts, 4) == pytest.approx(expected, abs=0.01)
    assert column_pairs.cramers_v([0, 0, 0, 0, 50, 50, 0, 50, 50], 3) == 0.0


def test_counts_of_two_halves_add_up(compared: Compare, tmp_path: Any) -> None:
    """Bins come from the reference: the pair counts of two parts are those of the whole."""
    from dropforge.analysis.report import build_report
    from dropforge.ingest.ingest_file import admit

    rows = _tied(600, 9)
    profiles = []
    like = schema = None
    for number, part in enumerate([rows, rows[:250], rows[250:]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = [",".join(part[0]), *[",".join(str(v) for v in r.values()) for r in part]]
        (folder / "f.csv").write_text("\n".join(lines))
        from dropforge.config.settings import load

        data = load("project: demo\ndata: {target: label}\nmodels: [{name: m, class: a.b:C}]\n").data
        admission = admit(folder / "f.csv", data=data, reference=schema, workdir=folder)
        profile = build_report.profile_of(admission, folder, like)
        like, schema = like or profile, schema or admission.schema
        profiles.append(profile)
    whole, first, second = profiles
    for a, b, c in zip(whole.pairs.pairs, first.pairs.pairs, second.pairs.pairs, strict=True):
        assert a.counts == tuple(x + y for x, y in zip(b.counts, c.counts, strict=True))
    for a, b, c in zip(whole.columns, first.columns, second.columns, strict=True):
        assert a.counts == tuple(x + y for x, y in zip(b.counts, c.counts, strict=True))
