"""Where the local cloud keeps things, and how it is configured. Nothing here writes to the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dropforge.errors import PermanentError, SettingsError
from dropforge_local import credentials

ACCOUNT = "000000000000"
REGION = "us-east-1"
PORT, MLFLOW_PORT = 4566, 5500
UI_PORT = 8501
PROJECT = "dropforge"
QUEUE, FARGATE = "queue", "fargate"  # where training runs: the local worker, or a container for each job
PROCESS, CONTAINER = (
    "process",
    "container",
)  # where an emulator runs functions: on this machine's loopback, or on Docker's bridge
TRAINING_IMAGE = "dropforge-training"


def checkout(folder: Path) -> Path:
    """The folder with template.yaml and the code: the project itself, else the checkout this package is installed from, else the
    copy in the wheel.

    Raises PermanentError when there is none.
    """
    for result in (folder, Path(__file__).parents[2], Path(__file__).parent / "project"):
        if (result / "template.yaml").exists():
            return result
    raise PermanentError(
        "the installed package has no template.yaml in it",
        code="no_template",
        fix="install it again: python -m pip install --force-reinstall dropforge, or run make setup in a checkout",
    )


def last_ports(home: Path) -> tuple[int, int, int]:
    """Ports of the emulator, of MLflow and of the web app (0: none) at the last start of this local cloud, else the usual ones."""
    try:
        document = json.loads((home / "ports.json").read_text())
        return int(document["port"]), int(document["mlflow_port"]), int(document.get("ui_port", UI_PORT))
    except (OSError, ValueError, KeyError):
        return PORT, MLFLOW_PORT, UI_PORT


def usual_workers() -> int:
    """Two, so that two models train at once where there are two cores: much of a training keeps one core busy at most."""
    return min(2, os.cpu_count() or 1)


def last_compute(home: Path) -> tuple[str, str]:
    """Where the local cloud trained at its last start, and the image of its containers; else the usual ones."""
    try:
        document = json.loads((home / "ports.json").read_text())
        return str(document["compute"]), str(document["image"])
    except (OSError, ValueError, KeyError):
        return QUEUE, TRAINING_IMAGE


def last_external(home: Path) -> str:
    """Address of the emulator of somebody else that this local cloud last used; empty when it started its own."""
    try:
        return str(json.loads((home / "ports.json").read_text()).get("external", ""))
    except (OSError, ValueError):
        return ""


def last_functions(home: Path) -> str:
    """Where the emulator ran functions at the last start of this local cloud."""
    try:
        return str(json.loads((home / "ports.json").read_text()).get("functions", PROCESS))
    except (OSError, ValueError):
        return PROCESS


def external_endpoint(given: Mapping[str, str]) -> str:
    """AWS_ENDPOINT_URL of these variables. Raises SettingsError when it is missing or not on this machine."""
    endpoint = given.get("AWS_ENDPOINT_URL", "").rstrip("/")
    result = urlsplit(endpoint)
    if result.hostname not in {"127.0.0.1", "localhost"} or result.port is None:
        raise SettingsError(
            f"AWS_ENDPOINT_URL is {endpoint or 'not set'}",
            code="endpoint_malformed",
            fix="name the emulator that runs on this machine: export AWS_ENDPOINT_URL=http://127.0.0.1:4566",
        )
    return endpoint


def foreign_account(given: Mapping[str, str]) -> dict[str, str]:
    """The credentials by which an emulator of somebody else knows its root account; emulators take `test` where none are set."""
    return {name: given.get(name, "test") for name in (credentials.ACCESS_KEY, credentials.SECRET_KEY)}


@dataclass(frozen=True, slots=True)
class Config:
    """`root` is the checkout, `home` holds all state of this local cloud."""

    root: Path
    home: Path
    port: int = PORT
    mlflow_port: int = MLFLOW_PORT
    project: str = PROJECT
    parameters: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    ui_port: int = 0  # of the web app; 0: none is started
    settings: Path | None = None  # another settings file than the checkout's
    compute: str = QUEUE
    image: str = TRAINING_IMAGE
    foreign_credentials: Mapping[str, str] = field(default_factory=dict)  # of an emulator that somebody else started
    external: str = ""  # address of that emulator; empty: the local cloud starts its own
    functions: str = PROCESS  # where that emulator runs them

    @property
    def credentials_file(self) -> Path:
        """Key of the root account, in the format of the AWS tools."""
        return self.home / "credentials"

    @property
    def history_key_file(self) -> Path:
        """Key of the deployment history. Only functions that change or verify the history are given its path."""
        return self.home / "history.key"

    @property
    def credentials(self) -> Mapping[str, str]:
        """Of the root account, by the names of the AWS tools' variables. Raises PermanentError before the first start."""
        return self.foreign_credentials or credentials.read(self.credentials_file)

    @property
    def settings_file(self) -> Path:
        """The project's settings.yaml."""
        return self.settings or self.root / "settings.yaml"

    @property
    def endpoint(self) -> str:
        """Address of the emulator."""
        return self.external or f"http://127.0.0.1:{self.port}"

    @property
    def mlflow_uri(self) -> str:
        """Address of MLflow."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def ui_url(self) -> str:
        """Empty when no web app is started."""
        return f"http://127.0.0.1:{self.ui_port}" if self.ui_port else ""

    @property
    def stack(self) -> str:
        """Name of the stack."""
        return self.project

    @property
    def data_bucket(self) -> str:
        """Name of the data bucket."""
        return f"{self.project}-data-{ACCOUNT}-{REGION}"

    @property
    def artifact_bucket(self) -> str:
        """Name of the artifact bucket."""
        return f"{self.project}-artifacts-{ACCOUNT}-{REGION}"

    @property
    def package_bucket(self) -> str:
        """Name of the bucket of function packages."""
        return f"{self.project}-packages-{ACCOUNT}-{REGION}"

    @property
    def training_log_group(self) -> str:
        """Log group of the workers."""
        return f"/dropforge/{self.project}/training"

    @property
    def task_profile(self) -> Path:
        """Mounted into training containers."""
        return self.home / "task"

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.home / "logs"

    @property
    def pids(self) -> Path:
        """Folder of process ids."""
        return self.home / "run"

    @property
    def ports_file(self) -> Path:
        """Where the ports in use are."""
        return self.home / "ports.json"

    @property
    def outputs_file(self) -> Path:
        """Where the stack's outputs are."""
        return self.home / "outputs.json"
