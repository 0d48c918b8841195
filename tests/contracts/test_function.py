"""What a function of the system that is called by another one promises, and what is said between predict and predict_python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dropforge.adapters.aws_client import client
from dropforge.adapters.lambda_function import LambdaFunction
from dropforge.deployment.active_model import Active
from dropforge.environment import Environment
from dropforge.errors import InvalidRequest, Unavailable
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput, PythonModel
from dropforge.ports import Function
from dropforge.serving import remote_python
from dropforge_local.memory_function import MemoryFunction

ACTIVE = Active("demo-own", "1", "Production", "r1", "s3://artifacts/b", "ab" * 32)
GOLDEN = Path(__file__).parent / "golden"
Handler = Callable[[Any], Any]
Make = Callable[[Handler], Function]
MANIFEST = BundleManifest(
    project="p", model="m", run_id="r", dataset_id="d", created_at="", target="y",
    features=(Feature("age", "number"), Feature("job", "category")),
    inputs=(GraphInput("numbers", "float64", ("age",)), GraphInput("texts", "text", ("job",))),
    probabilities_output="probabilities", classes=("no", "yes"), positive_class="yes", threshold=0.5,
    onnx_sha256="", python=PythonModel("0" * 64, {}),
)  # fmt: skip


class Busy(Exception):
    """The service has no room for the call."""


@contextmanager
def _service(handler: Handler) -> Iterator[str]:
    """Lambda's Invoke by its HTTP protocol: 200 with an error header for a function that failed, 429 for throttling."""

    class Invoke(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/2015-03-31/functions/predict-python/invocations"
            status, headers = 200, {}
            try:
                answer = json.dumps(handler(json.loads(body))).encode()
            except Busy:
                status, headers = 429, {"X-Amzn-ErrorType": "TooManyRequestsException"}
                answer = b'{"message": "Rate Exceeded."}'
            except Exception as error:
                headers = {"X-Amz-Function-Error": "Unhandled"}
                answer = json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}).encode()
            self.send_response(status)
            for name, value in (*headers.items(), ("Content-Length", str(len(answer)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Invoke)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(params=["memory", "lambda"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a function of a handler: the fake, or the adapter with boto3's client over the service's own protocol."""
    if request.param == "memory":
        yield MemoryFunction
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    open_services = []

    def served_function(handler: Handler) -> Function:
        service = _service(handler)
        open_services.append(service)
        env = Environment(aws_region="us-east-1", aws_endpoint_url=service.__enter__())
        return LambdaFunction(client("lambda", env), "predict-python")

    yield served_function
    for service in open_services:
        service.__exit__(None, None, None)


def test_what_goes_in_is_what_the_handler_gets(make: Make) -> None:
    """JSON there and back, nothing added."""
    function = make(lambda event: {"got": event})
    assert json.loads(function.invoke('{"a": [1, null, "é"]}'.encode())) == {"got": {"a": [1, None, "é"]}}


def test_a_handler_that_raises_is_worth_another_try(make: Make) -> None:
    """Unavailable, with the function's own words."""
    with pytest.raises(Unavailable, match="division by zero") as failure:
        make(lambda _event: 1 / 0).invoke(b"{}")
    assert failure.value.code == "function_failed"
    assert failure.value.fix


def test_a_function_without_room_is_worth_another_try() -> None:
    """Throttling is told as such, and the caller is not kept waiting by retries."""
    calls = []

    def handler(event: Any) -> Any:
        calls.append(event)
        raise Busy

    with _service(handler) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        function = LambdaFunction(
            client("lambda", Environment(aws_region="us-east-1", aws_endpoint_url=address)), "predict-python"
        )
        with pytest.raises(Unavailable) as failure:
            function.invoke(b"{}")
    assert failure.value.code == "function_busy"
    assert len(calls) == 1


def test_the_request_is_the_golden_one(make: Make) -> None:
    """Names and shapes between predict and predict_python stay: each may be deployed before the other."""
    requests_seen: list[Any] = []

    def handler(event: Any) -> Any:
        requests_seen.append(event)
        return golden["answer"] if event["feeds"] else golden["loaded"]

    golden = json.loads((GOLDEN / "python_model.json").read_text())
    session = remote_python.RemoteSession(MANIFEST, ACTIVE, make(handler))
    session.load()
    feeds = {"numbers": np.array([[40.5], [np.nan]]), "texts": np.array([["cook"], [None]], dtype=object)}
    (result,) = session.run(["probabilities"], feeds)
    assert requests_seen == [golden["load"], golden["request"]]
    assert result.tolist() == golden["answer"]["probabilities"]


def test_an_error_keeps_its_kind_and_words(make: Make) -> None:
    """What the function refuses is raised again by whoever asked."""
    golden = json.loads((GOLDEN / "python_model.json").read_text())
    session = remote_python.RemoteSession(MANIFEST, ACTIVE, make(lambda _event: golden["refused"]))
    with pytest.raises(InvalidRequest) as failure:
        session.load()
    assert {"error": {"kind": "InvalidRequest", **failure.value.as_dict()}} == golden["refused"]
    assert remote_python.refusal(failure.value) == golden["refused"]
