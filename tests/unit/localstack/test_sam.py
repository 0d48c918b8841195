"""What `sam build` made, on its way to the local cloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dropforge.errors import PermanentError
from dropforge_local import sam
from dropforge_local.layout import FARGATE, Config
from dropforge_local.packaging import load_template

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A checkout in which `sam build` left the project's template, whose definition it names by a relative path."""
    folder = sam.build_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text((ROOT / "template.yaml").read_text())
    (folder / "statemachine").symlink_to(ROOT / "statemachine")
    return Config(tmp_path, tmp_path / "home")


def test_the_twin_differs_in_the_form_of_the_definition_only(config: Config) -> None:
    """The emulator gets the same state machine in JSON, and everything else as it was built."""
    twin = sam.local_template(config)
    built, adapted = load_template(twin.parent / "template.yaml"), json.loads(twin.read_text())
    uri = adapted["Resources"]["TrainingStateMachine"]["Properties"].pop("DefinitionUri")
    written = built["Resources"]["TrainingStateMachine"]["Properties"].pop("DefinitionUri")
    assert json.loads((twin.parent / uri).read_text()) == yaml.safe_load((ROOT / written).read_text())
    assert adapted == built


def test_a_task_of_the_twin_can_be_started_by_the_emulator(config: Config) -> None:
    """With TrainingCompute=fargate the training task is rewritten as `dropforge up` rewrites it."""
    adapted = json.loads(sam.local_template(Config(config.root, config.home, compute=FARGATE)).read_text())
    assert adapted["Resources"]["TrainingTask"]["Properties"]["NetworkMode"] == "host"


def test_without_a_build_the_fix_is_told(tmp_path: Path) -> None:
    """Nothing is deployed that was not built."""
    with pytest.raises(PermanentError) as told:
        sam.local_template(Config(tmp_path, tmp_path))
    assert (told.value.code, "make deploy" in told.value.fix) == ("not_built", True)


def test_without_a_cloud_the_fix_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make deploy ENV=local` beside no local cloud says how to start one."""
    (tmp_path / "ports.json").write_text('{"port": 9, "mlflow_port": 9}')
    monkeypatch.setenv("DROPFORGE_HOME", str(tmp_path))
    assert sam.main() == 1
    assert "make up" in capsys.readouterr().err
