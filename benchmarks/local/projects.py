"""Many projects in one account of the local cloud, which enforces IAM: does any role of one read what another has?

    python benchmarks/local/projects.py [--projects 50] [--json FILE]

A stack for each project, deployed from template.yaml. Of every ordered pair of projects each of the eight roles of one asks for an
object of the other's data bucket, at a place that it reads in its own, and the roles of jobs and of the API for one of the other's
artifact bucket; each role lists the other's bucket too. Every role reads its own object as well: a refusal of everything would prove
nothing. The idle cost is that of the command that deploys (list prices, computed, not billed). Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

from dropforge_cli import idle_cost
from dropforge_local import cloud, deploy
from dropforge_local.layout import REGION, Config

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]
import recorded  # noqa: E402 - a folder of scripts, no package

# A place of the data bucket that the role reads.
PLACES = {
    "Analyze": "datasets",
    "Batch": "integrity",
    "Recover": "datasets",
    "Conclude": "integrity",
    "Control": "integrity",
    "Predict": "serving",
    "PredictPython": "integrity",
    "Training": "datasets",
}
OF_ARTIFACTS = ("Predict", "Training")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clients(config: Config) -> dict[str, Any]:
    """By role, S3 under its credentials."""
    outputs, functions, sts = deploy.outputs(config), deploy.client(config, "lambda"), deploy.client(config, "sts")
    clients = {}
    for role in PLACES:
        arn = (
            outputs["TrainingRoleArn"]
            if role == "Training"
            else functions.get_function_configuration(FunctionName=outputs[f"{role}Function"])["Role"]
        )
        keys = sts.assume_role(RoleArn=arn, RoleSessionName="projects")["Credentials"]
        clients[role] = boto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION
        ).client(
            "s3",
            endpoint_url=config.endpoint,
            config=ClientConfig(s3={"addressing_style": "path"}, signature_version="s3v4", retries={"max_attempts": 1}),
        )
    return clients


def _deployed(config: Config) -> None:
    deploy.deploy(config)
    s3 = deploy.client(config, "s3")
    for place in set(PLACES.values()):
        s3.put_object(Bucket=config.data_bucket, Key=f"{place}/secret", Body=b"x")
    s3.put_object(Bucket=config.artifact_bucket, Key="mlflow/secret", Body=b"x")


def _answer(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def _reads(role: str, s3: Any, other: Config) -> Iterator[str]:
    """What each question for what `other` has is answered with."""
    key = f"{PLACES[role]}/secret"
    yield _answer(lambda: s3.get_object(Bucket=other.data_bucket, Key=key))
    yield _answer(lambda: s3.list_objects_v2(Bucket=other.data_bucket, MaxKeys=1))
    if role in OF_ARTIFACTS:
        yield _answer(lambda: s3.get_object(Bucket=other.artifact_bucket, Key="mlflow/secret"))


def measure(home: Path, projects: int) -> dict[str, Any]:
    """Deploy, ask, count."""
    port = _port()
    configs = [Config(ROOT, home, port, 1, project=f"project-{n:02d}", workers=0) for n in range(projects)]
    cloud.start_emulator(configs[0])
    try:
        started = time.perf_counter()
        for config in configs:
            _deployed(config)
        deployed = time.perf_counter() - started
        clients = {config.project: _clients(config) for config in configs}
        own, foreign = Counter[str](), Counter[str]()
        for config in configs:
            own.update(a for role, s3 in clients[config.project].items() for a in _reads(role, s3, config))
        for reader, other in permutations(configs, 2):
            foreign.update(a for role, s3 in clients[reader.project].items() for a in _reads(role, s3, other))
    finally:
        cloud.down(configs[0], lambda _what, _seconds: None)
    costs = {name: sum(idle_cost.idle(ROOT, {"Monitoring": name}).values()) for name in ("false", "true")}
    return {
        "projects": projects,
        "roles": len(PLACES),
        "pairs": projects * (projects - 1),
        "deploy_seconds": round(deployed, 1),
        "own_reads": dict(own),
        "cross_reads": dict(foreign),
        "cross_reads_denied": foreign["AccessDenied"] / foreign.total(),
        "idle_usd_month": {
            "one": round(costs["false"], 2),
            "one_with_alarms": round(costs["true"], 2),
            "all": round(projects * costs["false"], 2),
            "all_with_alarms": round(projects * costs["true"], 2),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=50)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dropforge-projects-") as home:
        result = measure(Path(home), given.projects)
    if given.json:
        recorded.write(given.json, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
