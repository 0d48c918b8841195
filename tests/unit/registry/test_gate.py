"""Which candidate becomes the challenger."""

from __future__ import annotations

from dropforge.messages import JobResult
from dropforge.registry import gate


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


def test_the_best_held_out_score_wins() -> None:
    """More is better for AUC, and the reason shows every score."""
    choice = gate.best([_result("a", roc_auc=0.8), _result("b", roc_auc=0.9)], "roc_auc")
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert "a 0.8000" in choice.reasons[0]


def test_less_is_better_for_losses() -> None:
    """A smaller log loss wins."""
    choice = gate.best([_result("a", log_loss=0.4), _result("b", log_loss=0.3)], "log_loss")
    assert choice.winner is not None
    assert choice.winner.model == "b"


def test_a_candidate_without_the_metric_cannot_win() -> None:
    """It is named in the reasons; with nobody left there is no winner."""
    assert gate.best([_result("a")], "roc_auc").winner is None
    choice = gate.best([_result("a"), _result("b", roc_auc=0.5)], "roc_auc")
    assert choice.winner is not None
    assert choice.winner.model == "b"
    assert any(r.startswith("a:") for r in choice.reasons)
