"""The role under which the local MLflow server reads: artifacts, and no rows of the data bucket.

It is no part of template.yaml: on AWS the server is SageMaker's, with a role of its own there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

from dropforge import keys
from dropforge_local import deploy
from dropforge_local.layout import ACCOUNT, Config

_TRUST = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}


def arn(config: Config) -> str:
    """Known before the role is there: the server starts beside the stack."""
    return f"arn:aws:iam::{ACCOUNT}:role/{_name(config)}"


def put(config: Config) -> None:
    """Create the role, or bring its policy up to date. Idempotent."""
    iam, bucket = deploy.client(config, "iam"), f"arn:aws:s3:::{config.artifact_bucket}"
    folder = keys.artifact_root(config.artifact_bucket).removeprefix("s3://")
    reads = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{folder}/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
    ]
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=_name(config), AssumeRolePolicyDocument=_document([_TRUST]))
    iam.put_role_policy(RoleName=_name(config), PolicyName="artifacts", PolicyDocument=_document(reads))


def _name(config: Config) -> str:
    return f"{config.project}-local-mlflow"


def _document(statements: Sequence[Mapping[str, object]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
