"""Where the local cloud keeps things, and how it is configured. Nothing here touches the disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ACCOUNT = "000000000000"
REGION = "us-east-1"
# The emulator's root account: any secret is accepted, and the port is open on loopback only.
ROOT_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@dataclass(frozen=True, slots=True)
class Config:
    """`root` is the checkout, `home` holds all state of this local cloud."""

    root: Path
    home: Path
    port: int = 4566
    mlflow_port: int = 5500
    project: str = "dropforge"
    parameters: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    settings: Path | None = None  # another settings file than the checkout's

    @property
    def settings_file(self) -> Path:
        return self.settings or self.root / "settings.yaml"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mlflow_uri(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def stack(self) -> str:
        return self.project

    @property
    def data_bucket(self) -> str:
        return f"{self.project}-data-{ACCOUNT}-{REGION}"

    @property
    def artifact_bucket(self) -> str:
        return f"{self.project}-artifacts-{ACCOUNT}-{REGION}"

    @property
    def package_bucket(self) -> str:
        return f"{self.project}-packages-{ACCOUNT}-{REGION}"

    @property
    def training_log_group(self) -> str:
        return f"/dropforge/{self.project}/training"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def pids(self) -> Path:
        return self.home / "run"

    @property
    def outputs_file(self) -> Path:
        return self.home / "outputs.json"
