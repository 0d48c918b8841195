"""Every fenced block of the documentation is run by a test, or the table says why not."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dropforge.config import settings
from dropforge.inference import number_steps

from ..code_blocks import ROOT, blocks

GENERATED = "docs/reference/"  # held to the code by test_reference

HERE = "tests/docs/test_code_blocks.py"
ON_A_CLOUD = "tests/integration/test_code_blocks.py::test_a_block_runs_on_a_cloud"
DOCKER = "needs Docker; the images and what they run are tests/containers"
YAML = f"{HERE}::test_settings_shown_are_accepted"
OWN_MODELS = f"{HERE}::test_own_models_and_metrics_are_python"
DIFFS = "tests/docs/test_extend.py::test_what_each_diff_adds_is_used"
# By page, in order: the test that runs the block, the target that does, or why nothing can here.
BLOCKS: dict[str, list[str]] = {
    "README.md": [
        "run: the first is the last step of .ci/run; the second is the suite",
        "run: make bench-first-prediction, and make tutorial in another form",
        f"run: {ON_A_CLOUD}",
        f"not run: {DOCKER}",
    ],
    "docs/aws.md": [
        "not run: needs an AWS account; verify-aws deploys to an emulator",
        "not run: needs an AWS account",
    ],
    "docs/deploy-walk.md": ["recorded: make walk-deploy"] * 2,
    "docs/emulators.md": ["run: make test-localstack and make test-mlflow, which are two of its lines"],
    "docs/how-to-new-model.md": [OWN_MODELS, YAML, OWN_MODELS, OWN_MODELS, OWN_MODELS, YAML, YAML],
    "docs/how-to/check-data-in-ci.md": [f"{HERE}::test_two_files_are_compared_as_shown"],
    "docs/how-to/client.md": [ON_A_CLOUD, f"{HERE}::test_two_files_are_compared_as_shown"],
    "docs/how-to/containers.md": [f"not run: {DOCKER}"] * 5,
    "docs/how-to/extend.md": [f"{HERE}::test_the_entry_point_is_of_a_group_that_is_read", *[DIFFS] * 8],
    "docs/how-to/regression.md": [YAML, ON_A_CLOUD],
    "docs/how-to/sam-local.md": [f"not run: {DOCKER}"] * 2,
    "docs/how-to/splits.md": [YAML] * 2,
    "docs/tutorial.md": ["run: make tutorial"] * 15,
}


def _pages() -> list[str]:
    return [p.relative_to(ROOT).as_posix() for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]


def test_every_block_is_listed() -> None:
    """A block that is added to a page gets its test here, or its reason."""
    counted = {page: len(blocks(page)) for page in _pages() if not page.startswith(GENERATED)}
    assert {page: n for page, n in counted.items() if n} == {page: len(how) for page, how in BLOCKS.items()}


@pytest.mark.parametrize(
    "test", sorted({how.removeprefix("run: ") for page in BLOCKS.values() for how in page if "::" in how})
)
def test_the_test_of_a_block_exists(test: str) -> None:
    """Its file has a function of that name."""
    file, _, function = test.partition("::")
    assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page, how in BLOCKS.items() if YAML in how])
def test_settings_shown_are_accepted(page: str) -> None:
    """Each block of YAML, put into a settings file that has only what it must have, is valid."""
    for text in blocks(page, "yaml"):
        value: dict[str, Any] = {
            "project": "shown",
            "models": [{"name": "m", "class": "xgboost:XGBoost"}],
            "data": {"target": "y"},
        }
        for key, part in yaml.safe_load(text).items():
            value[key] = {**value[key], **part} if isinstance(part, dict) and isinstance(value.get(key), dict) else part
        assert settings.load(json.dumps(value))


def test_own_models_and_metrics_are_python() -> None:
    """The blocks, one after the other: classes with the methods that training calls, and a metric that counts as its words say."""
    space: dict[str, Any] = {"__name__": "models"}
    for text in blocks("docs/how-to-new-model.md", "python"):
        exec(text, space)  # noqa: S102 - our own page
    extra = space["ExtraTrees"]().estimator({"n_estimators": 3}, seed=1, jobs=1, classes=2)
    assert extra.fit([[0.0], [1.0]], [0, 1]).predict([[1.0]]).tolist() == [1]
    assert space["BinnedTrees"]().number_step().fit_transform(np.arange(16.0)[:, None]).max() == 7
    assert callable(space["EarlyTrees"]().train)
    hits, ones = np.array([True, True, False, False]), np.ones(4)
    assert space["net_gain"](hits, np.array([0.9, 0.1, 0.4, 0.0]), ones) == 5.0 - 1.0


def test_two_files_are_compared_as_shown(
    tmp_path: Path, adult_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of client.md and the command of check-data-in-ci.md, on the same files: the exit code is that of the verdict."""
    shifted = [line.replace("United-States", "Canada") for line in adult_lines[601:1201]]
    for name, lines in (("reference", adult_lines[1:601]), ("new", shifted)):
        (tmp_path / f"{name}.csv").write_text("\n".join([adult_lines[0], *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(blocks("docs/how-to/client.md", "python")[1], space)  # noqa: S102 - our own page
    assert space["comparison"].verdict == "warn"
    assert "native-country" in [c if isinstance(c, str) else c.name for c in space["comparison"].drifted]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    (command,) = blocks("docs/how-to/check-data-in-ci.md")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-ec", command], env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, check=False
    )
    assert done.returncode == 1, done.stderr[-2000:]


def test_the_entry_point_is_of_a_group_that_is_read() -> None:
    """A group of another name would be passed over without a word."""
    (text,) = blocks("docs/how-to/extend.md", "toml")
    (group,) = tomllib.loads(text)["project"]["entry-points"]
    assert group == number_steps.REGISTRY.group
