"""The web app as one more process of the local cloud."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from dropforge_local.layout import REGION, Config
from dropforge_local.processes import Process, is_listening, require_free, wait_until

_LOGIN = "DROPFORGE_UI_PASSWORD"  # passed on when it is set: loopback needs no login unless others share the machine


def frontend(config: Config) -> Process:
    """The process of the web app."""
    return Process("the web app", config.pids / "frontend.json", config.logs / "frontend.log")


def start(
    config: Config, outputs: Mapping[str, str], environment: Mapping[str, str], *, answering: bool = True
) -> None:
    """Start it unless it runs for this API already, and wait until it answers, or only until browsers can wait for it.

    Raises PermanentError for a taken port, Unavailable when it ends at start.
    """
    process, stored = frontend(config), config.pids / "frontend.address"
    address = _fingerprint(outputs, config.ui_port)
    if process.pid() is not None and stored.exists() and stored.read_text() != address:
        process.stop()  # it serves another port, or speaks to a stack that was replaced
    if process.pid() is None:
        require_free(config.ui_port, "the web app", "--ui-port")
        folder = config.home / "tmp" / "frontend"
        # One that was killed left people's files in it.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        env = {
            **environment,
            "TMPDIR": str(folder),
            **{name: os.environ[name] for name in (_LOGIN,) if name in os.environ},
            **config.credentials,  # administrative requests are signed, as the command line signs them
            "DROPFORGE_API_URL": outputs["ApiUrl"],
            "DROPFORGE_API_KEY": outputs["ApiKey"],
            "DROPFORGE_REGION": REGION,
        }
        process.start([sys.executable, "-m", "dropforge_ui", "--port", str(config.ui_port)], env, config.home)
        stored.write_text(address)
    wait_until(process, lambda: answers(config) if answering else is_listening(config.ui_port), 60)


def answers(config: Config) -> bool:
    """Whether the web app answers."""
    try:
        with urllib.request.urlopen(f"{config.ui_url}/livez", timeout=2) as answer:  # noqa: S310 - loopback http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _fingerprint(outputs: Mapping[str, str], port: int) -> str:
    """Of what it was started with; the key itself is not written down a second time."""
    return hashlib.sha256(f"{outputs['ApiUrl']} {outputs['ApiKey']} {port}".encode()).hexdigest()
