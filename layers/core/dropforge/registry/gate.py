"""Which candidate becomes the challenger. Decides on comparisons that the training jobs stored; loads no model, no numbers.

A job's comparison (training's comparison.py) has the candidate and the served model on the same held-out rows: their metric,
the paired bootstrap's interval of the gain, and what the gain is at least and at most with `promotion.confidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dropforge.messages import JobResult
from dropforge.metrics import sign
from dropforge.settings import PromotionSettings

Verdict = Literal["better", "not_better", "no_model_served", "not_comparable", "no_metric"]
PASSES = frozenset({"better", "no_model_served", "not_comparable"})


@dataclass(frozen=True, slots=True)
class Judgement:
    """One candidate against the served model. `against`: the served model's identity, or None."""

    model: str
    verdict: Verdict
    reason: str
    score: float | None
    against: Mapping[str, Any] | None = None
    slices: tuple[Mapping[str, Any], ...] = ()

    @property
    def passes(self) -> bool:
        return self.verdict in PASSES


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (None: the served model stays) with every judgement, and the reasons in words, the decisive one first."""

    winner: JobResult | None
    reasons: tuple[str, ...]
    judgements: Mapping[str, Judgement] = field(default_factory=dict)


def judge(
    result: JobResult, comparison: Mapping[str, Any] | None, served_run: str, rule: PromotionSettings
) -> Judgement:
    """`comparison`: what the job stored, None when it stored none; `served_run`: run of the model that answers now, or empty."""
    score = result.metrics.get(rule.metric)
    if score is None:
        return Judgement(result.model, "no_metric", f"{result.model}: no {rule.metric} among its metrics", None)
    told = dict(comparison or {})
    verdict, reason = _verdict(result, told, served_run, rule)
    slices = tuple(told.get("slices", ()))
    return Judgement(result.model, verdict, f"{result.model}: {reason}", score, told.get("served"), slices)


def _verdict(
    result: JobResult, told: Mapping[str, Any], served_run: str, rule: PromotionSettings
) -> tuple[Verdict, str]:
    if not served_run:
        return "no_model_served", "nothing is served yet"
    if served_run == result.run_id:
        return "not_better", "it is the served model"
    if not told.get("served") or told["served"].get("run_id") != served_run:
        why = "the served model was changed after this comparison was made; the next upload is compared with it"
        return "not_better", why
    if told.get("reason"):
        return "not_comparable", told["reason"]
    if told.get("metric") != rule.metric or not told.get("slices"):
        return "not_better", f"its comparison has no {rule.metric}"
    return _by_rule(told["slices"], rule)


def _by_rule(slices: Sequence[Mapping[str, Any]], rule: PromotionSettings) -> tuple[Verdict, str]:
    overall = next(s for s in slices if s["slice"] == "all")
    told = (
        f"{rule.metric} {overall['candidate']:.4f} against {overall['served']:.4f} of the served model on {overall['rows']} "
        f"held-out rows, gain {overall['gain']:+.4f} (95 % interval {overall['low']:+.4f} to {overall['high']:+.4f})"
    )
    if not overall["at_least"] > rule.minimum_gain:
        least = f"at least {overall['at_least']:+.4f} with {rule.confidence:.0%} confidence"
        return "not_better", f"{told}; {least}, which is not more than {rule.minimum_gain:g}"
    worse = [s for s in slices if s["slice"] != "all" and s["at_most"] < -rule.maximum_slice_loss]
    if worse:
        where = ", ".join(f"{s['slice']} ({s['gain']:+.4f}, {s['rows']} rows)" for s in worse)
        return "not_better", f"{told}; but it surely loses more than {rule.maximum_slice_loss:g} on {where}"
    return "better", told


def choose(results: Sequence[JobResult], judgements: Mapping[str, Judgement], rule: PromotionSettings) -> Choice:
    """The candidate with the best held-out metric among those that pass. Ties go to the one named first in settings.yaml."""
    ranking = sorted(
        (r for r in results if judgements[r.model].score is not None),
        key=lambda r: -sign(rule.metric) * r.metrics[rule.metric],
    )
    table = ", ".join(f"{r.model} {r.metrics[rule.metric]:.4f}" for r in ranking)
    winner = next((r for r in ranking if judgements[r.model].passes), None)
    reasons = [judgements[r.model].reason for r in results]
    if winner is None:
        first = f"the served model stays (candidates by {rule.metric}: {table})" if ranking else ""
        first = first or f"no candidate has a held-out {rule.metric}"
    else:
        best = (
            f"the best held-out {rule.metric}" if winner is ranking[0] else f"the best {rule.metric} of those that pass"
        )
        first = f"{winner.model} has {best} ({table})"
    return Choice(winner, (first, *reasons), judgements)
