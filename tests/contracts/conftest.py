"""Every port's backends: the fakes, AWS as moto plays it, and the local cloud."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest
import requests
from moto import mock_aws
from moto.server import ThreadedMotoServer

from dropforge.adapters import sagemaker_mlflow
from dropforge.adapters.aws_client import client
from dropforge.adapters.mlflow_registry import MlflowRegistry, MlflowTracking, connect
from dropforge.adapters.s3_store import S3Store
from dropforge.adapters.sqs_queue import SqsQueue
from dropforge.environment import Environment
from dropforge.ports import ObjectStore, Queue, Registry, Tracking
from dropforge_cli.commands.destroy import empty
from dropforge_local.memory import MemoryQueue, MemoryRegistry, MemoryStore, MemoryTracking

from . import managed

REGION = "us-east-1"


@pytest.fixture
def moto_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """AWS inside the process, with credentials that work nowhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield Environment(aws_region=REGION)


@pytest.fixture(scope="session")
def _server() -> Iterator[str]:
    """Address of moto as a server of its own, which executes state machines."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto_server(_server: str, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """AWS behind an address, as AWS_ENDPOINT_URL names one; empty at the beginning of each test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("MOTO_PORT", _server.rpartition(":")[2])  # where its state machines find its other services
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    requests.post(f"{_server}/moto-api/reset", timeout=30)
    requests.post(f"{_server}/moto-api/config", json={"stepfunctions": {"execute_state_machine": True}}, timeout=30)
    return Environment(aws_region=REGION, aws_endpoint_url=_server)


# The emulator at AWS_ENDPOINT_URL, which somebody else started: .ci/test_localstack.sh.
EXTERNAL = ["external"] if os.environ.get("DROPFORGE_TEST_EMULATOR") == "external" else []


@pytest.fixture
def external() -> Environment:
    """That emulator, as it is; who makes something there takes it away."""
    return Environment(aws_region=REGION, aws_endpoint_url=os.environ["AWS_ENDPOINT_URL"])


@pytest.fixture(params=["memory", "moto_aws", "moto_server", *EXTERNAL])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """An object store with an empty, versioned bucket named `bucket`."""
    if request.param == "memory":
        yield MemoryStore()
        return
    env = request.getfixturevalue(request.param)
    s3 = client("s3", env)
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    yield S3Store(s3)
    if request.param == "external":
        empty(s3, "bucket", delete=True)


@pytest.fixture(params=["memory", "moto_aws", "moto_server", *EXTERNAL])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """An empty queue."""
    if request.param == "memory":
        yield MemoryQueue()
        return
    env = request.getfixturevalue(request.param)
    sqs = client("sqs", env)
    url = sqs.create_queue(QueueName=f"jobs-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    yield SqsQueue(sqs, url)
    if request.param == "external":
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_database: Callable[[], str]) -> str:
    """An MLflow backend in a database file: the client's own code, no server. Else the server of .ci/test_mlflow.sh."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    if server := os.environ.get("DROPFORGE_TEST_MLFLOW"):
        return server
    return mlflow_database()


@pytest.fixture(scope="session")
def managed_server(mlflow_database: Callable[[], str]) -> Iterator[tuple[str, managed.Checked]]:
    """A real MLflow server that answers signed requests only."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with managed.running(mlflow_database()) as result:
        yield result


@pytest.fixture
def managed_uri(
    managed_server: tuple[str, managed.Checked], moto_aws: Environment, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The ARN of that server, with credentials it knows."""
    address, checked = managed_server
    checked.secret = boto3.Session().get_credentials().secret_key
    monkeypatch.setattr(sagemaker_mlflow, "endpoint", lambda _arn: address)
    return managed.ARN


@pytest.fixture(params=["memory", "mlflow", "managed"])
def books(request: pytest.FixtureRequest) -> tuple[Tracking, Registry, Callable[[str], bytes]]:
    """Tracking, its registry, and a reader of artifacts by `run_id/path`."""
    if request.param == "memory":
        tracking = MemoryTracking()

        def fetch(address: str) -> bytes:
            run_id, _, path = address.partition("/")
            return tracking.runs[run_id].artifacts[path]

        return tracking, MemoryRegistry(tracking), fetch
    uri = request.getfixturevalue(f"{request.param}_uri")
    env = request.getfixturevalue("moto_aws")
    boto3.client("s3", region_name=env.aws_region).create_bucket(Bucket="artifacts")
    store = S3Store(client("s3", env))
    name = f"contract-{request.node.name}"
    connect(uri).create_experiment(name, artifact_location="s3://artifacts/mlflow")
    registry = MlflowRegistry(uri)

    def stored(address: str) -> bytes:
        run_id, _, path = address.partition("/")
        return store.get(registry.artifact_uri(run_id, path)).body

    return MlflowTracking(uri, name, store), registry, stored
