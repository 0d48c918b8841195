"""The API by HTTP: one method a route, errors with code, message and fix."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import requests

from dropforge_ui.access import signed
from dropforge_ui.config import Options
from dropforge_ui.multipart import FormBody
from dropforge_ui.shapes import (
    Activity,
    DatasetLine,
    DeploymentHistory,
    Health,
    ModelInfo,
    Monitoring,
    Prediction,
    Quarantined,
    Upload,
    UploadLine,
    Version,
)

_SECONDS = 35
_UNSTATED = {
    "not_explainable": "explain",
    "coverage_unknown": "coverage",
}  # error of a model that lacks it → what to leave out
UNREACHABLE = "api_unreachable"  # code of an error where nothing answered
Record = Mapping[str, Any]


class ApiError(Exception):
    """What the API told, or why it could not be asked. `fix` is what the person in front of the page can do."""

    def __init__(self, code: str, message: str, fix: str, status: int = 0, request_id: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.fix, self.status, self.request_id = code, message, fix, status, request_id


class Api:
    """Calls one Dropforge API. Safe to share between threads."""

    def __init__(self, options: Options, person: Callable[[], str] = lambda: "") -> None:
        """`person` tells who causes the call, for the deployment history; empty when nobody signed in."""
        self._options, self._person = options, person
        self._local = threading.local()

    # --- predictions ---------------------------------------------------------------------------------------------------
    def model_info(self) -> ModelInfo:
        """The active model."""
        return cast("ModelInfo", self._json("GET", "/model_info"))

    def predict(self, records: Sequence[Record], **options: str) -> Prediction:
        """Labels and probabilities; `explain="true"` and `coverage="0.9"` ask for reasons and prediction sets."""
        query = f"?{urlencode(options)}" if options else ""
        return cast("Prediction", self._json("POST", f"/predict{query}", {"records": list(records)}))

    def explained(self, record: Record) -> Prediction:
        """One row with its reasons and its prediction set, as far as this model states them."""
        requested = {"explain": "true", "coverage": "0.9"}
        while True:
            try:
                return self.predict([record], **requested)
            except ApiError as error:
                if _UNSTATED.get(error.code) not in requested:
                    raise
                del requested[_UNSTATED[error.code]]

    # --- data ----------------------------------------------------------------------------------------------------------
    def send_file(self, path: Path, name: str) -> str:
        """Put a file into the bucket by the form the API hands out; returns its key, by which the upload is found."""
        form = self._json("POST", "/upload_data", {"filename": name})
        if path.stat().st_size > form["max_bytes"]:
            raise ApiError("file_too_large", f"{name} is larger than {form['max_bytes']:,} bytes", "split the file")
        with path.open("rb") as file:
            body = FormBody(form["fields"], name, file)
            answer = self._send("POST", form["url"], data=body, headers={"content-type": body.content_type})
        if answer.status_code >= 300:
            raise ApiError(
                "upload_refused",
                f"the bucket refused the file ({answer.status_code})",
                "choose the file again; the form is good for an hour",
                answer.status_code,
            )
        return str(form["key"])

    def uploads(self, key: str = "") -> list[UploadLine]:
        """Newest first; of one key when it is given."""
        result: list[UploadLine] = self._json("GET", "/uploads" + (f"?{urlencode({'key': key})}" if key else ""))[
            "uploads"
        ]
        return result

    def upload(self, upload_id: str) -> Upload:
        """One upload."""
        return cast("Upload", self._json("GET", f"/uploads/{quote(upload_id)}"))

    def decide_upload(self, upload_id: str, action: str, reason: str = "") -> dict[str, Any]:
        """`approve` or `reject` an upload that waits for approval."""
        body = {"action": action, "reason": reason}
        return cast("dict[str, Any]", self._json("POST", f"/uploads/{quote(upload_id)}", body))

    def decide_dataset(self, dataset_id: str, action: str, reason: str = "") -> dict[str, Any]:
        """`revoke` or `restore` a dataset, or `set_reference`."""
        body = {"action": action, "reason": reason}
        return cast("dict[str, Any]", self._json("POST", f"/datasets/{quote(dataset_id)}", body))

    def datasets(self) -> list[DatasetLine]:
        """Accepted datasets, newest first."""
        result: list[DatasetLine] = self._json("GET", "/datasets")["datasets"]
        return result

    def report_html(self, upload_id: str) -> str:
        """The report of an upload as a page."""
        return self._call("GET", f"/reports/{quote(upload_id)}", accept="text/html").text

    def report(self, upload_id: str) -> dict[str, Any]:
        """The report's facts, as the JSON form of the route has them."""
        return cast("dict[str, Any]", self._json("GET", f"/reports/{quote(upload_id)}"))

    def quarantined(self, upload_id: str) -> Quarantined:
        """Quarantined rows of an upload."""
        return cast("Quarantined", self._json("GET", f"/quarantine/{quote(upload_id)}"))

    def replay(self, upload_id: str, rows: Mapping[int, str]) -> str:
        """Send corrected rows (line → text) in again; returns the key of the new upload."""
        body = {"rows": [{"line": line, "raw": raw} for line, raw in sorted(rows.items())]}
        return str(self._json("POST", f"/quarantine/{quote(upload_id)}", body)["key"])

    # --- models --------------------------------------------------------------------------------------------------------
    def models(self) -> list[Version]:
        """Every version."""
        result: list[Version] = self._json("GET", "/models")["models"]
        return result

    def card(self, name: str, version: str) -> dict[str, Any]:
        """The facts of a version's model card."""
        return cast("dict[str, Any]", self._json("GET", _card(name, version)))

    def card_html(self, name: str, version: str) -> str:
        """The model card of a version as a page."""
        return self._call("GET", _card(name, version), accept="text/html").text

    def label(self, alias: str, model: str, version: str) -> dict[str, Any]:
        """Put an alias on a version; it leaves the version that had it."""
        return cast(
            "dict[str, Any]", self._json("POST", "/aliases", {"alias": alias, "model": model, "version": version})
        )

    def set_model(self, alias: str, model: str = "", reason: str = "") -> dict[str, Any]:
        """Make the version behind the alias the one that answers."""
        return cast(
            "dict[str, Any]", self._json("POST", "/set_model", {"alias": alias, "model": model, "reason": reason})
        )

    def start_rollout(self, alias: str, model: str, share: float, *, shadow: bool, reason: str = "") -> dict[str, Any]:
        """Put the version behind the alias beside the active model: for a share of requests, 0 to below 1, or in the shadow."""
        body: dict[str, Any] = {"alias": alias, "model": model, "shadow": shadow, "reason": reason}
        if share:
            body["canary"] = share
        return cast("dict[str, Any]", self._json("POST", "/set_model", body))

    def rollback(self, to: int | None = None, reason: str = "") -> dict[str, Any]:
        """Back to ledger entry `to`, or to the model before the present one."""
        body = {"reason": reason} if to is None else {"to": to, "reason": reason}
        return cast("dict[str, Any]", self._json("POST", "/rollback", body))

    def decide(self, action: str, reason: str = "") -> dict[str, Any]:
        """`promote` makes the candidate the one that answers, `abort` gives it up."""
        return cast("dict[str, Any]", self._json("POST", "/rollout", {"action": action, "reason": reason}))

    def ledger(self, limit: int = 50) -> DeploymentHistory:
        """The newest entries of the deployment history."""
        return cast("DeploymentHistory", self._json("GET", f"/history?limit={limit}"))

    def health(self) -> Health:
        """State of every part."""
        return cast("Health", self._json("GET", "/health"))

    def activity(self, minutes: int = 60) -> Activity:
        """Calls by time and route, last problems."""
        return cast("Activity", self._json("GET", f"/activity?minutes={minutes}"))

    def monitoring(self, limit: int = 30) -> Monitoring:
        """What live traffic looks like, day by day and version by version, newest first."""
        return cast("Monitoring", self._json("GET", f"/monitoring?limit={limit}"))

    # --- one call --------------------------------------------------------------------------------------------------------
    def _json(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, path, body).json()

    def _call(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> requests.Response:
        headers = {"accept": accept}
        if person := self._person():
            headers["x-dropforge-user"] = person
        if self._options.api_key:
            headers["x-api-key"] = self._options.api_key
        data = b"" if body is None else json.dumps(body, allow_nan=False).encode()
        if body is not None:
            headers["content-type"] = "application/json"
        url = self._options.api_url + path
        if signed(method, path):
            headers |= self._signature(method, url, data)
        answer = self._send(method, url, data=data, headers=headers)
        if answer.status_code >= 400:
            raise _error_of(answer)
        return answer

    def _signature(self, method: str, url: str, body: bytes) -> dict[str, str]:
        from dropforge_ui.signing import sign

        return sign(method, url, body, self._options.region)

    def _send(self, method: str, url: str, **arguments: Any) -> requests.Response:
        try:
            return self._session().request(method, url, timeout=_SECONDS, **arguments)
        except requests.RequestException as error:
            reason = "took too long" if isinstance(error, requests.Timeout) else "does not answer"
            fix = "check that it runs (`dropforge status`), then open this tab again"
            raise ApiError(UNREACHABLE, f"The API at {self._options.api_url} {reason}.", fix) from None

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session


def _card(name: str, version: str) -> str:
    return f"/models/{quote(name, safe='')}/{quote(version, safe='')}/card"


def _error_of(answer: requests.Response) -> ApiError:
    """Errors of the API have code, message and fix; those of the gateway in front of it have a message only."""
    try:
        output = answer.json()
    except ValueError:
        output = {}
    output = output if isinstance(output, dict) else {}
    predicted = output.get("message") or output.get("Message") or f"the API answered {answer.status_code}"
    fix = output.get("fix") or {
        403: "the API key or the AWS credentials of the web app are not accepted: set DROPFORGE_API_KEY and AWS_PROFILE",
        429: "too many requests: wait a moment",
        413: "send less at once",
    }.get(answer.status_code, "try again; if the error stays, see `dropforge logs`")
    request_id = str(output.get("request_id", ""))
    return ApiError(
        str(output.get("code") or f"http_{answer.status_code}"), str(predicted), fix, answer.status_code, request_id
    )
