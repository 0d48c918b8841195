"""What `sam build` made, on its way to the local cloud."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from dropforge.errors import PermanentError
from dropforge_local import sam
from dropforge_local.layout import FARGATE, Config
from dropforge_local.packaging import leave_out_metric_math, load_template, number_concurrency, package

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A checkout in which `sam build` left the project's template, whose definition it names by a relative path."""
    folder = sam.build_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text((ROOT / "template.yaml").read_text())
    (folder / "statemachine").symlink_to(ROOT / "statemachine")
    for code in ("functions", "layers", "training"):
        (tmp_path / code).symlink_to(ROOT / code)
    return Config(tmp_path, tmp_path / "home")


def test_the_twin_has_another_definition_and_no_image_and_is_else_the_same(config: Config) -> None:
    """The emulator gets the same state machine in JSON, a zip where an image was, no alarms on expressions, and the rest as built."""
    twin = sam.local_template(config)
    built, adapted = load_template(twin.parent / "template.yaml"), json.loads(twin.read_text())
    uri = adapted["Resources"]["TrainingStateMachine"]["Properties"].pop("DefinitionUri")
    written = built["Resources"]["TrainingStateMachine"]["Properties"].pop("DefinitionUri")
    filled = [
        re.sub(r"\$\{(MaxConcurrency|ShardsAtOnce)\}", "3", path.read_text())
        for path in (twin.parent / uri, ROOT / written)
    ]
    assert json.loads(filled[0]) == yaml.safe_load(filled[1])
    leave_out_metric_math(built)
    number_concurrency(built, {})
    for template in (adapted, built):
        for key in ("Code", "PackageType", "ImageConfig", "Runtime", "Handler"):
            template["Resources"]["PredictPythonFunction"]["Properties"].pop(key, None)
    assert adapted == built


def test_a_function_of_an_image_is_deployed_as_dropforge_up_deploys_it(config: Config) -> None:
    """`sam deploy` brings the very zip and handler of `dropforge up`, so a model with `serve: python` answers without Docker."""
    stored: dict[str, bytes] = {}

    def put(key: str, body: bytes) -> str:
        stored[key] = body
        return f"s3://packages/{key}"

    upped = package(ROOT, put)["Resources"]["PredictPythonFunction"]["Properties"]
    twin = sam.local_template(config)
    document = json.loads(twin.read_text())["Resources"]["PredictPythonFunction"]["Properties"]
    assert (twin.parent / document.pop("Code")).read_bytes() == stored[upped.pop("Code")["S3Key"]]
    assert document == upped


def test_a_task_of_the_twin_can_be_started_by_the_emulator(config: Config) -> None:
    """With TrainingCompute=fargate the training task is rewritten as `dropforge up` rewrites it."""
    adapted = json.loads(sam.local_template(Config(config.root, config.home, compute=FARGATE)).read_text())
    assert adapted["Resources"]["TrainingTask"]["Properties"]["NetworkMode"] == "host"


def test_without_a_build_the_fix_is_told(tmp_path: Path) -> None:
    """Nothing is deployed that was not built."""
    with pytest.raises(PermanentError) as error:
        sam.local_template(Config(tmp_path, tmp_path))
    assert (error.value.code, "make deploy" in error.value.fix) == ("not_built", True)


def test_without_a_cloud_the_fix_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make deploy ENV=local` beside no local cloud says how to start one."""
    (tmp_path / "ports.json").write_text('{"port": 9, "mlflow_port": 9}')
    monkeypatch.setenv("DROPFORGE_HOME", str(tmp_path))
    assert sam.main() == 1
    assert "make up" in capsys.readouterr().err
