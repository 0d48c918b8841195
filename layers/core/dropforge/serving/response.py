"""A prediction in words: labels, probabilities, prediction sets, contributions, warnings, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dropforge.errors import InvalidRequest
from dropforge.inference.prediction_sets import members
from dropforge.inference.predictor import stated
from dropforge.serving.query_options import Options
from dropforge.serving.warning_groups import grouped

if TYPE_CHECKING:
    import numpy as np

    from dropforge.deployment.active_model import Active
    from dropforge.inference.explanation import Explainer
    from dropforge.inference.predictor import Prediction, Predictor

EXPLAINED_ROWS: Final = 50  # a large forest takes 0.15 s a row


def answer(
    active: Active, predictor: Predictor, result: Prediction, options: Options, prediction_id: str
) -> dict[str, Any]:
    """The answer of /predict, without the request's id."""
    manifest = predictor.manifest
    predictions = _numbers(result) if manifest.regression else _classes(manifest.classes, result)
    if options.coverage and manifest.regression:
        _add_intervals(predictions, predictor, result, options.coverage)
    if options.quantiles:
        _add_quantiles(predictions, predictor, result, options.quantiles)
    if options.coverage and not manifest.regression:
        _add_sets(predictions, result.probabilities, predictor, options.coverage)
    return {
        "predictions": predictions,
        "model": active.identity(),
        "threshold": manifest.threshold if manifest.positive_class else None,
        "warnings": grouped(result.warnings),
        "prediction_id": prediction_id,
    }


def _classes(classes: tuple[str, ...], result: Prediction) -> list[dict[str, Any]]:
    return [
        {"label": label, "probabilities": dict(zip(classes, row, strict=True))}
        for label, row in zip(result.labels, result.probabilities.tolist(), strict=True)
    ]


def _numbers(result: Prediction) -> list[dict[str, Any]]:
    return [{"prediction": value} for value in result.labels]


def _add_intervals(
    predictions: list[dict[str, Any]], predictor: Predictor, result: Prediction, coverage: float
) -> None:
    low, high = predictor.intervals(result.feeds, coverage)
    for prediction, lower, upper in zip(predictions, low.tolist(), high.tolist(), strict=True):
        prediction["interval"] = {"coverage": coverage, "low": lower, "high": upper}


def _add_quantiles(
    predictions: list[dict[str, Any]], predictor: Predictor, result: Prediction, quantiles: tuple[float, ...]
) -> None:
    columns = {f"{q:g}": predictor.quantile(result.feeds, q).tolist() for q in quantiles}
    for row, prediction in enumerate(predictions):
        prediction["quantiles"] = {q: values[row] for q, values in columns.items()}


def _add_sets(
    predictions: list[dict[str, Any]], probabilities: np.ndarray, predictor: Predictor, coverage: float
) -> None:
    """Split conformal sets by the bundle's limits (see inference/prediction_sets.py)."""
    limits = stated(predictor.manifest.conformal, coverage)
    for prediction, inside in zip(predictions, members(probabilities, limits), strict=True):
        labels = [c for c, member in zip(predictor.manifest.classes, inside.tolist(), strict=True) if member]
        prediction["prediction_set"] = {"coverage": coverage, "labels": labels}


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
    created = explainer.explain(result.feeds, result.labels)
    rows = zip(predictions, created.classes, created.base.tolist(), created.contributions.tolist(), strict=True)
    for prediction, label, base, shares in rows:
        ordered = sorted(zip(created.features, shares, strict=True), key=lambda share: -abs(share[1]))
        prediction["explanation"] = {
            **({"class": label} if label else {}),
            "space": created.space,
            "base": base,
            "output": base + sum(shares),
            "contributions": dict(ordered),
        }
