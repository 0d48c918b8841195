"""Where the API is and how the page is served: flags before environment, read in this one place."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class ConfigError(Exception):
    """The app cannot start; `fix` says what to give it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Identity:
    """Which load balancer vouches for people: its ARN, and where AWS publishes the keys of its region."""

    signer: str
    keys_url: str


@dataclass(frozen=True, slots=True)
class Options:
    """`api_url` has no trailing slash. AWS credentials are found by botocore's usual chain when a request has to be signed."""

    api_url: str
    api_key: str
    region: str = "us-east-1"
    mlflow_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8501
    hosts: tuple[str, ...] = LOOPBACK  # names by which browsers may call the page
    password: str = ""  # asked for with a name, when it is set
    identity: Identity | None = None  # of a load balancer that signs people in
    upload_bytes: int = 1_000_000_000  # largest file


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Options:
    """Options of a command line. Raises ConfigError when no API is named, SystemExit for --help and unknown flags."""
    env = os.environ if environment is None else environment
    parser = argparse.ArgumentParser(prog="dropforge_ui", description="The web app of Dropforge.")
    parser.add_argument("--outputs", type=Path, help="file with ApiUrl, ApiKey, Region (`dropforge outputs --json`)")
    parser.add_argument("--api-url", help="address of the API (DROPFORGE_API_URL)")
    parser.add_argument("--region", help="AWS region of the API (DROPFORGE_REGION)")
    parser.add_argument("--host", help="address to listen on (DROPFORGE_UI_HOST); 127.0.0.1")
    parser.add_argument("--port", type=int, help="port to listen on (DROPFORGE_UI_PORT); 8501")
    parser.add_argument(
        "--hosts", help="names of the page in browsers, with commas (DROPFORGE_UI_HOSTS); loopback's are known"
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        help="file with the password of the login (or DROPFORGE_UI_PASSWORD); none on loopback",
    )
    parser.add_argument("--max-upload-mb", type=int, help="largest file (DROPFORGE_UI_MAX_UPLOAD_MB); 1000")
    given = parser.parse_args(arguments)
    known = _outputs(given.outputs)
    url = given.api_url or known.get("ApiUrl") or env.get("DROPFORGE_API_URL", "")
    if not url:
        raise ConfigError(
            "the address of the API is not known", "set DROPFORGE_API_URL, or give --api-url or --outputs"
        )
    host = given.host or env.get("DROPFORGE_UI_HOST", "127.0.0.1")
    region = given.region or known.get("Region") or env.get("DROPFORGE_REGION", "us-east-1")
    names = (given.hosts or env.get("DROPFORGE_UI_HOSTS", "")).split(",")
    password = _password(given.password_file, env)
    identity = _identity(env.get("DROPFORGE_UI_OIDC_SIGNER", ""), region)
    if not (is_loopback(host) or password or identity):
        raise ConfigError(
            f"{host} is reached from elsewhere, and nobody would have to sign in",
            "set DROPFORGE_UI_PASSWORD (or --password-file), or DROPFORGE_UI_OIDC_SIGNER to the ARN of a load balancer that "
            "signs people in; or listen on 127.0.0.1",
        )
    return Options(
        api_url=url.rstrip("/"),
        api_key=known.get("ApiKey") or env.get("DROPFORGE_API_KEY", ""),  # never a flag: command lines are public
        region=region,
        mlflow_url=known.get("MlflowUrl") or env.get("DROPFORGE_MLFLOW_URL", ""),
        host=host,
        port=given.port or int(env.get("DROPFORGE_UI_PORT", "8501")),
        hosts=(*LOOPBACK, *(n.strip() for n in names if n.strip())),
        password=password,
        identity=identity,
        upload_bytes=1_000_000 * (given.max_upload_mb or int(env.get("DROPFORGE_UI_MAX_UPLOAD_MB", "1000"))),
    )


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _password(file: Path | None, env: Mapping[str, str]) -> str:
    """Never a flag: command lines are public."""
    if file is None:
        return env.get("DROPFORGE_UI_PASSWORD", "")
    try:
        result = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}", "name a file that holds the password") from None
    if not result:
        raise ConfigError(f"{file} is empty", "write a password into it")
    return result


def _identity(signer: str, region: str) -> Identity | None:
    return Identity(signer, f"https://public-keys.auth.elb.{region}.amazonaws.com") if signer else None


def keep_quiet() -> None:
    """Gradio calls home when it is imported and when it starts unless it is told not to; call this before."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


@contextmanager
def folder_of_its_own() -> Iterator[None]:
    """Work in a new folder, which is removed at the end: people's files lie in it, and an erasure does not look there.

    Gradio tells the page where files lie; relative paths say nothing about this machine.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="dropforge-ui-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        os.environ["GRADIO_TEMP_DIR"] = "files"
        try:
            yield
        finally:
            os.chdir(before)


def _outputs(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        document: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "dropforge outputs --json > FILE") from None
    return document
