"""Dependencies of the wheel, out of the requirements.in files that the locks are resolved from: one place for each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

BASE = "cli"
EXTRAS = {
    "sources": "training/sources",
    "local": "localstack",
    "train": "training",
    "ui": "frontend",
    "serve": "functions",
}


def requirements(folder: Path) -> list[str]:
    """Lines of `folder`/requirements.in and of the files it includes, each once, sorted; remarks left out."""
    lines: set[str] = set()
    for line in (folder / "requirements.in").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            lines.update(requirements((folder / text.removeprefix("-r ").strip()).parent.resolve()))
        elif text:
            lines.add(text)
    return sorted(lines)


class RequirementsHook(MetadataHookInterface):
    """Fills `dependencies` and `optional-dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Hatch's hook: set what the wheel says of itself."""
        root = Path(self.root)
        metadata["dependencies"] = requirements(root / BASE)
        metadata["optional-dependencies"] = {name: requirements(root / folder) for name, folder in EXTRAS.items()}
