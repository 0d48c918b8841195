"""AWS profiles by which a process has the rights of one role and no others: workers as a Fargate task has, the MLflow server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dropforge_local.layout import REGION

_NAME = "dropforge"


def write(folder: Path, role: str, root: Mapping[str, str], *, shared: bool = False) -> None:
    """A profile that assumes `role` from the emulator's root account, and renews it by itself.

    `root`: the account's credentials as variables. `shared`: for users of containers too, who are others; on this machine the
    folder above (mode 0700) keeps everybody else out.
    """
    lines = ["[profile root]", f"region = {REGION}", f"[profile {_NAME}]", f"role_arn = {role}"]
    lines += ["source_profile = root", f"region = {REGION}"]
    keys = [f"{name.lower()} = {value}" for name, value in root.items()]
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755 if shared else 0o700)
    for name, text in (("config", lines), ("credentials", ["[root]", *keys])):
        file = folder / name
        file.touch(mode=0o600, exist_ok=True)
        file.chmod(0o644 if shared else 0o600)
        file.write_text("\n".join(text) + "\n")


def variables(folder: Path) -> dict[str, str]:
    """What a process needs to find the profile in `folder`."""
    return {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_PROFILE": _NAME,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
