"""The project's images, built from what git tracks, and a local cloud whose training runs in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker import DockerClient
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container

from dropforge_cli.commands.containers import for_sam
from dropforge_local import cloud as local_cloud
from dropforge_local import profiles
from dropforge_local.layout import FARGATE, QUEUE, REGION, Config
from dropforge_local.relay import bridge, relayed

from ..conftest import ROOT, Cloud, free_ports, small_settings
from ..watcher import ended_with_this_run

BASE = "python:3.13-slim"
MOUNTED = Path("/run/dropforge")
SAM = ROOT / ".venv-sam" / "bin" / "sam"
SAM_IMAGE = "public.ecr.aws/lambda/python:3.13-x86_64"


@pytest.fixture(scope="session")
def daemon() -> Iterator[DockerClient]:
    """Docker; skipped with a reason where none answers."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except (DockerException, OSError) as error:
        pytest.skip(f"no Docker: {error}")
    yield client
    client.close()


def present(daemon: DockerClient, image: str) -> None:
    """Pull a public image that is not there; skip with the reason where that cannot be done."""
    try:
        daemon.images.get(image)
    except ImageNotFound:
        try:
            daemon.images.pull(image)
        except DockerException as error:
            pytest.skip(f"no image {image}, and it cannot be pulled: {error}")


@pytest.fixture(scope="session")
def build(daemon: DockerClient) -> Callable[[str], str]:
    """Builds `folder`/Dockerfile and tells the image's name; skipped with a reason without the base image."""
    present(daemon, BASE)

    def built(folder: str) -> str:
        name = f"dropforge-{folder}-test"
        command = ["docker", "build", "--quiet", "--network", "host", "-f", f"{folder}/Dockerfile", "-t", name, "-"]
        # The builder that reads a Dockerfile's own .dockerignore is not everywhere: the context is what git tracks.
        modern = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
        environment = {**os.environ, "DOCKER_BUILDKIT": "1" if modern else "0"}
        done = subprocess.run(command, input=_context(), env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return name

    return built


def _context() -> bytes:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                info = archive.gettarinfo(ROOT / name, name)
                info.mode, info.mtime = (0o755 if info.mode & 0o100 else 0o644), 0  # else every checkout builds anew
                with (ROOT / name).open("rb") as file:
                    archive.addfile(info, file)
    return out.getvalue()


@pytest.fixture(scope="session")
def training_image(build: Callable[[str], str]) -> str:
    return build("training")


@pytest.fixture(scope="session")
def lone_cloud(training_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Emulator and MLflow without a worker: only a container can train."""
    home = tmp_path_factory.mktemp("containers")
    port, mlflow_port = free_ports(2)
    config = Config(
        root=ROOT,
        home=home,
        port=port,
        mlflow_port=mlflow_port,
        settings=small_settings(home),
        workers=0,
        image=training_image,
    )
    with ended_with_this_run(config.pids):
        try:
            yield Cloud(config, local_cloud.up(config, lambda _what, _seconds: None))
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)


def deployed(cloud: Cloud, compute: str) -> Cloud:
    """The same cloud, deployed again with this TrainingCompute."""
    config = replace(cloud.config, compute=compute)
    return Cloud(config, local_cloud.up(config, lambda _what, _seconds: None))


@pytest.fixture
def on_queue(lone_cloud: Cloud) -> Cloud:
    """Jobs go to the queue, and no worker is there."""
    return deployed(lone_cloud, QUEUE)


@pytest.fixture
def on_fargate(lone_cloud: Cloud) -> Cloud:
    """Each job is a task."""
    return deployed(lone_cloud, FARGATE)


@pytest.fixture
def run(daemon: DockerClient, lone_cloud: Cloud) -> Iterator[Callable[..., Container]]:
    """Start an image beside the cloud, on the host's network, with the training role's profile; removed at the end."""
    started: list[Container] = []

    def start(image: str, **environment: str) -> Container:
        container = daemon.containers.run(
            image,
            detach=True,
            network_mode="host",
            volumes=[f"{lone_cloud.config.task_profile}:{MOUNTED}:ro"],
            environment={
                **profiles.variables(MOUNTED),
                "AWS_ENDPOINT_URL": lone_cloud.config.endpoint,
                "DATA_BUCKET": lone_cloud.outputs["DataBucket"],
                "ARTIFACT_BUCKET": lone_cloud.outputs["ArtifactBucket"],
                "MLFLOW_TRACKING_URI": lone_cloud.config.mlflow_uri,
                "STATE_MACHINE_ARN": lone_cloud.outputs["StateMachineArn"],
                "TRAINING_QUEUE_URL": lone_cloud.outputs["TrainingQueueUrl"],
                **environment,
            },
        )
        started.append(container)
        return container

    yield start
    for container in started:
        container.remove(force=True)


def sam_environment() -> dict[str, str]:
    """Of the SAM CLI, and by it of the functions; `options` puts the local cloud's root account there."""
    return {**os.environ, "AWS_DEFAULT_REGION": REGION, "SAM_CLI_TELEMETRY": "0"}


def sam(*arguments: str) -> str:
    """What the SAM CLI answered; a command that fails fails the test."""
    done = subprocess.run(
        [SAM, *arguments], cwd=ROOT, env=sam_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def built(daemon: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template that `sam build` left; skipped with a reason where one of its parts is missing."""
    if not SAM.exists():
        pytest.skip("no SAM CLI: make test-containers sets it up")
    python = shutil.which("python3.13")
    if not python or subprocess.run([python, "-V"], capture_output=True, check=False).returncode:
        pytest.skip("sam build wants python3.13 on PATH")
    present(daemon, SAM_IMAGE)
    folder = tmp_path_factory.mktemp("sam-build")
    sam("build", "--build-dir", str(folder))
    return folder / "template.yaml"


@pytest.fixture(scope="session")
def options(lone_cloud: Cloud, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What every `sam local` command needs to reach the cloud; the relay runs as long."""
    file = tmp_path_factory.mktemp("sam") / "sam.json"
    file.write_text(json.dumps({"Parameters": for_sam(lone_cloud.target)}))
    ports = [lone_cloud.config.port, lone_cloud.config.mlflow_port]
    with relayed(ports, bridge()), pytest.MonkeyPatch.context() as environment:
        for name, value in lone_cloud.target.account.items():
            environment.setenv(name, value)
        yield [
            "--config-file",
            str(ROOT / "samconfig.toml"),
            "--template-file",
            str(built),
            "--env-vars",
            str(file),
            "--skip-pull-image",
        ]
