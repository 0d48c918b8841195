"""TrainingCompute=fargate on the local cloud: the emulator runs each task as a container of Docker.

What a task has on AWS and not here is put in its place: the emulator listens on loopback only, so the task shares the
host's network instead of a VPC's; the credentials the emulator hands to tasks belong to nobody, so the task assumes
the training role by a profile, as the local worker does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dropforge.errors import PermanentError
from dropforge_local import profiles
from dropforge_local.layout import FARGATE, Config

_MOUNTED = Path("/run/dropforge")  # where a task finds its profile
_VOLUME = "profile"


def require_image(image: str) -> None:
    """Raises PermanentError when no Docker answers, or it has no image of that name."""
    import docker

    try:
        docker.from_env(timeout=10).images.get(image)
    except docker.errors.ImageNotFound:
        raise PermanentError(
            f"Docker has no image {image}",
            code="image_missing",
            fix=f"in the checkout: docker build -f training/Dockerfile -t {image} .",
        ) from None
    except (docker.errors.DockerException, OSError) as error:
        raise PermanentError(
            f"Docker does not answer: {error}",
            code="docker_missing",
            fix="start Docker, or train with the local worker: dropforge up --compute queue",
        ) from None


def parameters(image: str, ec2: Any) -> dict[str, str]:
    """The template's parameters for training in tasks, in the emulator's default VPC."""
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    return {
        "TrainingCompute": FARGATE,
        "TrainingImageUri": image,
        "SubnetIds": ",".join(s["SubnetId"] for s in subnets),
        "VpcId": subnets[0]["VpcId"],
    }


def adapt(template: dict[str, Any], config: Config) -> None:
    """Rewrite the training task of `template` so that the emulator can start it beside itself."""
    task = template["Resources"]["TrainingTask"]["Properties"]
    task["NetworkMode"] = "host"
    task["Volumes"] = [{"Name": _VOLUME, "Host": {"SourcePath": str(config.task_profile)}}]
    for container in task["ContainerDefinitions"]:
        container["MountPoints"] = [{"SourceVolume": _VOLUME, "ContainerPath": str(_MOUNTED), "ReadOnly": True}]
        container["Environment"] += [{"Name": k, "Value": v} for k, v in profiles.variables(_MOUNTED).items()]


def daemon_variables() -> dict[str, str]:
    """Where Docker is, for the emulator."""
    return {k: os.environ[k] for k in ("DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY") if k in os.environ}
