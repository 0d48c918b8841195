"""The training image as the Lambda function predict_python: the command of template.yaml, asked as Lambda asks, on Lambda's terms."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from docker import DockerClient
from docker.models.containers import Container

from dropforge import keys, s3_uri
from dropforge.adapters.s3_store import S3Store
from dropforge.deployment.active_model import Active
from dropforge.errors import BundleRejected
from dropforge.ports import Function
from dropforge.serving.remote_python import open_remote
from dropforge_local.layout import REGION
from dropforge_local.packaging import load_template
from dropforge_training.export.onnx_graph import records

from ..conftest import ROOT, Cloud, free_ports
from ..own_model import Bundle, bundle
from .conftest import SAM, sam

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]
EVENT = ROOT / "events" / "predict_python.json"
MOUNTED_EMULATOR = "/run/aws-lambda-rie"
FUNCTION = load_template(ROOT / "template.yaml")["Resources"]["PredictPythonFunction"]["Properties"]


@dataclass(frozen=True)
class Emulated:
    """A function behind Lambda's runtime interface emulator."""

    address: str

    def invoke(self, payload: bytes) -> bytes:
        path = "/2015-03-31/functions/function/invocations"
        answer = requests.post(f"{self.address}{path}", data=payload, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.content


@dataclass(frozen=True)
class Invoked:
    """`sam local invoke`, once for every call."""

    options: list[str]
    event: Path

    def invoke(self, payload: bytes) -> bytes:
        self.event.write_bytes(payload)
        output = sam("local", "invoke", "PredictPythonFunction", "-e", str(self.event), *self.options)
        return output.strip().splitlines()[-1].encode()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of this interpreter, which must be the image's: bytecode is in it."""
    version = ".".join(map(str, sys.version_info[:2]))
    if f"FROM python:{version}-slim" not in (ROOT / "training" / "Dockerfile").read_text():
        pytest.skip(f"the image has another Python than {version}: make PYTHON=python3.13 test-containers")
    return bundle(tmp_path_factory.mktemp("own"), "own")


@pytest.fixture(scope="module")
def stored(lone_cloud: Cloud, own: Bundle) -> Active:
    """The bundle where a training job leaves it."""
    return own.put(
        S3Store(lone_cloud.client("s3")), lone_cloud.outputs["ArtifactBucket"], lone_cloud.outputs["DataBucket"]
    )


@pytest.fixture
def active(lone_cloud: Cloud, stored: Active) -> Iterator[None]:
    """It answers; whatever answered before does so again afterwards."""
    s3, where = (
        lone_cloud.client("s3"),
        {"Bucket": lone_cloud.outputs["DataBucket"], "Key": s3_uri.split(keys.active("b"))[1]},
    )
    try:
        before = s3.get_object(**where)["Body"].read()
    except s3.exceptions.NoSuchKey:
        before = None
    s3.put_object(**where, Body=stored.to_json())
    yield
    s3.put_object(**where, Body=before) if before else s3.delete_object(**where)


@pytest.fixture(scope="module")
def rights(lone_cloud: Cloud) -> dict[str, str]:
    """Credentials of the function's own role. Lambda alone may assume it, so for as long as this takes root may too."""
    deployed = lone_cloud.client("lambda").get_function_configuration(
        FunctionName=lone_cloud.outputs["PredictPythonFunction"]
    )
    role, iam = deployed["Role"], lone_cloud.client("iam")
    name = role.rsplit("/", 1)[1]
    retained = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    root = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": role.split(":")[4]}}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps({**retained, "Statement": [root]}))
    try:
        given = lone_cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="container")["Credentials"]
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(retained))
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


@pytest.fixture(scope="module")
def emulated(
    daemon: DockerClient, lone_cloud: Cloud, training_image: str, rights: dict[str, str]
) -> Iterator[Function]:
    """The image as a function: another user than the image's, nothing to write on but /tmp, the template's memory."""
    matches = sorted(SAM.parents[1].glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))
    if not matches:
        pytest.skip("no runtime interface emulator, which comes with the SAM CLI: make test-containers sets it up")
    port, runtime_port = free_ports(2)
    command = [*FUNCTION["ImageConfig"]["EntryPoint"], *FUNCTION["ImageConfig"]["Command"]]
    address = f"127.0.0.1:{port}"
    container = daemon.containers.run(
        training_image,
        [
            *("--runtime-interface-emulator-address", address, "--runtime-api-address", f"127.0.0.1:{runtime_port}"),
            *command,
        ],
        entrypoint=[MOUNTED_EMULATOR],
        detach=True,
        network_mode="host",
        working_dir=FUNCTION["ImageConfig"]["WorkingDirectory"],
        user="993:990",
        read_only=True,
        tmpfs={"/tmp": "size=512m"},  # noqa: S108 - the container's
        mem_limit=f"{FUNCTION['MemorySize']}m",
        volumes=[f"{matches[0]}:{MOUNTED_EMULATOR}:ro"],
        environment={
            **rights,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(FUNCTION["Timeout"]),
            "AWS_ENDPOINT_URL": lone_cloud.config.endpoint,
            "DATA_BUCKET": lone_cloud.outputs["DataBucket"],
            "ARTIFACT_BUCKET": lone_cloud.outputs["ArtifactBucket"],
            "POWERTOOLS_SERVICE_NAME": "predict_python",
        },
    )
    try:
        _listening(container, address)
        yield Emulated(f"http://{address}")
    finally:
        container.remove(force=True)


def _listening(container: Container, address: str) -> None:
    for _ in range(300):
        container.reload()
        assert container.status != "exited", container.logs().decode()[-2000:]
        try:
            requests.get(f"http://{address}/", timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(container.logs().decode()[-2000:])


@pytest.fixture(scope="module")
def by_sam(
    daemon: DockerClient, options: list[str], training_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Function:
    """The same function as `sam local` runs it, with the image's name in the place of the template's parameter.

    The SAM CLI puts the emulator into an image by commands that the image's own user may not do; Lambda has no such user.
    """
    dockerfile = io.BytesIO(f"FROM {training_image}\nUSER root\n".encode())
    image = f"{training_image}-sam"
    daemon.images.build(fileobj=dockerfile, tag=image, rm=True)
    settings = [
        "--parameter-overrides",
        f"EndpointUrl=http://host.docker.internal:4566 TrainingImageUri={image}",
    ]
    return Invoked([*options, *settings], tmp_path_factory.mktemp("event") / "event.json")


@pytest.mark.parametrize("way", ["emulated", "by_sam"])
def test_the_container_predicts_what_the_model_predicts(
    way: str, own: Bundle, stored: Active, request: pytest.FixtureRequest
) -> None:
    """Every held-out row gets the probabilities that the model itself gives, its own class not being in the image."""
    predictor = open_remote(own.manifest, stored, request.getfixturevalue(way))
    predicted = predictor.predict(records(own.rows))
    assert predicted.probabilities == pytest.approx(own.model.predict_proba(own.rows), abs=1e-9)
    assert predicted.labels == list(own.model.predict(own.rows))


def test_predict_in_sam_local_asks_the_deployed_one(
    own: Bundle, active: None, options: list[str], tmp_path: Path
) -> None:
    """On its built layers, in Lambda's own image, predict has the model of the local cloud's predict_python answer."""
    rows = own.rows.iloc[:3]
    event = json.loads((ROOT / "events" / "predict.json").read_text())
    (tmp_path / "event.json").write_text(json.dumps({**event, "body": json.dumps({"records": records(rows)})}))
    output = sam("local", "invoke", "PredictFunction", "-e", str(tmp_path / "event.json"), *options)
    answer = json.loads(output.strip().splitlines()[-1])
    assert answer["statusCode"] == 200, answer
    document = [
        [p["probabilities"][c] for c in own.manifest.classes] for p in json.loads(answer["body"])["predictions"]
    ]
    assert np.array(document) == pytest.approx(own.model.predict_proba(rows), abs=1e-9)


def test_its_role_opens_bundles_and_nothing_else(stored: Active, emulated: Function) -> None:
    """The container has the rights of the deployed role: an object of the data bucket is not opened for anybody who asks."""
    data = stored.bundle_uri.replace("-artifacts-", "-data-")
    answer = json.loads(
        emulated.invoke(json.dumps({"bundle_uri": data, "bundle_sha256": "0" * 64, "feeds": None}).encode())
    )
    assert answer["error"]["code"] == "access_denied", answer


@pytest.mark.parametrize("way", ["emulated", "by_sam"])
def test_the_event_file_is_answered(way: str, request: pytest.FixtureRequest) -> None:
    """events/predict_python.json names a bundle that is not there, and is told so in the words that predict raises again."""
    answer = json.loads(request.getfixturevalue(way).invoke(EVENT.read_bytes()))
    assert (answer["error"]["kind"], answer["error"]["code"]) == (BundleRejected.__name__, "bundle_missing")
