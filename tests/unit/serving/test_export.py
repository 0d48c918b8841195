"""`dropforge export`: a folder that predicts what /predict predicts, in Python, JavaScript and C."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dropforge.errors import BundleRejected, InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest, Calibration, Derived, Feature, GraphInput, Regression
from dropforge.inference.predictor import open_graph
from dropforge_training.export import onnx_graph, standalone_folder, standalone_graph

from .conftest import Bundle

TOLERANCE = 1e-6
MODULES = Path(__file__).parents[3] / ".ci" / "tools" / "javascript" / "node_modules"
ODD = [
    {"age": None, "job": None, "member": None, "joined": None},
    {"age": 200.5, "job": "pilot", "member": True, "joined": "1968-02-29T23:59:59"},
    {"age": -3, "job": "  nurse ", "member": False, "joined": "2024-12-31"},
    {"age": 33, "job": "?", "member": True, "joined": "2020-02-29T12:00:00+02:00"},
]


def _records(bundle: Bundle) -> list[dict[str, Any]]:
    return [*onnx_graph.records(bundle.rows.head(60)), *ODD]


def _differences(served: Sequence[dict[str, Any]], exported: Sequence[dict[str, Any]]) -> float:
    """The largest difference of probabilities; labels are the same."""
    assert [p["label"] for p in served] == [p["label"] for p in exported]
    pairs = zip(served, exported, strict=True)
    return max(abs(s["probabilities"][c] - e["probabilities"][c]) for s, e in pairs for c in s["probabilities"])


@pytest.fixture
def served(bundle: Bundle, ask: Callable[..., Any], stored: Any) -> list[dict[str, Any]]:
    """What POST /predict predicts for the records."""
    stored[1]()
    status, body = ask("POST", "/predict", {"records": _records(bundle)})
    assert status == 200
    return list(body["predictions"])


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """The exported folder, with the records beside it."""
    standalone_folder.write(tmp_path / "export", bundle.manifest, bundle.onnx, version="demo-forest/1")
    (tmp_path / "export" / "records.json").write_text(json.dumps(_records(bundle)))
    return tmp_path / "export"


def _output(*command: Any, cwd: Path, given: str = "") -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, input=given, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_example_predicts_what_the_api_predicts(folder: Path, served: list[dict[str, Any]]) -> None:
    """The same labels and probabilities, for missing, unseen and out-of-range values too, without a module of Dropforge."""
    check = "import runpy, sys; sys.argv[1:] = ['records.json']; runpy.run_path('predict.py', run_name='__main__')\n"
    check += "assert not [m for m in sys.modules if m.startswith('dropforge')]"
    exported = json.loads(_output(sys.executable, "-c", check, cwd=folder))
    assert _differences(served, exported) <= TOLERANCE


def test_the_javascript_example_predicts_what_the_api_predicts(folder: Path, served: list[dict[str, Any]]) -> None:
    """The same labels and probabilities in Node."""
    node = shutil.which("node")
    if not node or not (MODULES / "onnxruntime-node").exists():
        pytest.skip("needs node and its packages: make .ci/tools/javascript/node_modules/.ready")
    (folder / "node_modules").symlink_to(MODULES)
    exported = json.loads(_output(node, "predict.mjs", "records.json", cwd=folder))
    assert _differences(served, exported) <= TOLERANCE


def test_the_c_example_predicts_what_the_api_predicts(
    bundle: Bundle, folder: Path, served: list[dict[str, Any]]
) -> None:
    """The same labels and probabilities from C, with the library that ONNX Runtime's Python package brings."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    if not compiler or not library:
        pytest.skip("needs a C compiler, and an ONNX Runtime that brings its library (Linux)")
    _output(compiler, "-O1", "-Wall", "-Werror", "-o", "predict", "predict.c", "-ldl", "-lm", cwd=folder)
    rows = "".join(standalone_folder.tab_separated(bundle.manifest, r) for r in _records(bundle))
    lines = [
        line.split("\t") for line in _output("./predict", library, "model.onnx", cwd=folder, given=rows).splitlines()
    ]
    exported = [
        {"label": label, "probabilities": dict(zip(bundle.manifest.classes, map(float, p), strict=True))}
        for label, *p in lines
    ]
    assert _differences(served, exported) <= TOLERANCE


def test_the_example_of_the_folder_can_be_predicted(folder: Path) -> None:
    """The command of its README works as it stands."""
    assert len(json.loads(_output(sys.executable, "predict.py", "example.json", cwd=folder))) == 1
    assert "predict.py example.json" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("sigmoid", 0.8, (0.0, 0.3), 1e-4),
        Calibration("temperature", 1.7, (0.0, 0.0)),
        Calibration("isotonic", knots=(((0.1, 0.3, 0.3, 0.7), (0.0, 0.2, 0.5, 0.9)),)),
    ],
)
def test_the_graph_calibrates_as_the_api(bundle: Bundle, calibration: Calibration) -> None:
    """Sigmoid, temperature and isotonic with a jump: probabilities and labels of the predictor."""
    manifest = dataclasses.replace(bundle.manifest, calibration=calibration)
    expected = open_graph(manifest, bundle.onnx).predict(_records(bundle))
    labels, probabilities = _run(manifest, bundle.onnx, _records(bundle))
    assert list(labels) == expected.labels
    assert np.abs(probabilities - expected.probabilities).max() <= TOLERANCE


def test_an_isotonic_line_is_the_one_of_numpy() -> None:
    """Also at its knots, between two equal ones, and beyond its ends."""
    x, y = (0.1, 0.3, 0.3, 0.5, 0.5, 0.9), (0.0, 0.1, 0.4, 0.4, 0.6, 1.0)
    points = np.sort(np.concatenate([np.linspace(0, 1, 101), x]))[:, None]
    builder = standalone_graph._Builder(["p"])
    name = standalone_graph._interpolated(builder, "p", x, y)
    value = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["n", 1]) for n in ("p", name)]
    graph = helper.make_graph(builder.nodes, "line", value[:1], value[1:], builder.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (result,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"p": points})
    assert np.abs(result - np.interp(points, x, y)).max() < 1e-12


_PARTS = ("hour", "weekday", "month", "day_of_year")


def _regression() -> tuple[BundleManifest, bytes]:
    """A graph that adds up its columns: every date part, elapsed days, a target mean, and a number through clip and log."""
    names = (*_PARTS, "elapsed", "zone_mean", "fare")
    features = (
        Feature("start", "datetime"), Feature("end", "datetime"),
        Feature("zone", "category", ("a", "b"), merge={"B": "b"}, missing_markers=("?",)),
        Feature("fare", "number", missing_markers=("-999",), steps=({"step": "clip", "low": -5.0, "high": 1e6}, {"step": "log"})),
    )  # fmt: skip
    derived = (
        *(Derived(p, p, ("start",)) for p in _PARTS),
        Derived("elapsed", "elapsed", ("start", "end")),
        Derived("zone_mean", "target_mean", ("zone",), {"a": 1.25, "b": -2.5, "c": 7.0}, 0.5),
    )
    weights = numpy_helper.from_array(np.array([[0.1, 0.2, 0.3, 0.01, 5e-5, 0.3, 0.3]], dtype=np.float32).T, "w")
    value = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", k]) for n, k in (("numbers", len(names)), ("sum", 1))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["numbers", "w"], ["sum"])], "g", value[:1], value[1:], [weights]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    manifest = BundleManifest(
        "p", "m", "r", "d", "t", "y", features, (GraphInput("numbers", "float32", names),), "sum", (), "", 0.0,
        hashlib.sha256(model).hexdigest(), derived=derived, regression=Regression("log1p", center=0.25, maximum=1e9),
    )  # fmt: skip
    return manifest, model


def test_computed_columns_and_steps_are_those_of_the_api() -> None:
    """Parts of dates before and after 1970 and in leap years, elapsed time, target means, clip and log, and the inverse transform."""
    manifest, model = _regression()
    years = (1896, 1900, 1969, 1970, 2000, 2023, 2024)
    dates = [f"{y}-{m:02d}-{d:02d}T0{d % 10}:30:00" for y in years for m in range(1, 13) for d in (1, 28)]
    dates += ["2024-02-29T23:59:59", "2000-02-29", "2023-12-31", "2024-12-31", "1600-03-01"]
    zones, fares = ["a", "b", "B", "c", "?", None, "x"], [0, -20.5, 1e-9, 7, 3e7, -1e-12, -999]
    records = [
        {"start": d, "end": dates[(i * 7) % len(dates)], "zone": zones[i % 7], "fare": fares[i % 7]}
        for i, d in enumerate(dates)
    ]
    expected = open_graph(manifest, model).predict(records)
    (numbers,) = _run(manifest, model, records)
    assert np.allclose(numbers, expected.labels, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    assert np.isnan(numbers).sum() == sum(r["fare"] == -999 for r in records)
    assert len(set(np.round(numbers, 6))) > len(records) / 2


def _run(manifest: BundleManifest, model: bytes, records: list[dict[str, Any]]) -> list[Any]:
    """Outputs of the exported graph, fed as predict.py does."""
    source = (Path(standalone_folder.__file__).parent / "examples" / "predict.py").read_text()
    parts: dict[str, Any] = {"__name__": "example"}
    code = source.partition("HERE =")[0] + source[source.index("def number") : source.index("def predict")]
    exec(compile(code, "predict.py", "exec"), parts)  # noqa: S102 - the project's own example
    session = onnxruntime.InferenceSession(standalone_graph.build(manifest, model))
    feeds = {
        i.name: np.array(
            [[(parts["text"] if i.type == "tensor(string)" else parts["number"])(r[i.name])] for r in records],
            dtype=object if i.type == "tensor(string)" else np.float64,
        )
        for i in session.get_inputs()
    }
    return list(session.run(None, feeds))


def test_what_onnx_cannot_do_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """A phrase of a text, and a model that Python runs: an error with a way out, and no folder."""
    tensor = dataclasses.replace(bundle.manifest.inputs[0], features=(*bundle.manifest.inputs[0].features, "cook"))
    phrase = dataclasses.replace(
        bundle.manifest,
        inputs=(tensor, *bundle.manifest.inputs[1:]),
        derived=(Derived("cook", "phrase", ("job",), phrase="cook"),),
    )
    with pytest.raises(BundleRejected, match="phrase"):
        standalone_folder.write(tmp_path / "a", phrase, bundle.onnx, version="m/1")
    assert not (tmp_path / "a").exists()


def test_a_folder_with_files_is_never_written_into(bundle: Bundle, tmp_path: Path) -> None:
    """The files of an earlier export stay as they are."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="not empty"):
        standalone_folder.write(tmp_path, bundle.manifest, bundle.onnx, version="m/1")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_names_of_features_may_be_those_of_the_graph(bundle: Bundle) -> None:
    """Columns named as outputs and inner tensors are no conflict."""
    names = {"age": "predicted_label", "job": "dropforge/1", "member": "probabilities"}
    manifest = dataclasses.replace(
        bundle.manifest,
        features=tuple(dataclasses.replace(f, name=names.get(f.name, f.name)) for f in bundle.manifest.features),
        inputs=tuple(
            dataclasses.replace(i, features=tuple(names.get(n, n) for n in i.features)) for i in bundle.manifest.inputs
        ),
    )
    graph = onnx.load_model_from_string(standalone_graph.build(manifest, bundle.onnx))
    inputs, outputs = ({v.name for v in values} for values in (graph.graph.input, graph.graph.output))
    assert inputs == {*names.values(), "joined"}
    assert not inputs & outputs
    onnxruntime.InferenceSession(graph.SerializeToString())
