"""Which candidate becomes the challenger, and when the served model stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dropforge.config.settings import PromotionSettings
from dropforge.messages import Estimate, Evidence, JobResult
from dropforge.registry import promotion_gate

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


def _slice(name: str, gain: float, spread: float = 0.001, p: float = 0.001) -> dict[str, Any]:
    return {
        "slice": name, "rows": 500, "candidate": 0.9 + gain, "served": 0.9, "gain": gain, "p_value": p,
        "low": gain - spread, "high": gain + spread, "at_least": gain - spread, "at_most": gain + spread,
    }  # fmt: skip


def _evaluation(*slices: dict[str, Any], **changes: Any) -> dict[str, Any]:
    stored = {"metric": "roc_auc", "minimum_gain": 0.001, "served": {"run_id": "old"}, "reason": ""}
    return stored | {"slices": list(slices)} | changes


def _choice(
    results: list[JobResult],
    evaluation: Mapping[str, Any],
    served: str = "old",
    rule: PromotionSettings = RULE,
    look: int = 1,
) -> promotion_gate.Choice:
    judged = promotion_gate.judge(results, evaluation, served, rule, look)
    return promotion_gate.choose(results, judged, rule)


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


@pytest.mark.parametrize(("p", "passes"), [(0.02, True), (0.03, False), (1.0, False), (float("nan"), False)])
def test_only_a_sure_gain_makes_a_challenger(p: float, passes: bool) -> None:
    """One candidate at the first look has half of the 5 %; otherwise the served model stays, with the p-value and what it needs."""
    choice = _choice([_result("a", roc_auc=0.91)], {"a": _evaluation(_slice("all", 0.01, p=p))})
    assert (choice.winner is not None) == passes
    assert choice.judgements["a"].verdict == ("better" if passes else "not_better")
    if not passes:
        assert "the served model stays" in choice.reasons[0]
        assert "+0.0100" in choice.reasons[1]
        assert "p ≤ 0.025" in choice.reasons[1]


def test_the_error_is_shared_by_the_candidates_of_an_upload() -> None:
    """Three candidates have a third of it each; once one passes, the others share the rest (Holm 1979)."""
    results = [_result(m, roc_auc=0.91) for m in "abc"]

    def verdicts(*p: float) -> list[str]:
        document = {m: _evaluation(_slice("all", 0.01, p=v)) for m, v in zip("abc", p, strict=True)}
        return [j.verdict for j in _choice(results, document).judgements.values()]

    assert verdicts(0.009, 0.5, 0.5) == ["not_better"] * 3
    assert verdicts(0.008, 0.5, 0.5) == ["better", "not_better", "not_better"]
    assert verdicts(0.012, 0.008, 0.5) == ["better", "better", "not_better"]
    assert verdicts(0.012, 0.009, 0.010) == ["not_better"] * 3


def test_looks_at_the_same_rows_share_the_error() -> None:
    """However many follow, together they err with no more than 1 - confidence."""
    assert promotion_gate.error_of_comparison(RULE, 1) == pytest.approx(0.025)
    assert sum(promotion_gate.error_of_comparison(RULE, t) for t in range(1, 10_000)) <= 0.05
    document = {"a": _evaluation(_slice("all", 0.01, p=0.02))}
    assert _choice([_result("a", roc_auc=0.91)], document).winner is not None
    later = _choice([_result("a", roc_auc=0.91)], document, look=2)
    assert later.winner is None
    assert "look 2" in later.judgements["a"].reason


def test_a_tie_goes_to_the_better_cross_validated_model() -> None:
    """Not to the first in settings.yaml; the reason shows both scores."""
    tie = [_result("a", roc_auc=1.0), _result("b", roc_auc=1.0)]
    results = [_known(r, rows=200, crossed=v) for r, v in zip(tie, (0.93, 0.97), strict=True)]
    choice = _choice(results, {}, served="")
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert "cross-validated 0.9700 (0.9600 to 0.9800)" in choice.reasons[0]


@pytest.mark.parametrize(("rows", "winner"), [(11, "b"), (30, "a")])
def test_few_held_out_rows_do_not_rank(rows: int, winner: str) -> None:
    """With eleven rows of the rarest class the cross-validated scores decide, and the reason says so."""
    results = [_known(_result("a", roc_auc=1.0), rows, 0.90), _known(_result("b", roc_auc=0.99), rows, 0.95)]
    choice = _choice(results, {}, served="")
    assert choice.winner is not None
    assert choice.winner.model == winner
    assert ("too few held-out rows" in choice.reasons[0]) == (rows < 30)


def _known(result: JobResult, rows: int, crossed: float) -> JobResult:
    estimate = Estimate(value=crossed, low=crossed - 0.01, high=crossed + 0.01)
    evidence = Evidence(rarest_class_rows=rows, cross_validated={"roc_auc": estimate})
    return result.model_copy(update={"evidence": evidence})


@pytest.mark.parametrize("auto", [False, True])
def test_a_model_that_cannot_be_compared_is_never_promoted_by_itself(auto: bool) -> None:
    """People may choose it; with auto_promote there is no challenger, and the reason says what to do."""
    document = {"a": _evaluation(reason="these rows lack columns of the served model: age")}
    rule = RULE.model_copy(update={"auto_promote": auto})
    choice = _choice([_result("a", roc_auc=0.91)], document, rule=rule)
    assert choice.judgements["a"].verdict == "not_comparable"
    assert (choice.winner is None) == auto
    assert ("set the alias yourself" in choice.judgements["a"].reason) == auto


def test_a_slice_that_surely_loses_stops_a_candidate() -> None:
    """Better overall, but surely worse for one group by more than the rule allows: not a challenger, and the group is named."""
    output = _evaluation(_slice("all", 0.01), _slice("sex = Female", -0.05, 0.01))
    choice = _choice([_result("a", roc_auc=0.91)], {"a": output})
    assert choice.winner is None
    assert "sex = Female" in choice.judgements["a"].reason
    unsure = _evaluation(_slice("all", 0.01), _slice("sex = Female", -0.05, 0.04))
    assert _choice([_result("a", roc_auc=0.91)], {"a": unsure}).winner is not None


def test_the_second_best_may_pass_where_the_best_does_not() -> None:
    """Candidates are asked in the order of their score; the one that passes is challenger, and the reason says so."""
    document = {"a": _evaluation(_slice("all", 0.01), _slice("x", -0.9)), "b": _evaluation(_slice("all", 0.005))}
    choice = _choice([_result("a", roc_auc=0.91), _result("b", roc_auc=0.905)], document)
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert "of those that pass" in choice.reasons[0]


@pytest.mark.parametrize(
    ("evaluation", "served", "verdict"),
    [
        (None, "old", "not_better"),
        (_evaluation(_slice("all", 0.01)), "newer", "not_better"),
        (_evaluation(reason="these rows lack columns of the served model: age"), "old", "not_comparable"),
        (_evaluation(_slice("all", 0.01), metric="log_loss"), "old", "not_better"),
        (_evaluation(_slice("all", 0.01), minimum_gain=0.01), "old", "not_better"),
        (_evaluation(_slice("all", 0.01)), "a", "not_better"),
    ],
    ids=["no-comparison", "switched-meanwhile", "other-columns", "other-metric", "other-rule", "itself"],
)
def test_what_cannot_be_compared_is_told(evaluation: dict[str, Any] | None, served: str, verdict: str) -> None:
    """Without a comparison with the very model that answers there is no challenger; only a model that cannot read the new
    rows gives way."""
    choice = _choice([_result("a", roc_auc=0.91)], {"a": evaluation} if evaluation else {}, served=served)
    assert choice.judgements["a"].verdict == verdict
    assert (choice.winner is not None) == (verdict == "not_comparable")
