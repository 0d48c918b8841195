"""Dependencies of the wheel, out of the requirements.in files that the locks are resolved from: one place for each version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

BASE = "cli"
EXTRAS = {
    "arrow": "cli/arrow",
    "sources": "training/sources",
    "local": "localstack",
    "train": "training",
    "ui": "frontend",
    "serve": "functions",
}


def requirements(folder: Path) -> list[str]:
    """Lines of `folder`/requirements.in and of the files it includes (`-r`), each once, sorted; remarks left out.

    A name that a file of constraints (`-c`) has too is written as it stands there, with its version.
    """
    lines: set[str] = set()
    versions: dict[str, str] = {}
    for text in _lines(folder / "requirements.in"):
        option, _, file = text.partition(" ")
        if option == "-r":
            lines.update(requirements((folder / file.strip()).parent.resolve()))
        elif option == "-c":
            versions |= {_name(line): line for line in _lines(folder / file.strip())}
        else:
            lines.add(versions.get(_name(text), text))
    return sorted(lines)


def _lines(file: Path) -> list[str]:
    texts = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [text for text in texts if text]


def _name(line: str) -> str:
    return re.split(r"[^\w.-]", line, maxsplit=1)[0].lower()


class RequirementsHook(MetadataHookInterface):
    """Fills `dependencies` and `optional-dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Hatch's hook: set what the wheel says of itself."""
        root = Path(self.root)
        metadata["dependencies"] = requirements(root / BASE)
        metadata["optional-dependencies"] = {name: requirements(root / folder) for name, folder in EXTRAS.items()}
