"""The AWS profile by which a worker has the rights of the training role and no others, as a Fargate task has."""

from __future__ import annotations

from pathlib import Path

from dropforge_local.layout import REGION, ROOT_CREDENTIALS

_NAME = "training"


def write(folder: Path, role: str, *, shared: bool = False) -> None:
    """A profile that assumes `role` from the emulator's root account, and renews it by itself.

    `shared`: for users of containers too. The root account's secret is a fixed word, good on loopback only.
    """
    lines = ["[profile root]", f"region = {REGION}", f"[profile {_NAME}]", f"role_arn = {role}"]
    lines += ["source_profile = root", f"region = {REGION}"]
    root = [f"{key.lower()} = {value}" for key, value in ROOT_CREDENTIALS.items()]
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755 if shared else 0o700)
    for name, text in (("config", lines), ("credentials", ["[root]", *root])):
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
