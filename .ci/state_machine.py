"""Step Functions' own refusals, offline: asl-validator (npm, pinned in .ci/tools/asl) on the definition as CloudFormation fills it in.

Run by `make verify-aws`, once for each TrainingCompute. Needs node and npm.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from dropforge_local.packaging import load_template

ROOT = Path(__file__).parents[1]
TOOL = ROOT / ".ci" / "tools" / "asl"
ARN = "arn:aws:{}:us-east-1:123456789012:{}"


def filled(compute: str) -> str:
    """The definition with the template's substitutions, as text: that is what CloudFormation does."""
    values = {
        "Partition": "aws",
        "TrainingCompute": compute,
        "MaxConcurrency": "3",
        "ShardsAtOnce": "3",
        "CapacityProvider": "FARGATE",
        "TrainingQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        "ConcludeFunctionArn": ARN.format("lambda", "function:conclude"),
        "AnalyzeFunctionArn": ARN.format("lambda", "function:analyze"),
        "BatchFunctionArn": ARN.format("lambda", "function:batch"),
        "ClusterArn": ARN.format("ecs", "cluster/c") if compute == "fargate" else "-",
        "TaskDefinitionArn": ARN.format("ecs", "task-definition/dropforge-training:1") if compute == "fargate" else "-",
        "SubnetIds": "subnet-1,subnet-2" if compute == "fargate" else "",
        "SecurityGroupId": "sg-1" if compute == "fargate" else "-",
        "AssignPublicIp": "ENABLED",
    }
    machine = load_template(ROOT / "template.yaml")["Resources"]["TrainingStateMachine"]["Properties"]
    if set(machine["DefinitionSubstitutions"]) != set(values):
        raise SystemExit(f"template.yaml fills in {sorted(machine['DefinitionSubstitutions'])}: give each a value here")
    text = (ROOT / "statemachine" / "training.asl.yaml").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("${" + name + "}", value)
    return text


def main() -> int:
    for compute in ("queue", "fargate"):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(filled(compute))
            file.flush()
            command = ["node", TOOL / "node_modules/asl-validator/dist/bin/asl-validator.js", "--yaml-path", file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"TrainingCompute={compute}: {done.stdout}{done.stderr}")
            return 1
        print(f"state machine, TrainingCompute={compute}: asl-validator finds nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
