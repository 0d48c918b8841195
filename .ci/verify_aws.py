"""What `sam build` made is what runs: sizes, `sam deploy` to the local cloud, upload to prediction, `sam delete`, nothing left.

With Docker and the training image, the stack is then deployed again with TrainingCompute=fargate and trains in containers.

Run by `make verify-aws` on the interpreter of the Lambda runtime (make PYTHON=python3.13 verify-aws): the local cloud runs
handlers on its own interpreter, and the built layers hold compiled packages for 3.13.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from dropforge.errors import PermanentError
from dropforge_cli.commands.destroy import empty, remains
from dropforge_cli.commands.models import set_alias
from dropforge_cli.commands.uploads import follow_upload, put
from dropforge_cli.example_data import fetch
from dropforge_cli.target import HOME_VARIABLE, Target
from dropforge_local import cloud, containers
from dropforge_local.layout import FARGATE, REGION, Config
from dropforge_local.packaging import load_template
from dropforge_local.sam import build_folder, sam, sam_deploy

ROOT = Path(__file__).parents[1]
BUILD = build_folder(ROOT)
# As in tests/architecture/test_layers.py: Lambda's limit is 250 MB.
LIMIT_MB = 220
RUNTIME = (3, 13)
BY_PYTHON = "class: dropforge_training.models.random_forest:RandomForest"


def main() -> int:
    sizes()
    if sys.version_info[:2] != RUNTIME:
        print(
            f"sam deploy: not tried, the local cloud would run on Python {sys.version.split()[0]}; use make PYTHON=python3.13"
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="dropforge-verify-") as home:
        port, mlflow_port = _free_ports(2)
        settings = Path(home) / "settings.yaml"
        settings.write_text(small((ROOT / "settings.yaml").read_text(encoding="utf-8")))
        config = Config(ROOT, Path(home), port, mlflow_port, settings=settings)
        os.environ[HOME_VARIABLE] = home
        try:
            outputs = cloud.up(config, _say, sam_deploy)
            example = fetch(ROOT / ".cache" / "data")
            predict(Target(outputs), example.reference)
            try:
                containers.require_image(config.image)
            except PermanentError as absent:
                print(f"fargate: not tried. {absent.message}. {absent.fix}")
            else:
                cloud.worker(config).stop()  # else it could be the worker that trained
                config = replace(config, compute=FARGATE)
                predict(Target(cloud.up(config, _say, sam_deploy)), example.new)
            return gone(config, outputs)
        finally:
            cloud.down(config, _say)


def small(settings: str) -> str:
    """Small budgets, for the line is proven and not the models; one model is run by a graph, the other by its pickle."""
    if BY_PYTHON not in settings:
        raise SystemExit(f"settings.yaml has no line {BY_PYTHON!r}: name the model that Python is to run")
    settings = re.sub(r"\{trials: \d+, seconds: \d+\}", "{trials: 1, seconds: 5}", settings)
    return settings.replace(BY_PYTHON, f"{BY_PYTHON}\n    serve: python")


def sizes() -> None:
    """Each function with its layers, unzipped, as `sam build` left them. Raises SystemExit above the limit."""
    resources: dict[str, Any] = load_template(ROOT / "template.yaml")["Resources"]
    for name, resource in resources.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        layers = [layer["Ref"] for layer in resource["Properties"]["Layers"]]
        parts = {part: _megabytes(BUILD / part) for part in (name, *layers)}
        total = sum(parts.values())
        print(f"{name:<18} {total:6.1f} MB  " + "  ".join(f"{k} {v:.1f}" for k, v in parts.items()))
        if total > LIMIT_MB:
            raise SystemExit(f"{name} with its layers is {total:.0f} MB, more than {LIMIT_MB}")


def _megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def predict(target: Target, file: Path) -> None:
    """Real rows through the stack that SAM deployed: every model trained on them answers, the best one last."""
    record = follow_upload(target, put(target, file))
    if record["state"] != "concluded":
        raise SystemExit(f"the upload ended as {record['state']}: {record['reason']}")
    trained = [m for m in target.api("GET", "/models").json()["models"] if m["upload_id"] == record["upload_id"]]
    for model in sorted(trained, key=lambda m: "challenger" in m["aliases"]):
        set_alias(target, model["name"], "Production", model["version"])
        target.api("POST", "/set_model", json={"alias": "Production", "model": model["name"]})
        row = target.api("GET", "/model_info").json()["example"]
        for _ in range(150):  # a warm predict looks for a switch every few seconds only
            started = time.monotonic()
            answer = target.api("POST", "/predict", json={"records": [row]}).json()
            taken = time.monotonic() - started
            if (answer["model"]["name"], answer["model"]["version"]) == (model["name"], model["version"]):
                break
            time.sleep(0.2)
        else:
            raise SystemExit(f"{model['name']} {model['version']} does not answer: {answer}")
        print(f"{model['name']} {model['version']} predicted {answer['predictions'][0]} in {taken:.2f} s")


def gone(config: Config, outputs: dict[str, str]) -> int:
    """`sam delete`, the retained buckets, and what every service says is left."""
    target = Target(outputs)
    sam(config, "delete", "--config-env", "local", "--stack-name", config.stack, "--no-prompts", "--region", REGION)
    buckets = [outputs["DataBucket"], outputs["ArtifactBucket"]]
    for bucket in buckets:
        print(f"{bucket}: {empty(target.client('s3'), bucket, delete=True):,} versions deleted")
    left = remains(target.client, config.project, config.stack, buckets)
    print("left: " + (json.dumps(left) if left else "nothing"))
    return 1 if left else 0


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    matches = [int(p.getsockname()[1]) for p in probes]
    for probe in probes:
        probe.close()
    return matches


def _say(what: str, seconds: float) -> None:
    print(f"{what}  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
