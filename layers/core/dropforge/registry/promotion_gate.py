"""Which candidate becomes the challenger. Decides on comparisons that the training jobs stored; loads no model.

A job's comparison (training's comparison.py) has the candidate and the served model on the same held-out rows: their metric,
the gain with its interval, and the p-value of the hypothesis that the gain is no more than `promotion.minimum_gain`.

The error is held for the upload, not for the candidate: with α = 1 - `promotion.confidence`

- over the candidates of an upload by Holm (1979): the smallest of K p-values must be at most α_t / K;
- over the uploads that are judged on the same held-out rows by spending α: the t-th look at them has
  α_t = α / (t (t + 1)), which sums to α however many follow (Bonferroni over looks with a summable sequence, as in
  alpha spending; Lan & DeMets 1983, Foster & Stine 2008). Looks are counted in looks.py, anew once half of the rows are new.

So the probability that an active model is ever challenged by one that is no better, on one set of held-out rows, is at most α.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dropforge import metrics
from dropforge.config.settings import PromotionSettings
from dropforge.messages import JobResult
from dropforge.metrics import sign

Verdict = Literal["better", "not_better", "no_model_served", "not_comparable", "no_metric"]
UNREADABLE = "unreadable"  # in the place of the served run, where serving/active.json is broken
# Which verdicts make a challenger. What cannot be compared is for people to decide on, never for `auto_promote`.
PASSES = frozenset({"better", "no_model_served", "not_comparable"})
PASSES_ALONE = PASSES - {"not_comparable"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One candidate against the served model. `against`: the served model's identity, or None."""

    model: str
    verdict: Verdict
    reason: str
    score: float | None
    against: Mapping[str, Any] | None = None
    slices: tuple[Mapping[str, Any], ...] = ()
    p_value: float | None = None
    allowed: float | None = None  # the largest p-value with which it would have passed


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (None: the served model stays) with every judgement, and the reasons in words, the decisive one first."""

    winner: JobResult | None
    reasons: tuple[str, ...]
    judgements: Mapping[str, Judgement] = field(default_factory=dict)


def comparable(
    comparison: Mapping[str, Any] | None, result: JobResult, served_run: str, rule: PromotionSettings
) -> bool:
    """Whether the comparison holds a test of this candidate against the model that is served now, by this rule."""
    document = dict(comparison or {})
    return bool(served_run) and not _excluded(result, document, served_run, rule)


def judge(
    results: Sequence[JobResult],
    comparisons: Mapping[str, Mapping[str, Any] | None],
    served_run: str,
    rule: PromotionSettings,
    look: int = 1,
) -> dict[str, Judgement]:
    """A judgement for each result, by model.

    comparisons: what each job stored, None when it stored none; served_run: run of the model that answers now, or empty; look:
    how often that model was compared on these held-out rows, this upload included.
    """
    allowed = _allowed(results, comparisons, served_run, rule, look)
    judged = {}
    for result in results:
        document = dict(comparisons.get(result.model) or {})
        score = result.metrics.get(rule.metric)
        if score is None:
            reason = f"{result.model}: no {rule.metric} among its metrics"
            judged[result.model] = Judgement(result.model, "no_metric", reason, None)
            continue
        tested = result.model in allowed
        verdict, reason = (
            _by_rule(document["slices"], rule, allowed[result.model], look, len(allowed))
            if tested
            else _untested(result, document, served_run, rule)
        )
        judged[result.model] = Judgement(
            result.model,
            verdict,
            f"{result.model}: {reason}",
            score,
            document.get("served"),
            tuple(document.get("slices", ())),
            document["slices"][0]["p_value"] if tested else None,
            allowed.get(result.model),
        )
    return judged


def error_of_comparison(rule: PromotionSettings, look: int) -> float:
    """What the upload's decision may err with: its part of 1 - `confidence`."""
    return (1 - rule.confidence) / (look * (look + 1))


def _allowed(
    results: Sequence[JobResult],
    comparisons: Mapping[str, Mapping[str, Any] | None],
    served_run: str,
    rule: PromotionSettings,
    look: int,
) -> dict[str, float]:
    """The level each tested candidate's p-value is held against. After the first that fails, Holm lets none pass: level 0."""
    tested = {
        r.model: float((comparisons[r.model] or {})["slices"][0]["p_value"])
        for r in results
        if rule.metric in r.metrics and comparable(comparisons.get(r.model), r, served_run, rule)
    }
    levels, open_ = {}, True
    for rank, (model, p) in enumerate(sorted(tested.items(), key=lambda item: item[1])):
        level = error_of_comparison(rule, look) / (len(tested) - rank)
        levels[model] = level if open_ else 0.0
        open_ = open_ and p <= level
    return levels


def _excluded(result: JobResult, comparison: Mapping[str, Any], served_run: str, rule: PromotionSettings) -> str:
    """Why a stored comparison cannot be used; empty when it can."""
    if served_run in {UNREADABLE, result.run_id}:
        unreadable = (
            "serving/active.json cannot be read; POST /set_model rewrites it, the next upload is compared with it"
        )
        return "it is the served model" if served_run == result.run_id else unreadable
    if not comparison.get("served") or comparison["served"].get("run_id") != served_run:
        return "the served model was changed after this comparison was made; the next upload is compared with it"
    if comparison.get("reason"):
        return str(comparison["reason"])
    if comparison.get("metric") != rule.metric or not comparison.get("slices"):
        return f"its comparison has no {rule.metric}"
    if "p_value" not in comparison["slices"][0] or comparison.get("minimum_gain") != rule.minimum_gain:
        return "its comparison was made by another rule; the next upload is compared by this one"
    return ""


def _untested(
    result: JobResult, comparison: Mapping[str, Any], served_run: str, rule: PromotionSettings
) -> tuple[Verdict, str]:
    if not served_run:
        return "no_model_served", "no active model to compare with"
    reason = _excluded(result, comparison, served_run, rule)
    if comparison.get("reason") and reason == comparison["reason"]:
        people = (
            "; auto_promote does not decide this: set the alias yourself if it shall answer"
            if rule.auto_promote
            else ""
        )
        return "not_comparable", f"{reason}{people}"
    return "not_better", reason


def _tolerated(part: Mapping[str, Any], rule: PromotionSettings) -> float:
    """What a slice may lose, in units of the metric: of an error in units of the target a fraction of the served model's."""
    known = metrics.of(rule.metric)
    in_units = known is not None and known.in_target_units
    return rule.maximum_slice_loss * (abs(float(part["served"])) if in_units else 1.0)


def _by_rule(
    slices: Sequence[Mapping[str, Any]], rule: PromotionSettings, allowed: float, look: int, candidates: int
) -> tuple[Verdict, str]:
    overall = slices[0]
    output = (
        f"{rule.metric} {overall['candidate']:.4f} against {overall['served']:.4f} of the served model on {overall['rows']} "
        f"held-out rows, gain {overall['gain']:+.4f} (95 % interval {overall['low']:+.4f} to {overall['high']:+.4f}), "
        f"p = {overall['p_value']:.2g}"
    )
    if not overall["p_value"] <= allowed:  # NaN is no gain either
        needed = error_of_comparison(rule, look) / candidates
        shared = f" shared by {candidates} candidates" if candidates > 1 else ""
        return "not_better", (
            f"{output}: a gain of more than {rule.minimum_gain:g} is not sure enough, that needs p ≤ {needed:.2g} "
            f"(look {look} at these held-out rows{shared})"
        )
    worse = [s for s in slices[1:] if not s["at_most"] >= -_tolerated(s, rule)]
    if worse:
        where = ", ".join(f"{s['slice']} ({s['gain']:+.4f}, {s['rows']} rows)" for s in worse)
        return "not_better", f"{output}; but it surely loses more than {rule.maximum_slice_loss:g} on {where}"
    return "better", output


def choose(results: Sequence[JobResult], judgements: Mapping[str, Judgement], rule: PromotionSettings) -> Choice:
    """The candidate with the best held-out metric among those that pass; ties go to the better cross-validated one.

    Where some candidate's held-out rows are too few to rank by (messages.Evidence), the cross-validated score comes first.
    """
    passing = PASSES_ALONE if rule.auto_promote else PASSES
    thin = any(r.evidence.thin for r in results)
    scored = [r for r in results if judgements[r.model].score is not None]
    ranking = sorted(scored, key=lambda r: _rank(r, rule.metric, thin), reverse=True)
    table = ", ".join(f"{r.model} {r.metrics[rule.metric]:.4f}{_cross_validated(r, rule.metric)}" for r in ranking)
    winner = next((r for r in ranking if judgements[r.model].verdict in passing), None)
    reasons = [judgements[r.model].reason for r in results]
    by = f"cross-validated {rule.metric} (too few held-out rows to rank by)" if thin else f"held-out {rule.metric}"
    if winner is None:
        first = f"the served model stays (candidates by {by}: {table})" if ranking else ""
        first = first or f"no candidate has a held-out {rule.metric}"
    else:
        best = f"the best {by}" if winner is ranking[0] else f"the best {by} of those that pass"
        first = f"{winner.model} has {best} ({table})"
    return Choice(winner, (first, *reasons), judgements)


def _rank(result: JobResult, metric: str, thin: bool) -> tuple[float, float]:
    """Larger is better. A model without a cross-validated score comes after those that have one."""
    heldout = sign(metric) * result.metrics[metric]
    matches = result.evidence.cross_validated.get(metric)
    crossed = -math.inf if matches is None else sign(metric) * matches.value
    # Scores that differ by less than a row's worth of rounding are a tie.
    return (crossed, heldout) if thin else (round(heldout, 9), crossed)


def _cross_validated(result: JobResult, metric: str) -> str:
    matches = result.evidence.cross_validated.get(metric)
    return "" if matches is None else f", cross-validated {matches.value:.4f} ({matches.low:.4f} to {matches.high:.4f})"
