"""KServe's Open Inference Protocol, version 2: named tensors of one value a row in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dropforge.errors import InvalidRequest

if TYPE_CHECKING:
    from dropforge.deployment.active_model import Active
    from dropforge.inference.bundle_manifest import BundleManifest

PLATFORM: Final = "onnxruntime_onnx"
_DATATYPES: Final = {"category": "BYTES", "text": "BYTES", "datetime": "BYTES", "boolean": "BOOL"}
_KNOWN: Final = frozenset(
    ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES")
)


def records(request: Any, max_rows: int) -> list[Mapping[str, Any]]:
    """Rows of an inference request. Raises InvalidRequest for tensors that are not one value a row."""
    tensors = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(tensors, list) or not tensors:
        raise _wrong("inputs must be a list of tensors")
    columns: dict[str, Sequence[Any]] = {}
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise _wrong(f"inputs[{i}] must be a tensor with a name")
        name, data, shape = tensor["name"], tensor.get("data"), tensor.get("shape")
        if name in columns:
            raise _wrong(f"the tensor {name!r} is given twice")
        if tensor.get("datatype") not in _KNOWN:
            raise _wrong(f"{name}: datatype must be one of {', '.join(sorted(_KNOWN))}")
        flat = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data] if isinstance(data, list) else None
        if flat is None or any(isinstance(v, list | dict) for v in flat):
            raise _wrong(f"{name}: data must be a list of values")
        if shape not in ([len(flat)], [len(flat), 1]):
            raise _wrong(f"{name}: shape must be [{len(flat)}] or [{len(flat)}, 1], as there are {len(flat)} values")
        columns[name] = flat
    counts = {len(v) for v in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise _wrong("the tensors must have the same number of rows, at least one")
    if max(counts) > max_rows:
        raise InvalidRequest(
            f"{max(counts):,} rows; the limit of one request is {max_rows:,}",
            code="too_many_records",
            fix="send several requests",
            status=413,
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def response(request: Any, prediction: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Tensors `label` [rows] and `probabilities` [rows, classes], of a regression `prediction` [rows]; what the answer of
    /predict has besides in `parameters`."""
    document = {
        "model_name": prediction["model"]["name"],
        "model_version": prediction["model"]["version"],
        "outputs": _outputs(prediction["predictions"], classes),
        "parameters": {
            "classes": list(classes),
            "threshold": prediction["threshold"],
            "warnings": prediction["warnings"],
            "prediction_id": prediction["prediction_id"],
        },
    }
    given = request.get("id")
    return {"id": given, **document} if isinstance(given, str) else document


def _outputs(predictions: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    rows = len(predictions)
    if not classes:
        numbers = [p["prediction"] for p in predictions]
        return [{"name": "prediction", "datatype": "FP64", "shape": [rows], "data": numbers}]
    return [
        {"name": "label", "datatype": "BYTES", "shape": [rows], "data": [p["label"] for p in predictions]},
        {
            "name": "probabilities",
            "datatype": "FP64",
            "shape": [rows, len(classes)],
            "data": [p["probabilities"][c] for p in predictions for c in classes],
        },
    ]


def metadata(active: Active, manifest: BundleManifest) -> dict[str, Any]:
    """Of a model: one input tensor a feature."""
    return {
        "name": active.model,
        "versions": [active.version],
        "platform": PLATFORM,
        "inputs": [
            {"name": f.name, "datatype": _DATATYPES.get(f.kind, "FP64"), "shape": [-1]} for f in manifest.features
        ],
        "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
        if manifest.regression
        else [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(manifest.classes)]},
        ],
    }


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        code="malformed_request",
        fix='send {"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [39]}, …]}: one tensor a feature',
    )
