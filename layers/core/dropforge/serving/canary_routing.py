"""The candidate beside the active model: it answers a share of the requests, or is scored in the shadow of all, or both.

Whatever it does, the active model goes on: a candidate that cannot be loaded is left out, one that fails on a request
leaves it to the active model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dropforge.background_worker import BackgroundWorker
from dropforge.deployment.active_model import Active
from dropforge.errors import DropforgeError, TransientError
from dropforge.inference.predictor import Prediction, Predictor
from dropforge.monitoring.capture import Capture, is_sampled
from dropforge.observability import failure

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_ROWS: Final = 5_000  # held in memory


@dataclass(frozen=True, slots=True)
class SecondDeployment:
    """A candidate ready to predict. `number`: of the pointer that names it."""

    number: int
    who: Active
    predictor: Predictor
    weight: float
    shadow: bool

    def handles(self, prediction_id: str) -> bool:
        """Whether this request is among its share: the same for one id every time."""
        return is_sampled(prediction_id, self.weight, "canary")


class Loading:
    """The candidate that the pointer names, loaded once; tried again only while the store was away."""

    def __init__(self, log: logging.Logger, open_: Callable[[Active], Predictor]) -> None:
        self._log, self._open = log, open_
        self._second: SecondDeployment | None = None
        self._settled = 0  # number of the pointer whose candidate is loaded or refused

    def of(self, active: Active) -> SecondDeployment | None:
        """The candidate of this pointer, if it is loaded."""
        second = self._second
        return second if second is not None and second.number == active.number else None

    def follow(self, active: Active, champion: Predictor) -> None:
        """Load what the pointer names. Never raises."""
        named = active.candidate
        if named is None or self._settled == active.number:
            return
        who = replace(
            active, model=named.model, version=named.version, alias=named.alias, run_id=named.run_id,
            bundle_uri=named.bundle_uri, bundle_sha256=named.bundle_sha256, candidate=None,
        )  # fmt: skip
        try:
            predictor = self._open(who)
        except TransientError as error:
            self._refused(failure(error))
            return  # the next look tries again
        except DropforgeError as error:
            self._refused(failure(error))
        except Exception as error:
            # A library's own error: whatever it is, the active model must go on.
            self._refused({"code": "candidate_broken", **failure(error)})
        else:
            if set(predictor.manifest.classes) == set(champion.manifest.classes):
                self._second = SecondDeployment(active.number, who, predictor, named.weight, named.shadow)
                self._log.info("candidate loaded", extra={"model": named.model, "version": named.version})
            else:
                self._refused({"code": "candidate_unlike"})  # it knows other classes
        self._settled = active.number

    def _refused(self, fields: dict[str, Any]) -> None:
        self._log.error("the candidate is left out", extra={**fields, "metrics": {"CandidateFailed": 1}})


@dataclass(frozen=True, slots=True)
class _ShadowRequest:
    prediction_id: str
    second: SecondDeployment
    records: Sequence[Mapping[str, Any]]
    labels: Sequence[str] | Sequence[float]


class Shadow(BackgroundWorker[_ShadowRequest]):
    """Scores the candidate on what the active model has answered, after the answer; logs how often they disagree.

    Its predictions are kept as the others are, so that monitoring compares and scores them too.
    """

    def __init__(self, log: logging.Logger, capture: Capture) -> None:
        super().__init__("shadow", log, MOST_ROWS)
        self._capture = capture

    def record(
        self, second: SecondDeployment, prediction_id: str, records: Sequence[Mapping[str, Any]], answered: Prediction
    ) -> None:
        """Never raises, never waits."""
        self._hold(_ShadowRequest(prediction_id, second, records, answered.labels), len(records))

    def _do(self, items: list[_ShadowRequest], lost: int) -> tuple[int, bool]:
        rows = different = failed = numbers = 0
        difference = 0.0  # sum of absolute differences of predicted numbers
        for requested in items:
            second = requested.second
            try:
                result = second.predictor.predict(requested.records)
            except Exception as error:
                # A candidate may fail in any way; it must not stop the others.
                failed += 1
                self._log.debug("the candidate failed", extra=failure(error))
                continue
            rows += len(requested.records)
            if second.predictor.manifest.regression is None:
                different += sum(a != b for a, b in zip(requested.labels, result.labels, strict=True))
            else:
                before, now = (
                    np.asarray(requested.labels, dtype=np.float64),
                    np.asarray(result.labels, dtype=np.float64),
                )
                difference += float(np.abs(before - now).sum())
                numbers += len(requested.records)
            self._capture.record(
                requested.prediction_id,
                (second.who, second.predictor),
                requested.records,
                result,
                share=second.who.capture,
                shadow=True,
            )
        if items or lost:
            measured: dict[str, float] = {"ShadowRows": rows, "ShadowDisagreements": different}
            measured |= {"ShadowMeanAbsoluteDifference": difference / numbers} if numbers else {}
            measured |= {k: n for k, n in (("CandidateFailed", failed), ("ShadowLost", lost)) if n}
            who = {"model": items[-1].second.who.model, "version": items[-1].second.who.version} if items else {}
            self._log.info("scored in the shadow", extra={**who, "metrics": measured})
        return sum(len(requested.records) for requested in items), False
