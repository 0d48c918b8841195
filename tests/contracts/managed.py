"""A managed MLflow server as far as it can be had here: a real MLflow server behind a check of every signature."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

ARN = "arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/dropforge"
APP_ARN = "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/app-ABCDEFGHIJKL"
# ARN → the service that a request is signed for, and the header that names the server.
PROTOCOLS = {
    ARN: ("sagemaker-mlflow", "x-mlflow-sm-tracking-server-arn"),
    APP_ARN: ("sagemaker", "x-sm-mlflow-app-arn"),
}
_API = "/api/2.0/mlflow/"
# The IAM action of each call (Service Authorization Reference, "Amazon SageMaker with MLflow"). It lists none for creating a
# logged model; LogModel is the nearest.
_ACTIONS = {
    "GET experiments/get-by-name": "GetExperimentByName", "POST experiments/create": "CreateExperiment",
    "POST runs/search": "SearchRuns", "POST runs/create": "CreateRun", "GET runs/get": "GetRun", "POST runs/update": "UpdateRun",
    "POST runs/log-batch": "LogBatch", "POST runs/log-inputs": "LogInputs", "POST runs/outputs": "LogOutputs",
    "GET metrics/get-history": "GetMetricHistory",
    "POST logged-models": "LogModel", "GET logged-models/m": "GetLoggedModel", "PATCH logged-models/m": "FinalizeLoggedModel",
    "POST registered-models/create": "CreateRegisteredModel", "GET registered-models/get": "GetRegisteredModel",
    "GET registered-models/search": "SearchRegisteredModels", "POST model-versions/create": "CreateModelVersion",
    "GET model-versions/get": "GetModelVersion", "GET model-versions/search": "SearchModelVersions",
    "POST registered-models/alias": "SetRegisteredModelAlias", "DELETE registered-models/alias": "DeleteRegisteredModelAlias",
}  # fmt: skip
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def expected_signature(
    secret: str, method: str, path: str, query: str, headers: dict[str, str], body: bytes, match: re.Match[str]
) -> str:
    """Signature Version 4 by its definition (AWS, "Create a signed AWS API request"), without botocore."""
    digest = hashlib.sha256(body).hexdigest()
    # A query is taken apart, decoded as a form, encoded again and sorted, as servers of AWS do.
    pairs = [p.partition("=")[::2] for p in query.split("&") if p]
    listed = sorted(
        (quote(unquote(k.replace("+", " ")), safe="-_.~"), quote(unquote(v.replace("+", " ")), safe="-_.~"))
        for k, v in pairs
    )
    names = match["names"].split(";")
    canonical = "\n".join(
        (
            method, quote(path, safe="/-_.~"), "&".join(f"{k}={v}" for k, v in listed),
            "".join(f"{n}:{' '.join(headers[n].split())}\n" for n in names), match["names"], digest,
        )
    )  # fmt: skip
    scope = f"{match['date']}/{match['region']}/{match['service']}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Checked:
    """WSGI: lets through what is signed for this server with `secret`; the rest gets 403. `seen`: (method, path) of all."""

    secret = "testing"

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        self.seen: set[tuple[str, str]] = set()

    def actions(self) -> set[str]:
        """The actions that the calls since the last question need, without their prefix. Raises KeyError for an unknown call."""
        calls = {f"{method} {re.sub('/m-[0-9a-f]+$', '/m', path.removeprefix(_API))}" for method, path in self.seen}
        self.seen.clear()
        return {_ACTIONS[call] for call in calls}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        self.seen.add((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if not self._signed(environ, body):
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"error_code": "PERMISSION_DENIED", "message": "signature"}']
        answered: Iterable[bytes] = self.app(environ, start_response)
        return answered

    def _signed(self, environ: dict[str, Any], body: bytes) -> bool:
        headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        output = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        arn = next((arn for arn, (_, header) in PROTOCOLS.items() if headers.get(header) == arn), None)
        if output is None or arn is None:
            return False
        service, header = PROTOCOLS[arn]
        if (output["region"], output["service"]) != ("us-east-1", service):
            return False
        if not {"host", "x-amz-date", "x-amz-content-sha256", header} <= set(output["names"].split(";")):
            return False
        given = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"])
        wanted = expected_signature(self.secret, *given, headers, body, output)
        return (
            hmac.compare_digest(wanted, output["signature"])
            and headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        )


@contextmanager
def running(database: str) -> Iterator[tuple[str, Checked]]:
    """MLflow's own server on loopback, with the database of this URI; its address and the check before it."""
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    handlers.initialize_backend_stores(database, None, "s3://artifacts/mlflow")
    checked = Checked(app)
    server = make_server("127.0.0.1", 0, checked, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", checked
    finally:
        server.shutdown()
        thread.join()
