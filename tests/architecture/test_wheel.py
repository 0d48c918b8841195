"""What `pip install dropforge` brings: the command line without the cloud's packages, and in the wheel everything that is deployed."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_OWN_MB = 7.0  # of the wheel, unpacked
# Run in a process of its own: modules of distributions that the wheel alone does not bring cannot be imported there.
_BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
sys.argv = ["dropforge", *{arguments!r}]
from dropforge_cli.main import main
main()
"""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _with_dependencies(names: set[str]) -> set[str]:
    """These distributions and what they need, extras left out."""
    closed: set[str] = set()
    while names:
        name = _normal(names.pop())
        if name in closed:
            continue
        closed.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        names |= {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed if "extra ==" not in line}
    return closed


@pytest.fixture(scope="module")
def blocked() -> set[str]:
    """Top-level modules that only an extra brings."""
    base = _with_dependencies({"dropforge"})
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if not base & {_normal(o) for o in owners}
    }


def _dropforge(blocked: set[str], *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = _BLOCK.format(names=blocked, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=folder, timeout=120
    )


def test_two_files_are_compared_with_what_the_wheel_alone_brings(blocked: set[str], tmp_path: Path) -> None:
    assert {"boto3", "mlflow", "pandas", "xgboost", "ministack"} <= blocked
    for name in ("a.csv", "b.csv"):
        rows = (f"{n},{n % 7},{'yes' if n % 3 else 'no'}" for n in range(300))
        (tmp_path / name).write_text("size,day,bought\n" + "\n".join(rows) + "\n")
    result = _dropforge(blocked, "analyze", "a.csv", "b.csv", "--out", "report.html", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "verdict:" in result.stdout
    assert "</html>" in (tmp_path / "report.html").read_text()


_SETTINGS = """
project: pets
data:
  target: bought
  columns: {id: {type: integer, unique: true}, size: {type: integer}, day: {type: integer}}
models: [{name: xgboost, class: "dropforge_training.models.xgboost:XGBoost"}]
"""


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder with settings, a table, and one with repeated ids and texts in a column of numbers."""
    rows = ["id,size,day,bought", *(f"{n},{n * n},{n % 7},{'yes' if n % 3 else 'no'}" for n in range(300))]
    changed = [*(row if n % 2 else row.replace(",", ",x", 1) for n, row in enumerate(rows)), "7,1,2,yes"]
    (tmp_path / "settings.yaml").write_text(_SETTINGS)
    for name, lines in (("pets.csv", rows), ("changed.csv", [rows[0], *changed[1:]])):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("analyze", "pets.csv", "changed.csv", "--settings", "settings.yaml"), 2, "column 'size' is integer"),
        (("init", "pets.csv", "--dir", "new"), 0, "bought"),
        (("settings", "check"), 0, ""),
        (("rules", "test", "pets.csv"), 0, "id unique"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_without_a_cloud_run_with_what_the_wheel_alone_brings(
    blocked: set[str], pets: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    assert {"numpy", "arro3", "aws_lambda_powertools"} <= blocked
    result = _dropforge(blocked, *arguments, folder=pets)
    assert (result.returncode, "package_missing" in result.stderr) == (code, False), result.stderr
    assert text in result.stdout + result.stderr


def test_an_arrow_file_names_the_extra_that_reads_it(blocked: set[str], pets: Path) -> None:
    (pets / "pets.arrow").write_bytes(b"ARROW1\0\0" + b"\0" * 64 + b"ARROW1")
    result = _dropforge(blocked, "analyze", "pets.csv", "pets.arrow", folder=pets)
    assert result.returncode == 2
    assert "'dropforge[arrow]'" in result.stderr


def test_the_wheel_alone_installs_100_mb_at_most() -> None:
    """Without bytecode, as uv and uvx install: 68 MB of them are DuckDB."""
    sizes = {}
    for name in _with_dependencies({"dropforge"}) - {"dropforge"}:
        try:
            files = metadata.files(name) or ()
        except metadata.PackageNotFoundError:  # of another platform
            continue
        sizes[name] = sum(f.size or 0 for f in files if f.suffix != ".pyc") / 1e6
    assert sizes["duckdb"] > 20  # sizes are known
    assert sum(sizes.values()) + _OWN_MB <= 100, sorted(sizes.items(), key=lambda item: -item[1])[:8]


def test_the_wheel_itself_is_small(unpacked: Path) -> None:
    assert sum(p.stat().st_size for p in unpacked.rglob("*") if p.is_file()) / 1e6 <= _OWN_MB


def test_a_command_of_the_cloud_names_the_extra_to_install(blocked: set[str], tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("project: p\n")
    result = _dropforge(blocked, "up", folder=tmp_path)
    assert result.returncode == 2
    assert "'dropforge[local]'" in result.stderr


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, away from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_alone_can_be_deployed(unpacked: Path, tmp_path: Path) -> None:
    """Template, functions, layers and state machine are packaged out of the wheel as out of the checkout."""
    code = (
        "from pathlib import Path; from dropforge_local import layout, packaging; root = layout.checkout(Path.cwd());"
        "bodies = {}; put = lambda key, body: bodies.setdefault(key, body) and f's3://b/{key}';"
        "packaging.package(root, put); print(root); print(*sorted(bodies), sep='\\n')"
    )
    problems = []
    for path in (str(unpacked), ":".join(str(ROOT / part) for part in ("layers/core", "training", "localstack"))):
        command = [sys.executable, "-P", "-c", code]
        result = subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        problems.append(result.stdout.splitlines())
    (packaged, *wheel), (checkout, *keys) = problems
    assert Path(packaged).is_relative_to(unpacked)
    assert Path(checkout) == ROOT
    assert wheel == keys  # names hold the hash of their content
    assert len(keys) > 10


def test_versions_are_those_of_the_locks(unpacked: Path) -> None:
    """Each extra needs what its requirements.in names; the base needs no training library."""
    text = next(unpacked.glob("*.dist-info/METADATA")).read_text()
    needed = re.findall(r"^Requires-Dist: (\S+?)(?:; extra == '(\w+)')?$", text, re.MULTILINE)
    by_extra: dict[str, set[str]] = {}
    for line, extra in needed:
        by_extra.setdefault(extra, set()).add(line)
    assert set(by_extra) == {"", "arrow", "sources", "local", "train", "ui", "serve"}
    large = ("xgboost", "mlflow", "boto3", "gradio", "numpy", "arro3", "aws-lambda-powertools")
    assert not any(line.startswith(large) for line in by_extra[""])
    assert by_extra["arrow"] < by_extra["local"]  # the local cloud reads what a wheel alone does not
    versions = {line for line in by_extra[""] if re.search(r"[=<>]", line)}
    assert versions < by_extra["local"]  # one version of each, from the layers' requirements.in
    pinned = (ROOT / "localstack/requirements.txt").read_text()
    exact = [line for line in by_extra["local"] if "==" in line and "*" not in line and "[" not in line]
    assert exact
    assert [line for line in exact if line not in pinned] == []
