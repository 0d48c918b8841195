"""The process environment, read in one place and only when asked.

template.yaml is the only source of these variables on Lambda; the training container gets the same names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from dropforge.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Environment:
    """What a process of the system is told from outside. Empty string: not given to this process."""

    data_bucket: str = ""
    artifact_bucket: str = ""
    mlflow_tracking_uri: str = ""
    mlflow_secret_arn: str = ""
    metrics_namespace: str = ""
    project_name: str = ""  # of system events; empty: none are put
    state_machine_arn: str = ""
    training_queue_url: str = ""
    training_log_group: str = ""
    log_group_prefix: str = ""
    uploads_queue_url: str = ""  # events of uploads, for analyze
    batch_queue_url: str = ""  # those of files to be scored, for batch
    python_function: str = ""  # runs the models that Python alone can run; empty: none is deployed
    history_key: str = (
        ""  # of the deployment history: ARN of an HMAC key of KMS, or file:PATH; empty: entries have no MAC
    )
    log_level: str = "INFO"
    aws_endpoint_url: str = ""
    aws_region: str = ""
    aws_lambda_function_version: str = ""
    job: str = ""
    api_key: str = ""
    admin_key: str = ""
    api_host: str = "127.0.0.1"  # the API's image says otherwise: a container's own network reaches nobody by itself
    api_port: str = "8080"
    functions_folder: str = ""

    @classmethod
    def read(cls, source: Mapping[str, str] | None = None) -> Environment:
        """Field `data_bucket` comes from variable `DATA_BUCKET`, and so on."""
        variables = os.environ if source is None else source
        given = {f.name: variables.get(f.name.upper(), str(f.default)) for f in fields(cls)}
        if not given["aws_region"]:
            given["aws_region"] = variables.get("AWS_DEFAULT_REGION", "")
        return cls(**given)

    @staticmethod
    def hand_to_mlflow(credentials: Mapping[str, str]) -> None:
        """Where the MLflow client looks for its credentials. `credentials`: username and password, or token.

        Raises SettingsError for anything else.
        """
        if credentials.keys() not in ({"username", "password"}, {"token"}):
            raise SettingsError(
                f"the MLflow secret has the keys {', '.join(sorted(credentials)) or 'nothing'}",
                code="secret_malformed",
                fix='store {"username": "…", "password": "…"} or {"token": "…"}',
            )
        for key, value in credentials.items():
            os.environ[f"MLFLOW_TRACKING_{key.upper()}"] = value

    @staticmethod
    def silence_onnxruntime() -> None:
        """To be called before the library is loaded: it looks once. Since 1.29 it tells its maker of every process and model it
        runs, and keeps a database of that in the home directory, unless this is set.
        """
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"

    def require(self, *names: str) -> Environment:
        """Return self, or raise SettingsError naming every missing variable."""
        missing = [n.upper() for n in names if not getattr(self, n)]
        if missing:
            raise SettingsError(
                f"environment variable {', '.join(missing)} is not set",
                code="environment_incomplete",
                fix="the function's Environment in template.yaml must set it; locally `dropforge up` does",
            )
        return self
