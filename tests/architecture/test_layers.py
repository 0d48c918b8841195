"""The layers as they are built, not as the development environment makes them look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from dropforge_local.packaging import load_template

# Two installations of every lock: part of `make verify-aws`, which CI runs for every change, and of `make test-drills`.
pytestmark = pytest.mark.campaign
ROOT = Path(__file__).parents[2]
RESOURCES: dict[str, Any] = load_template(ROOT / "template.yaml")["Resources"]
FUNCTIONS = {n: r["Properties"] for n, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}
LAYERS = {n: ROOT / r["Properties"]["ContentUri"] for n, r in RESOURCES.items() if r["Type"].endswith("::LayerVersion")}
UV = Path(sys.executable).parent / "uv"
LIMIT_MB = 220  # Lambda's is 250 MB; the rest is room for new versions of packages
# Layers that `sam build` makes by their Makefile: what it takes away is taken away here too.
TRIMMED = {n for n, r in RESOURCES.items() if r.get("Metadata", {}).get("BuildMethod") == "makefile"}
# As `sam build` resolves: the runtime's version, wheels only, every file checked against the lock.
LAMBDA = ("--python-version", "3.13", "--python-platform", "x86_64-manylinux_2_28")
# Isolated from this environment: the standard library, the function and what its layers and the runtime carry.
IMPORT = "import sys; sys.path[:0] = sys.argv[1:]; import app; assert callable(app.handler)"

# What the code imports from each layer, some of it only when first used: importing a handler does not reach it.
ON_FIRST_USE = {
    "CoreLayer": (
        "aws_lambda_powertools.logging",
        "pydantic",
        "yaml",
        "dropforge.app_context",
        "dropforge.adapters.s3_store",
    ),
    "AnalysisLayer": ("duckdb", "jinja2"),
    "RegistryLayer": ("mlflow", "mlflow.tracking", "dropforge.adapters.mlflow_registry"),
    "ServingLayer": ("numpy", "onnxruntime"),
}


# Adds, multiplies matrices and picks a class: ONNX's own operators and those of ai.onnx.ml that tree models are made of.
SESSION = """
import sys; sys.path[:0] = sys.argv[1:]
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
labels, scores = session.run(None, {{"x": np.array([[1, 2], [5, 0]], np.float32)}})
assert labels.tolist() == [0, 1], labels
assert np.allclose(scores.sum(axis=1), 1), scores
assert np.linalg.solve(np.eye(2) * 2, np.ones(2)).tolist() == [0.5, 0.5]
"""


def _build(root: Path, *arguments: str) -> dict[str, Path]:
    """Every layer's packages as `sam build` leaves them, but installed by uv, which is faster."""
    built = {
        name: _install(root / name, *arguments, "--require-hashes", "-r", str(folder / "requirements.txt"))
        for name, folder in LAYERS.items()
    }
    for name in TRIMMED:
        makefile = LAYERS[name] / "Makefile"
        command = ["make", "--silent", "--file", makefile, f"trim-{name}", f"PACKAGES={built[name]}"]
        subprocess.run(command, check=True)
    return built


def _install(target: Path, *arguments: str) -> Path:
    command = [UV, "pip", "install", "--quiet", "--only-binary", ":all:", "--target", target, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def _run(code: str, paths: list[Path], layers: list[str], built: dict[str, Path]) -> str:
    """Run it with nothing but these on the path; the end of its complaint, empty when there was none."""
    path = [*paths, LAYERS["CoreLayer"], *(built[layer] for layer in layers), built["runtime"]]
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"GIT_PYTHON_REFRESH": "quiet"})
    return "" if done.returncode == 0 else done.stderr[-2000:]


def _layers(name: str) -> list[str]:
    return [layer["Ref"] for layer in FUNCTIONS[name]["Layers"]]


def _megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


@pytest.fixture(scope="module")
def for_lambda(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every layer's lock, installed for the Lambda runtime."""
    return _build(tmp_path_factory.mktemp("lambda"), *LAMBDA)


@pytest.fixture(scope="module")
def for_here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same for this interpreter, and boto3, which the Lambda runtime brings itself."""
    root = tmp_path_factory.mktemp("here")
    return _build(root, "--python", sys.executable) | {
        "runtime": _install(root / "runtime", "--python", sys.executable, "boto3==1.43.106")
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_and_layers_fit_into_lambda(name: str, for_lambda: dict[str, Path]) -> None:
    """A function with its unpacked layers stays well below Lambda's limit of 250 MB, and has five layers at most."""
    code = _megabytes(ROOT / FUNCTIONS[name]["CodeUri"]) + _megabytes(LAYERS["CoreLayer"])
    total = code + sum(_megabytes(for_lambda[layer]) for layer in _layers(name))
    assert len(_layers(name)) <= 5
    assert total <= LIMIT_MB, f"{total:.0f} MB"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_handler_finds_its_packages_in_its_layers(name: str, for_here: dict[str, Path]) -> None:
    """The handler can be imported with nothing on the path but its own code, its layers and the runtime's boto3."""
    assert _run(IMPORT, [ROOT / FUNCTIONS[name]["CodeUri"]], _layers(name), for_here) == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_imported_on_first_use_is_there(name: str, for_here: dict[str, Path]) -> None:
    """Every package that the code takes from a layer on first use can be imported from the function's own layers."""
    modules = [module for layer in _layers(name) for module in ON_FIRST_USE[layer]]
    assert (
        _run(f"import sys; sys.path[:0] = sys.argv[1:]; import {', '.join(modules)}", [], _layers(name), for_here) == ""
    )


@pytest.mark.parametrize("name", ["BatchFunction", "PredictFunction"])
def test_a_model_is_scored_on_the_trimmed_layer(name: str, for_here: dict[str, Path]) -> None:
    """What the layer's Makefile takes away is not missed: a classifier runs on the function's own layers and nothing else."""
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=[0, 1],
        coefficients=[0.0, 1.0, 1.0, 0.0], intercepts=[0.0, 0.0], multi_class=1, post_transform="SOFTMAX",
    )  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [label, scores]), opset_imports=opsets, ir_version=9
    ).SerializeToString()
    assert _run(SESSION.format(model=model), [], _layers(name), for_here) == ""


def test_the_prediction_function_carries_nothing_that_unpickles(for_lambda: dict[str, Path]) -> None:
    """No package in the prediction function's layers loads pickled models or talks to MLflow."""
    carried = {p.name.lower() for layer in _layers("PredictFunction") for p in for_lambda[layer].iterdir()}
    assert {"onnxruntime", "numpy"} <= carried
    assert not carried & {"mlflow", "sklearn", "joblib", "cloudpickle", "xgboost", "skops", "pandas", "torch"}
