"""The stack onto an emulator that somebody else started: the hook of localstack/init/ready.d. Idempotent."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge.errors import DropforgeError
from dropforge_local import deploy
from dropforge_local.layout import MLFLOW_PORT, Config, checkout, external_endpoint, foreign_account


def deploy_to(endpoint: str, mlflow_uri: str, root: Path, credentials: Mapping[str, str]) -> str:
    """Deploy, and put settings.yaml in force. Returns created | updated | unchanged. Raises DropforgeError.

    `mlflow_uri`: where the functions find MLflow; empty for the usual port of this machine. `credentials`: of the root account,
    by the names of the AWS tools' variables.
    """
    external = external_endpoint({"AWS_ENDPOINT_URL": endpoint})
    address = {"MlflowTrackingUri": mlflow_uri} if mlflow_uri else {}
    config = Config(
        root,
        root / ".dropforge",
        mlflow_port=MLFLOW_PORT,
        parameters=address,
        foreign_credentials=credentials,
        external=external,
    )
    done = deploy.deploy(config)
    store = S3Store(deploy.client(config, "s3"))
    settings_store.apply(store, config.data_bucket, config.settings_file.read_bytes(), config.settings_file.name)
    return done


def main() -> int:
    """Entry point of the hook. Exit code 1, and the reason on stderr, when the stack is not there afterwards."""
    given = os.environ
    try:
        account = foreign_account(given)
        endpoint, mlflow_uri = given.get("AWS_ENDPOINT_URL", ""), given.get("MLFLOW_TRACKING_URI", "")
        done = deploy_to(endpoint, mlflow_uri, checkout(Path.cwd()), account)
    except DropforgeError as error:
        sys.stderr.write(f"{error.message}\n  {error.fix}\n")
        return 1
    sys.stdout.write(f"stack {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
