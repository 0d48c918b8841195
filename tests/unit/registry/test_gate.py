"""Which candidate becomes the challenger, and when the served model stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dropforge.messages import JobResult
from dropforge.registry import gate
from dropforge.settings import PromotionSettings

RULE = PromotionSettings(metric="roc_auc", minimum_gain=0.001, confidence=0.95, maximum_slice_loss=0.02)


def _result(model: str, **metrics: float) -> JobResult:
    return JobResult(
        model=model,
        run_id=model,
        model_source="s",
        bundle_uri="s3://b/k",
        bundle_sha256="0",
        predictions_uri="s3://b/p",
        metrics=metrics,
    )


def _slice(name: str, gain: float, spread: float = 0.001) -> dict[str, Any]:
    return {
        "slice": name, "rows": 500, "candidate": 0.9 + gain, "served": 0.9, "gain": gain,
        "low": gain - spread, "high": gain + spread, "at_least": gain - spread, "at_most": gain + spread,
    }  # fmt: skip


def _told(*slices: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"metric": "roc_auc", "served": {"run_id": "old"}, "reason": "", "slices": list(slices)} | changes


def _choice(
    results: list[JobResult], told: Mapping[str, Any], served: str = "old", rule: PromotionSettings = RULE
) -> gate.Choice:
    judged = {r.model: gate.judge(r, told.get(r.model), served, rule) for r in results}
    return gate.choose(results, judged, rule)


def test_with_nothing_served_the_best_held_out_score_wins() -> None:
    """More is better for AUC, and the first reason shows every score."""
    choice = _choice([_result("a", roc_auc=0.8), _result("b", roc_auc=0.9)], {}, served="")
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert "a 0.8000" in choice.reasons[0]


def test_less_is_better_for_losses() -> None:
    """A smaller log loss wins."""
    rule = PromotionSettings(metric="log_loss")
    choice = _choice([_result("a", log_loss=0.4), _result("b", log_loss=0.3)], {}, served="", rule=rule)
    assert choice.winner is not None
    assert choice.winner.model == "b"


def test_a_candidate_without_the_metric_cannot_win() -> None:
    """It is named in the reasons; with nobody left there is no winner."""
    assert _choice([_result("a")], {}, served="").winner is None
    choice = _choice([_result("a"), _result("b", roc_auc=0.5)], {}, served="")
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert any(r.startswith("a:") for r in choice.reasons)


@pytest.mark.parametrize(
    ("gain", "spread", "passes"),
    [(0.01, 0.002, True), (0.01, 0.02, False), (0.0015, 0.0006, False), (0.0, 0.0, False), (-0.01, 0.001, False)],
    ids=["sure", "unsure", "too-little", "the-same", "worse"],
)
def test_only_a_sure_gain_beyond_the_minimum_makes_a_challenger(gain: float, spread: float, passes: bool) -> None:
    """What counts is what the gain is at least with the rule's confidence; otherwise the served model stays, with words."""
    choice = _choice([_result("a", roc_auc=0.9 + gain)], {"a": _told(_slice("all", gain, spread))})
    assert (choice.winner is not None) == passes
    assert choice.judgements["a"].verdict == ("better" if passes else "not_better")
    if not passes:
        assert "the served model stays" in choice.reasons[0]
        assert f"{gain:+.4f}" in choice.reasons[1]


def test_a_slice_that_surely_loses_stops_a_candidate() -> None:
    """Better overall, but surely worse for one group by more than the rule allows: not a challenger, and the group is named."""
    told = _told(_slice("all", 0.01), _slice("sex = Female", -0.05, 0.01))
    choice = _choice([_result("a", roc_auc=0.91)], {"a": told})
    assert choice.winner is None
    assert "sex = Female" in choice.judgements["a"].reason
    unsure = _told(_slice("all", 0.01), _slice("sex = Female", -0.05, 0.04))
    assert _choice([_result("a", roc_auc=0.91)], {"a": unsure}).winner is not None


def test_the_second_best_may_pass_where_the_best_does_not() -> None:
    """Candidates are asked in the order of their score; the one that passes is challenger, and the reason says so."""
    told = {"a": _told(_slice("all", 0.01), _slice("x", -0.9)), "b": _told(_slice("all", 0.005))}
    choice = _choice([_result("a", roc_auc=0.91), _result("b", roc_auc=0.905)], told)
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert "of those that pass" in choice.reasons[0]


@pytest.mark.parametrize(
    ("told", "served", "verdict"),
    [
        (None, "old", "not_better"),
        (_told(_slice("all", 0.01)), "newer", "not_better"),
        (_told(reason="these rows lack columns of the served model: age"), "old", "not_comparable"),
        (_told(_slice("all", 0.01), metric="log_loss"), "old", "not_better"),
        (_told(_slice("all", 0.01)), "a", "not_better"),
    ],
    ids=["no-comparison", "switched-meanwhile", "other-columns", "other-metric", "itself"],
)
def test_what_cannot_be_compared_is_told(told: dict[str, Any] | None, served: str, verdict: str) -> None:
    """Without a comparison with the very model that answers there is no challenger; only a model that cannot read the new
    rows gives way."""
    choice = _choice([_result("a", roc_auc=0.91)], {"a": told} if told else {}, served=served)
    assert choice.judgements["a"].verdict == verdict
    assert (choice.winner is not None) == (verdict == "not_comparable")
