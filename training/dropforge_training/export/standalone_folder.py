"""The folder of `dropforge export`: a model that predicts without Dropforge, with an example in Python, JavaScript and C."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dropforge import value_formats
from dropforge.errors import InvalidRequest
from dropforge.inference.bundle_manifest import MANIFEST_FILE, MODEL_FILE, BundleManifest
from dropforge_training.export import standalone_graph

EXAMPLES: Final = ("predict.py", "predict.mjs", "predict.c")
REQUIREMENTS: Final = "numpy>=1.26\nonnxruntime>=1.18\n"
PACKAGE: Final = {"private": True, "type": "module", "dependencies": {"onnxruntime-node": "^1.20.0"}}
_README: Final = """# {model}

Predicts `{target}` with [ONNX Runtime](https://onnxruntime.ai) and nothing else. `model.onnx` holds the whole way from the values of a
row to the {output}: preprocessing, model, calibration and threshold. `manifest.json` names features, classes and held-out metrics.

    pip install -r requirements.txt && python predict.py example.json
    npm install && node predict.mjs example.json
    cc -O2 -o predict predict.c -ldl -lm && ./predict libonnxruntime.so model.onnx < example.tsv

Each record has every feature; null is missing. Numbers are numbers, not texts; dates are ISO texts (UTC without a time zone), which
reach the graph as days since 1970-01-01; booleans are true or false. Not in the folder: explanations, prediction sets and intervals,
rules on rows, and the warnings of /predict (a value outside the training range is predicted in silence).

Exported from version {version}, MLflow run {run_id}.
"""


def write(folder: Path, manifest: BundleManifest, model: bytes, *, version: str) -> list[str]:
    """Write a new folder; the names of its files. `model`: model.onnx of the verified bundle.

    Raises InvalidRequest when the folder is there and not empty, BundleRejected when ONNX has no operator for a part of the model.
    """
    graph = standalone_graph.build(manifest, model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(
            f"{folder} is there and not empty", code="folder_not_empty", fix="name a new folder: --out FOLDER"
        )
    folder.mkdir(parents=True, exist_ok=True)
    record = {f.name: manifest.example.get(f.name) for f in manifest.features}
    readme = _README.format(
        model=manifest.model,
        target=manifest.target,
        version=version,
        run_id=manifest.run_id,
        output="number" if manifest.regression else "label and the probabilities",
    )
    files: dict[str, bytes] = {
        MODEL_FILE: graph,
        MANIFEST_FILE: manifest.to_json(),
        "example.json": json.dumps([record], indent=1, ensure_ascii=False).encode(),
        "example.tsv": tab_separated(manifest, record).encode(),
        "requirements.txt": REQUIREMENTS.encode(),
        "package.json": json.dumps(PACKAGE, indent=1).encode(),
        "README.md": readme.encode(),
    }
    sources = resources.files(__package__) / "examples"
    files |= {name: (sources / name).read_bytes() for name in EXAMPLES}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return sorted(files)


def tab_separated(manifest: BundleManifest, record: dict[str, Any]) -> str:
    """The record as a line for predict.c."""
    return (
        "\t".join(_cell(record[f.name]) if f.kind != "datetime" else _days(record[f.name]) for f in manifest.features)
        + "\n"
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return " ".join(str(value).split())  # a tab or a line break would end the cell


def _days(value: str | None) -> str:
    moment = value_formats.moment(value) if value else None
    return "" if moment is None else repr(value_formats.days(moment))
