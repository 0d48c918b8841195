"""Where the local cloud keeps its state, and what a caller may choose about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ACCOUNT = "000000000000"
HOST = "127.0.0.1"
# The emulator's account root: not a secret, it opens nothing outside this machine.
ROOT_KEY = "test"


@dataclass(frozen=True, slots=True)
class Options:
    """One local cloud. Two clouds differ in `home` and ports; nothing else is shared."""

    home: Path
    project: Path
    port: int = 4566
    mlflow_port: int = 5500
    stack: str = "dropforge"
    region: str = "us-east-1"
    worker: bool = True
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def artifact_bucket(self) -> str:
        """Known before the stack stands (template.yaml composes it the same way), so MLflow can start beside it."""
        return f"{self.stack}-artifacts-{ACCOUNT}-{self.region}"


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder of one local cloud: everything `up` writes is in here."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Records of the processes that were started."""
        return self.root / "run"

    @property
    def aws(self) -> Path:
        return self.root / "aws"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def folder(self, name: str) -> Path:
        """A folder inside the state folder, made when missing and readable by its owner only."""
        path = self.root / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
