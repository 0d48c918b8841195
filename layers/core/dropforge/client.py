"""Typed client of the prediction API: predict, explain, send ground truth; each also for asyncio.

    client = Client("https://….execute-api.eu-central-1.amazonaws.com/v1", api_key="…")
    client.predict([{"age": 39, "work": "State"}])["predictions"][0]

Needs the standard library alone, so that it can be imported wherever a prediction is wanted; a test holds its types and routes to
the API's OpenAPI document. Administrative routes need AWS Signature Version 4: use `dropforge`, the command line, for those.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final, NotRequired, TypedDict, cast

from dropforge.errors import Conflict, DropforgeError, InvalidRequest, NotFound, Unavailable

Value = str | float | int | bool | None
Record = Mapping[str, Value]

RETRIES: Final = 2  # after a first answer that says try again; the wait doubles
_FIRST_WAIT_SECONDS: Final = 0.5
_BUSY: Final = (429, 502, 503, 504)
_EXPLAINED_ROWS: Final = 50  # of one request with explain=true


class Identity(TypedDict):
    """The version that predicted, and the alias it was found by."""

    name: str
    version: str
    alias: str
    run_id: str


class Warned(TypedDict):
    """One for each code and column: a value was missing, unseen, out of range, …"""

    code: str
    message: str
    field: str
    row: NotRequired[int | None]
    rows: NotRequired[int | None]


class PredictionSet(TypedDict):
    """The classes that cannot be ruled out at the coverage."""

    coverage: float
    labels: list[str]


class Interval(TypedDict):
    """Holds the number that turns out with the probability `coverage`."""

    coverage: float
    low: float
    high: float


# `class` is a Python keyword: the functional form can name it.
Explained = TypedDict(
    "Explained",
    {
        "class": NotRequired[str | None],
        "space": str,
        "base": float,
        "output": float,
        "contributions": dict[str, float],
    },
)


class OnePrediction(TypedDict):
    """Of a classification: label and probabilities of one row."""

    label: str
    probabilities: dict[str, float]
    prediction_set: NotRequired[PredictionSet | None]
    explanation: NotRequired[Explained | None]


class OneNumber(TypedDict):
    """Of a regression: the number of one row."""

    prediction: float
    interval: NotRequired[Interval | None]
    quantiles: NotRequired[dict[str, float] | None]
    explanation: NotRequired[Explained | None]


class PredictAnswer(TypedDict):
    """Predictions in the order of the records. Send ground truth by `prediction_id`."""

    predictions: list[OnePrediction] | list[OneNumber]
    model: Identity
    threshold: float | None
    warnings: list[Warned]
    prediction_id: str
    request_id: str


class GroundTruthRow(TypedDict):
    """What turned out for one row: prediction_id of the answer, place of the record in its request, the class or number."""

    prediction_id: str
    row: NotRequired[int]
    label: str | float


class GroundTruthAccepted(TypedDict):
    """How many values were stored."""

    accepted: int
    next: str


class Client:
    """Calls one API with an API key. Safe to share between threads.

    Every method raises InvalidRequest, NotFound or Conflict with the API's message and fix, and Unavailable when nobody answers.
    """

    def __init__(self, url: str, api_key: str, *, timeout: float = 35.0) -> None:
        """`url`: as `dropforge outputs` prints ApiUrl. `timeout`: seconds to wait for one answer."""
        if not url.startswith(("http://", "https://")):
            raise InvalidRequest(
                f"{url!r} is no address", code="api_url", fix="give ApiUrl as `dropforge outputs` prints it"
            )
        self._url, self._key, self._timeout = url.rstrip("/"), api_key, timeout

    def predict(
        self,
        records: Sequence[Record],
        *,
        coverage: float | None = None,
        quantiles: Sequence[float] = (),
        explain: bool = False,
        model: str = "",
        alias: str = "",
    ) -> PredictAnswer:
        """Predict rows, each with every feature of the model (None where unknown), with the active model or the one of `alias`.

        coverage: adds prediction sets, or a regression's intervals, that hold the truth with this probability; quantiles: of a
        regression; explain: adds the contribution of each feature, for at most 50 rows.
        """
        query = {
            "coverage": f"{coverage:g}" if coverage is not None else "",
            "quantiles": ",".join(f"{q:g}" for q in quantiles),
            "explain": "true" if explain else "",
            "model": model,
            "alias": alias,
        }
        return cast("PredictAnswer", self._call("POST", "/predict", {"records": [dict(r) for r in records]}, query))

    def explain(self, records: Sequence[Record], *, model: str = "", alias: str = "") -> list[Explained]:
        """The contribution of each feature to each row's prediction; any number of rows, 50 a request."""
        explained: list[Explained] = []
        for start in range(0, len(records), _EXPLAINED_ROWS):
            answer = self.predict(records[start : start + _EXPLAINED_ROWS], explain=True, model=model, alias=alias)
            explained += [e for p in answer["predictions"] if (e := p.get("explanation"))]
        return explained

    def ground_truth(self, labels: Sequence[GroundTruthRow]) -> GroundTruthAccepted:
        """Send what turned out for rows of earlier predictions; sending a value again changes nothing."""
        return cast("GroundTruthAccepted", self._call("POST", "/ground_truth", {"labels": list(labels)}))

    def model_info(self) -> dict[str, Any]:
        """The active model: features, metrics, data, links."""
        return self._call("GET", "/model_info")

    def health(self) -> dict[str, Any]:
        """State of store, model, MLflow, queue and the last upload."""
        return self._call("GET", "/health")

    def _call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One answer; tried again where the same request may succeed and changes nothing twice, which holds for all of them."""
        encoded = urllib.parse.urlencode({k: v for k, v in (query or {}).items() if v})
        request = urllib.request.Request(  # noqa: S310 - http or https: checked in the constructor
            f"{self._url}{path}{'?' if encoded else ''}{encoded}",
            method=method,
            data=None if body is None else json.dumps(body, allow_nan=False).encode(),
            headers={"x-api-key": self._key, "content-type": "application/json", "accept": "application/json"},
        )
        for attempt in range(RETRIES + 1):
            try:
                return self._answer(request)
            except Unavailable:
                if attempt == RETRIES:
                    raise
                time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
        raise AssertionError  # the last attempt returns or raises

    def _answer(self, request: urllib.request.Request) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise _error(error.code, error.read(100_000)) from None
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"the API does not answer: {error}", code="api_unreachable", fix="check its address; dropforge status"
            ) from None


class AsyncClient:
    """The same for asyncio: each call waits in a thread of the loop's executor, which bounds how many run at once."""

    def __init__(self, url: str, api_key: str, *, timeout: float = 35.0) -> None:
        """As Client."""
        self._client = Client(url, api_key, timeout=timeout)

    async def predict(self, records: Sequence[Record], **options: Any) -> PredictAnswer:
        """As Client.predict, with its options."""
        return await asyncio.to_thread(self._client.predict, records, **options)

    async def explain(self, records: Sequence[Record], **options: str) -> list[Explained]:
        """As Client.explain."""
        return await asyncio.to_thread(self._client.explain, records, **options)

    async def ground_truth(self, labels: Sequence[GroundTruthRow]) -> GroundTruthAccepted:
        """As Client.ground_truth."""
        return await asyncio.to_thread(self._client.ground_truth, labels)

    async def model_info(self) -> dict[str, Any]:
        """As Client.model_info."""
        return await asyncio.to_thread(self._client.model_info)

    async def health(self) -> dict[str, Any]:
        """As Client.health."""
        return await asyncio.to_thread(self._client.health)


def _error(status: int, body: bytes) -> DropforgeError:
    try:
        value = json.loads(body)
    except ValueError:
        value = {}
    kind = Unavailable if status in _BUSY else {404: NotFound, 409: Conflict}.get(status, InvalidRequest)
    if status >= 500:
        kind = Unavailable
    return kind(
        str(value.get("message") or f"the API answered {status}"),
        code=str(value.get("code") or f"http_{status}"),
        fix=str(value.get("fix") or ("check the API key" if status == 403 else "see `dropforge logs`")),
    )
