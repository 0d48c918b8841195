"""`sam deploy` of what `sam build` made, to the local cloud: `make deploy ENV=local`, and one step of `make verify-aws`.

CloudFormation reads a state machine in YAML; the emulator reads JSON only, and tells so when it is executed. It runs no image
without Docker either. So the built template gets a twin for the local cloud: the same definition in JSON, and a zip for the image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from dropforge.errors import DropforgeError, PermanentError, Unavailable
from dropforge_local import cloud, containers, deploy
from dropforge_local.layout import FARGATE, REGION, Config, checkout, last_compute, last_ports
from dropforge_local.packaging import (
    definition_json,
    leave_out_metric_math,
    load_template,
    number_concurrency,
    without_image,
)


def build_folder(root: Path) -> Path:
    """Where `sam build` puts its template, functions and layers."""
    return root / ".aws-sam" / "build"


def local_template(config: Config) -> Path:
    """Write the twin of the built template, beside it. Raises PermanentError when nothing was built."""
    folder = build_folder(config.root)
    try:
        template = load_template(folder / "template.yaml")
    except FileNotFoundError:
        raise PermanentError(
            f"{folder} holds no template", code="not_built", fix="make deploy ENV=local, or sam build first"
        ) from None
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Serverless::StateMachine":
                definition = folder / f"{name}.asl.json"
                definition.write_bytes(definition_json(folder / properties["DefinitionUri"]))
                properties["DefinitionUri"] = definition.name
            case "AWS::Lambda::Function":
                code = folder / f"{name}.zip"
                code.write_bytes(without_image(config.root, properties))
                properties["Code"] = code.name
    leave_out_metric_math(template)
    number_concurrency(template, config.parameters)
    if config.compute == FARGATE:
        containers.adapt(template, config)
    twin = folder / "template-local.json"
    twin.write_text(json.dumps(template, default=str))
    return twin


def sam(config: Config, *arguments: str) -> None:
    """Run the SAM CLI of the checkout against the local cloud. Raises PermanentError when it fails; it has told why itself."""
    environment = {
        **os.environ,
        **config.credentials,
        "AWS_ENDPOINT_URL": config.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
    }
    command = [str(config.root / ".venv-sam" / "bin" / "sam"), *arguments]
    try:
        subprocess.run(command, cwd=config.root, env=environment, check=True)  # noqa: S603 - the checkout's own SAM CLI
    except subprocess.CalledProcessError as error:
        raise PermanentError(
            f"sam {arguments[0]} ended with {error.returncode}", code="sam_failed", fix="see what it said above"
        ) from error


def sam_deploy(config: Config) -> str:
    """Bring the built template to a running local cloud. Returns what it did, in the words of `cloud.up`."""
    own = {"ManagedMlflow": "none", "MlflowTrackingUri": config.mlflow_uri, "TrainingImageUri": config.image}
    if config.compute == FARGATE:
        own |= containers.parameters(config.image, deploy.client(config, "ec2"))
    file = config.root / "samconfig.toml"
    stored = tomllib.loads(file.read_text())["local"]["deploy"]["parameters"]["parameter_overrides"]
    overrides = " ".join((stored, *(f"{k}={v}" for k, v in own.items())))
    where = ["--config-file", str(file), "--config-env", "local", "--template-file", str(local_template(config))]
    sam(config, "deploy", *where, "--parameter-overrides", overrides)
    return f"by sam deploy, TrainingCompute={config.compute}"


def main() -> int:
    """Deploy to the local cloud of this checkout, as its last start left it."""
    root = checkout(Path.cwd())
    home = Path(os.environ.get("DROPFORGE_HOME") or root / ".dropforge").resolve()
    port, mlflow_port, _ = last_ports(home)
    compute, image = last_compute(home)
    config = Config(root, home, port, mlflow_port, compute=compute, image=image)
    try:
        if not cloud.emulator_answers(config):
            raise Unavailable(
                f"no local cloud answers at {config.endpoint}", code="not_running", fix="start it: make up"
            )
        sam_deploy(config)
    except DropforgeError as error:
        sys.stderr.write(f"{error.message}\n  {error.fix}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
