"""The template and the code as the local cloud deploys them."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from dropforge_local.packaging import folder_files, leave_out_metric_math, load_template, package, zip_files

TEMPLATE = """
Resources:
  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: !Sub "${Name}-data"}}
  Core: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layers/core}}
  Other: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layers/other}}
  Machine: {Type: AWS::Serverless::StateMachine, Properties: {DefinitionUri: machine.asl.yaml}}
  Function:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: functions/one, Layers: [!Ref Core], Role: !GetAtt Role.Arn.Part}
"""


def test_what_the_emulator_refuses_is_left_out() -> None:
    """Alarms on expressions, and nothing else: with one of them MiniStack rolls the whole stack back."""
    plain = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"MetricName": "Errors"}}
    template = {
        "Resources": {
            "A": plain,
            "B": {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": []}},
            "C": {"Type": "X"},
        }
    }
    leave_out_metric_math(template)
    assert set(template["Resources"]) == {"A", "C"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one function, a layer of code, a layer of packages and a machine."""
    files = {
        "template.yaml": TEMPLATE,
        "functions/one/app.py": "handler = print\n",
        "layers/core/pack/__init__.py": "",
        "layers/core/requirements.txt": "a==1\n",
        "layers/other/requirements.txt": "b==1\n",
        "layers/other/requirements.in": "b\n",
        "layers/other/Makefile": "build-Other:\n",
        "machine.asl.yaml": "StartAt: A # why\nStates: {A: {Type: Succeed}}\n",
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def _packed(project: Path, foreign: dict[str, str] | None = None) -> tuple[dict[str, object], dict[str, bytes]]:
    stored: dict[str, bytes] = {}

    def put(key: str, body: bytes) -> str:
        stored[key] = body
        return f"s3://packages/{key}"

    return package(project, put, foreign=foreign), stored


def _names(body: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_short_forms_become_functions(project: Path) -> None:
    """`!Ref`, `!Sub` and `!GetAtt` are the maps that JSON can hold; GetAtt splits at the first dot only."""
    resources = load_template(project / "template.yaml")["Resources"]
    assert resources["Bucket"]["Properties"]["BucketName"] == {"Fn::Sub": "${Name}-data"}
    assert resources["Function"]["Properties"]["Layers"] == [{"Ref": "Core"}]
    assert resources["Function"]["Properties"]["Role"] == {"Fn::GetAtt": ["Role", "Arn.Part"]}


def test_the_same_content_is_the_same_package(project: Path) -> None:
    """Touching a file without changing it changes no key and no byte."""
    first = _packed(project)
    os.utime(project / "functions/one/app.py", (1, 1))
    assert _packed(project) == first


def test_changed_code_has_another_key(project: Path) -> None:
    """A changed function moves to a new key, so an update deploys it, and nothing else moves."""
    _, before = _packed(project)
    (project / "functions/one/app.py").write_text("handler = repr\n")
    _, after = _packed(project)
    assert {key.partition("/")[0] for key in set(before) ^ set(after)} == {"Function"}


def test_a_layer_of_code_carries_the_package(project: Path) -> None:
    """The core layer holds its package where Lambda looks for it, without the files that only describe it."""
    _, stored = _packed(project)
    (core,) = (body for key, body in stored.items() if key.startswith("Core/"))
    assert _names(core) == ["python/pack/__init__.py"]


def test_a_layer_of_packages_is_never_empty(project: Path) -> None:
    """A layer whose packages the interpreter brings is a marker: an empty zip could not be deployed."""
    _, stored = _packed(project)
    (other,) = (body for key, body in stored.items() if key.startswith("Other/"))
    assert _names(other) == ["python/PROVIDED"]


def test_the_definition_is_deployed_as_json(project: Path) -> None:
    """The state machine is stored as JSON and the template points to it."""
    template, stored = _packed(project)
    (key,) = (key for key in stored if key.startswith("Machine/"))
    assert json.loads(stored[key]) == {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}
    assert template["Resources"]["Machine"]["Properties"]["DefinitionUri"] == f"s3://packages/{key}"  # type: ignore[index] # a template is any JSON


def test_the_packed_template_is_json(project: Path) -> None:
    """Nothing of YAML is left in what is deployed."""
    template, _ = _packed(project)
    assert json.loads(json.dumps(template)) == template


def test_caches_stay_at_home(project: Path) -> None:
    """Compiled files are not code: they change with every run and would redeploy everything."""
    before = zip_files(folder_files(project / "functions/one"))
    cache = project / "functions/one/__pycache__"
    cache.mkdir()
    (cache / "app.cpython-311.pyc").write_bytes(b"\0")
    assert zip_files(folder_files(project / "functions/one")) == before


def test_a_function_of_an_image_becomes_a_zip_of_its_code(project: Path) -> None:
    """No image is needed: the zip has the handler and the packages the image has, and runs as any other function."""
    with (project / "template.yaml").open("a") as template:
        template.write(
            "  Heavy: {Type: AWS::Lambda::Function, Condition: C, Properties: {PackageType: Image, Role: r, Code: {ImageUri: x},"
            " ImageConfig: {EntryPoint: [python, -m, awslambdaric], Command: [heavy.app.handler]}}}\n"
        )
    for name in ("functions/heavy/app.py", "layers/core/dropforge/a.py", "training/dropforge_training/b.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    packed, stored = _packed(project)
    created = packed["Resources"]["Heavy"]  # type: ignore[index]
    assert created["Condition"] == "C"
    code = created["Properties"].pop("Code")
    assert created["Properties"] == {"Role": "r", "Runtime": "python3.13", "Handler": "app.handler"}
    assert _names(stored[code["S3Key"]]) == ["app.py", "dropforge/a.py", "dropforge_training/b.py"]


def test_a_whole_function_has_the_code_of_its_layers(project: Path) -> None:
    """Its zip imports what its layers hold, where nothing mounts them; else its own files only."""
    names = {
        whole: next(
            _names(body)
            for key, body in _packed(project, {} if whole else None)[1].items()
            if key.startswith("Function/")
        )
        for whole in (False, True)
    }
    assert names == {False: ["app.py"], True: ["app.py", "pack/__init__.py"]}
