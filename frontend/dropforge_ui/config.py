"""Where the API is and how the page is served: flags before environment, read in this one place."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class ConfigError(Exception):
    """The app cannot start; `fix` says what to give it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Options:
    """`api_url` has no trailing slash. AWS credentials are found by botocore's usual chain when a request has to be signed."""

    api_url: str
    api_key: str
    region: str = "us-east-1"
    mlflow_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8501


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Options:
    """Options of a command line. Raises ConfigError when no API is named, SystemExit for --help and unknown flags."""
    env = os.environ if environment is None else environment
    parser = argparse.ArgumentParser(prog="dropforge_ui", description="The web app of Dropforge.")
    parser.add_argument("--outputs", type=Path, help="file with ApiUrl, ApiKey, Region (`dropforge outputs --json`)")
    parser.add_argument("--api-url", help="address of the API (DROPFORGE_API_URL)")
    parser.add_argument("--region", help="AWS region of the API (DROPFORGE_REGION)")
    parser.add_argument("--host", help="address to listen on (DROPFORGE_UI_HOST); 127.0.0.1")
    parser.add_argument("--port", type=int, help="port to listen on (DROPFORGE_UI_PORT); 8501")
    given = parser.parse_args(arguments)
    known = _outputs(given.outputs)
    url = given.api_url or known.get("ApiUrl") or env.get("DROPFORGE_API_URL", "")
    if not url:
        raise ConfigError(
            "the address of the API is not known", "set DROPFORGE_API_URL, or give --api-url or --outputs"
        )
    return Options(
        api_url=url.rstrip("/"),
        api_key=known.get("ApiKey") or env.get("DROPFORGE_API_KEY", ""),  # never a flag: command lines are public
        region=given.region or known.get("Region") or env.get("DROPFORGE_REGION", "us-east-1"),
        mlflow_url=known.get("MlflowUrl") or env.get("DROPFORGE_MLFLOW_URL", ""),
        host=given.host or env.get("DROPFORGE_UI_HOST", "127.0.0.1"),
        port=given.port or int(env.get("DROPFORGE_UI_PORT", "8501")),
    )


def keep_quiet() -> None:
    """Gradio calls home when it is imported and when it starts unless it is told not to; call this before."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


def _outputs(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "dropforge outputs --json > FILE") from None
    return found
