"""Tiny serving bundles with a known answer, made by hand: version n says `yes` with the probability n / 1000."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge.ports import ObjectStore

BODY = b'{"records": [{"x": 1.0}]}'


def graph(version: int) -> bytes:
    """x [rows, 1] → p [rows, 2], constant: x · 0 + (1 - n/1000, n/1000)."""
    share = version / 1000
    nodes = [
        helper.make_node("MatMul", ["x", "zero"], ["z"]),
        helper.make_node("Add", ["z", "answer"], ["p"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((1, 2), dtype=np.float32), "zero"),
        numpy_helper.from_array(np.array([1 - share, share], dtype=np.float32), "answer"),
    ]
    created = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        constants,
    )
    return bytes(serialised(created))


def serialised(onnx_graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def manifest(onnx_bytes: bytes, version: int = 1) -> BundleManifest:
    return BundleManifest(
        project="demo",
        model="forest",
        run_id=f"run-{version}",
        dataset_id="d",
        created_at="2026-01-01T00:00:00+00:00",
        target="label",
        features=(Feature("x", "number"),),
        inputs=(GraphInput("x", "float32", ("x",)),),
        probabilities_output="p",
        classes=("no", "yes"),
        positive_class="yes",
        threshold=0.5,
        onnx_sha256=hashlib.sha256(onnx_bytes).hexdigest(),
    )


def keep(store: ObjectStore, place: str, version: int, bucket: str = "data") -> Active:
    """Put the bundle of a version below `place`, record it in the data bucket, and give the pointer to it."""
    body = graph(version)
    text = manifest(body, version).to_json()
    uri = f"{place}/{version}/bundle"
    store.put(f"{uri}/model.onnx", body)
    store.put(f"{uri}/manifest.json", text)
    name, sha = f"run-{version}", hashlib.sha256(text).hexdigest()
    active = Active("demo-forest", str(version), "Production", name, uri, sha, number=version)
    ModelRecords(store, bucket).write(ModelRecord.of(active, serve="onnx", by="test"))
    return active
