"""The processes of the local cloud: how each is started and how it shows that it is well."""

from __future__ import annotations

import sys
from pathlib import Path

from dropforge_local.places import HOST, ROOT_KEY, Home, Options
from dropforge_local.processes import Started, answers, require_free, running, start, stop, wait_for_http

EMULATOR = "emulator"
MLFLOW = "mlflow"
WORKER = "worker"
ALL = (WORKER, MLFLOW, EMULATOR)  # the order of stopping: who uses before who is used


def emulator(home: Home, options: Options) -> tuple[Started, bool]:
    """The AWS emulator on loopback with IAM enforced and state kept in the home. Returns it and whether it is new.

    It and the functions it runs get a clean environment: nothing of the user's shell, home or profiles.
    """
    health = f"{options.endpoint}/_ministack/health"
    found = running(home, EMULATOR)
    if found and found.fingerprint == str(options.port) and answers(health):
        return found, False
    stop(home, EMULATOR)
    require_free(options.port, "--port", "the AWS emulator")
    env = _clean(home, options) | {
        "GATEWAY_PORT": str(options.port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": options.region,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true",
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(home.folder("state")),
        "S3_DATA_DIR": str(home.folder("s3")),
        "LOG_LEVEL": "WARNING",
    }
    started = start(home, EMULATOR, [sys.executable, "-m", "ministack"], env, fingerprint=str(options.port))
    wait_for_http(home, started, health, 30)
    return started, True


def mlflow(home: Home, options: Options) -> tuple[Started, bool]:
    """The MLflow server on loopback: one worker, SQLite in the home, artifacts on S3 directly and never through it."""
    health = f"{options.mlflow_url}/health"
    fingerprint = f"{options.mlflow_port} {options.endpoint} {options.artifact_bucket}"
    found = running(home, MLFLOW)
    if found and found.fingerprint == fingerprint and answers(health):
        return found, False
    stop(home, MLFLOW, whole_group=True)
    require_free(options.mlflow_port, "--mlflow-port", "MLflow")
    database = home.folder("mlflow") / "mlflow.db"
    hosts = ",".join(f"{name}:{options.mlflow_port}" for name in (HOST, "localhost"))
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", HOST,
        "--port", str(options.mlflow_port),
        "--workers", "1",
        "--backend-store-uri", f"sqlite:///{database}",
        "--default-artifact-root", f"s3://{options.artifact_bucket}/mlflow",
        "--no-serve-artifacts",
        "--allowed-hosts", hosts,
        "--cors-allowed-origins", options.mlflow_url,
    ]  # fmt: skip
    env = _clean(home, options) | {
        # The UI reads reports and models from S3 with these.
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        "AWS_ENDPOINT_URL": options.endpoint,
        "MLFLOW_S3_ENDPOINT_URL": options.endpoint,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    started = start(home, MLFLOW, command, env, fingerprint=fingerprint)
    wait_for_http(home, started, health, 90)
    return started, True


def worker(home: Home, options: Options, outputs: dict[str, str], code: str) -> tuple[Started, bool]:
    """One training worker under the training role's permissions. `code` names what it runs: another makes it start anew."""
    fingerprint = (
        f"{options.endpoint} {options.mlflow_url} {outputs['TrainingQueueUrl']} {outputs['TrainingRoleArn']} {code}"
    )
    found = running(home, WORKER)
    if found and found.fingerprint == fingerprint:
        return found, False
    stop(home, WORKER, whole_group=False)
    config, credentials = profile(home, options, outputs["TrainingRoleArn"])
    env = _clean(home, options) | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_PROFILE": "worker",
        "AWS_ENDPOINT_URL": options.endpoint,
        "MLFLOW_TRACKING_URI": options.mlflow_url,
        "DATA_BUCKET": outputs["DataBucket"],
        "ARTIFACT_BUCKET": outputs["ArtifactBucket"],
        "STATE_MACHINE_ARN": outputs["StateMachineArn"],
        "TRAINING_QUEUE_URL": outputs["TrainingQueueUrl"],
        "TRAINING_LOG_GROUP": f"{outputs['LogGroupPrefix']}training",
        "LOG_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "dropforge_training.worker"]
    return start(home, WORKER, command, env, fingerprint=fingerprint), True


def profile(home: Home, options: Options, role: str) -> tuple[Path, Path]:
    """AWS profile files, readable by the owner only: profile `worker` assumes the role from the emulator's root."""
    folder = home.folder("aws")
    config, credentials = folder / "config", folder / "credentials"
    _private(credentials, f"[root]\naws_access_key_id = {ROOT_KEY}\naws_secret_access_key = {ROOT_KEY}\n")
    _private(
        config,
        f"[profile root]\nregion = {options.region}\n\n"
        f"[profile worker]\nregion = {options.region}\nrole_arn = {role}\nsource_profile = root\n"
        "role_session_name = worker\n",
    )
    return config, credentials


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _clean(home: Home, options: Options) -> dict[str, str]:
    """The whole environment a part starts with."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home.folder("work")),
        "TMPDIR": str(home.folder("tmp")),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "AWS_REGION": options.region,
        "AWS_DEFAULT_REGION": options.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
