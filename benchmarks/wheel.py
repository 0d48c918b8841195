"""The wheel alone in empty folders: what it downloads and installs, and whether the README's commands run on it.

    make bench-wheel                  the wheel alone: `analyze`; then its extras: init, up, upload --serve, predict
    … wheel.py --base                 the wheel alone

Two fresh environments, made by `python -m venv`; nothing of the checkout is on any path. Downloaded are the files that pip takes from
its index; installed are the bytes of site-packages without pip, with the bytecode that pip compiles and without it (as uv and uvx
install). What the run started is stopped, and what it made is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropforge_cli.example_data import fetch

ROOT = Path(__file__).parents[1]


class Environment:
    """A fresh environment with the wheel in it, and an empty folder to run its command in."""

    def __init__(self, folder: Path, wheel: Path, extras: str) -> None:
        """`folder` is made. `extras`: such as `[local]`; empty for the wheel alone."""
        self.bin, self.work = folder / "venv" / "bin", folder / "work"
        self._folder, self._wheel = folder, f"{wheel}{extras}"
        self.work.mkdir(parents=True)
        self.steps: list[dict[str, Any]] = []

    def install(self) -> dict[str, Any]:
        """Install by pip; megabytes of the download and of what is installed."""
        files, site = self._folder / "files", self._folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", site], check=True)
        pip = [self.bin / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        self._timed("pip download", [*pip, "download", "--dest", files, self._wheel])
        self._timed("pip install", [*pip, "install", "--no-index", "--find-links", files, self._wheel])
        packages = [p for p in next(site.glob("lib/python*/site-packages")).iterdir() if not p.name.startswith("pip")]
        packages = [p for p in packages if not p.name.startswith(("setuptools", "pkg_resources", "_distutils_hack"))]
        sizes = {p.name: _megabytes(p) for p in packages}
        return {
            "packages": len(list(files.iterdir())),
            "downloaded_mb": round(_megabytes(files), 1),
            "installed_mb": round(sum(sizes.values()), 1),
            "without_bytecode_mb": round(sum(_megabytes(p, bytecode=False) for p in packages), 1),
            "largest": {n: round(mb, 1) for n, mb in sorted(sizes.items(), key=lambda s: -s[1])[:10]},
        }

    def dropforge(self, *arguments: str, where: str = ".") -> None:
        """One command, timed. Ends the program with its output when it fails."""
        self._timed(f"dropforge {' '.join(arguments)}", [self.bin / "dropforge", *arguments], self.work / where)

    def _timed(self, shown: str, command: Sequence[str | Path], where: Path | None = None) -> None:
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=where or self.work, env=_variables(self.bin), check=False, capture_output=True, text=True
        )
        self.steps.append({"command": shown, "seconds": round(time.monotonic() - started, 1)})
        sys.stderr.write(f"{self.steps[-1]['seconds']:6.1f} s  {shown}\n")
        if done.returncode:
            sys.exit(f"{shown} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def _megabytes(path: Path, *, bytecode: bool = True) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files if bytecode or p.suffix != ".pyc") / 1e6


def _variables(tools: Path) -> Mapping[str, str]:
    """Without what an active environment or a running project says of itself."""
    left_out = ("DROPFORGE_", "PYTHON", "VIRTUAL_ENV", "AWS_")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return rest | {"PATH": f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin"}


def _free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def base(folder: Path, wheel: Path) -> dict[str, Any]:
    """The wheel alone compares two files."""
    environment, example = Environment(folder, wheel, ""), fetch(ROOT / ".cache" / "data")
    sizes = environment.install()
    for name, file in (("a.csv", example.reference), ("b.csv", example.new)):
        (environment.work / name).write_bytes(file.read_bytes())
    environment.dropforge("analyze", "a.csv", "b.csv")
    return sizes | {"steps": environment.steps, "report": (environment.work / "report.html").stat().st_size}


def whole(folder: Path, wheel: Path) -> dict[str, Any]:
    """With the extras: from a table to a prediction."""
    environment = Environment(folder, wheel, "[local,train]")
    sizes = environment.install()
    (environment.work / "my.csv").write_bytes(fetch(ROOT / ".cache" / "data").reference.read_bytes())
    environment.dropforge("init", "my.csv")
    port, mlflow, page = _free_ports(3)
    try:
        environment.dropforge("up", "--port", port, "--mlflow-port", mlflow, "--ui-port", page, where="my")
        environment.dropforge("upload", "../my.csv", "--serve", where="my")
        environment.dropforge("predict", where="my")
    finally:
        environment.dropforge("down", where="my")
    return sizes | {"steps": environment.steps}


def main() -> None:
    """One run, told on stderr as it goes and as JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", action="store_true", help="the wheel without extras only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dropforge-wheel-") as scratch:
        folder = Path(scratch)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
        wheel = next(folder.glob("*.whl"))
        result: dict[str, Any] = {"wheel_mb": round(_megabytes(wheel), 1), "base": base(folder / "base", wheel)}
        if not given.base:
            result["extras"] = whole(folder / "extras", wheel)
    result |= {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
