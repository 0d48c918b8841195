"""A prediction in words: labels, probabilities, prediction sets, contributions, warnings, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dropforge.errors import InvalidRequest
from dropforge.serving.options import Options
from dropforge.serving.warning_groups import grouped

if TYPE_CHECKING:
    from dropforge.serving.explain import Explainer
    from dropforge.serving.pointer import Active
    from dropforge.serving.predictor import Prediction, Predictor

EXPLAINED_ROWS: Final = 50  # a large forest takes 0.15 s a row


def answer(
    active: Active, predictor: Predictor, result: Prediction, options: Options, prediction_id: str
) -> dict[str, Any]:
    """The answer of /predict, without the request's id."""
    manifest = predictor.manifest
    classes = manifest.classes
    predictions: list[dict[str, Any]] = [
        {"label": label, "probabilities": dict(zip(classes, row, strict=True))}
        for label, row in zip(result.labels, result.probabilities.tolist(), strict=True)
    ]
    if options.coverage:
        _add_sets(predictions, predictor, options.coverage)
    return {
        "predictions": predictions,
        "model": active.identity(),
        "threshold": manifest.threshold if manifest.positive_class else None,
        "warnings": grouped(result.warnings),
        "prediction_id": prediction_id,
    }


def _add_sets(predictions: list[dict[str, Any]], predictor: Predictor, coverage: float) -> None:
    """Class-conditional split conformal sets: every class whose 1 − p is at most the bundle's limit for it."""
    known = predictor.manifest.conformal
    limits = next((v for k, v in known.items() if abs(float(k) - coverage) < 1e-9), None)
    if limits is None:
        raise InvalidRequest(
            f"the model states no coverage {coverage:g}",
            code="coverage_unknown",
            fix=f"ask for {', '.join(sorted(known))}" if known else "train again: this version states none",
        )
    for prediction in predictions:
        inside = [
            c for (c, p), limit in zip(prediction["probabilities"].items(), limits, strict=True) if 1 - p <= limit
        ]
        prediction["prediction_set"] = {"coverage": coverage, "labels": inside}


def check_explained(rows: int) -> None:
    """Raises InvalidRequest (413) for more rows than one request may have explained."""
    if rows > EXPLAINED_ROWS:
        raise InvalidRequest(
            f"{rows:,} records; the limit with explain=true is {EXPLAINED_ROWS}",
            code="too_many_records",
            fix="ask for the explanation of fewer rows",
            status=413,
        )


def add_explanations(predictions: list[dict[str, Any]], explainer: Explainer, result: Prediction) -> None:
    """To each prediction the share of every feature in the model's output, the largest first."""
    made = explainer.explain(result.feeds, result.labels)
    rows = zip(predictions, made.classes, made.base.tolist(), made.contributions.tolist(), strict=True)
    for prediction, label, base, shares in rows:
        ordered = sorted(zip(made.features, shares, strict=True), key=lambda share: -abs(share[1]))
        prediction["explanation"] = {
            "class": label,
            "space": made.space,
            "base": base,
            "output": base + sum(shares),
            "contributions": dict(ordered),
        }
