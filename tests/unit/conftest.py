"""A registry, a store and versions to switch between."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Any

import pytest

from dropforge.config import settings
from dropforge.deployment import activate, canary, rollback
from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.deployment.change import Change
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput, PythonModel
from dropforge.ports import MacKey
from dropforge_local.memory import MemoryRegistry, MemoryStore

SETTINGS = settings.load(
    "project: demo\ndata: {target: y}\nmodels: [{name: forest, class: a.b:C}, {name: boost, class: a.b:D}]\n"
)
ONNX = b"graph"
MANIFEST = BundleManifest(
    project="demo",
    model="forest",
    run_id="r",
    dataset_id="d",
    created_at="now",
    target="y",
    features=(Feature("a", "number"),),
    inputs=(GraphInput("numbers", "float32", ("a",)),),
    probabilities_output="p",
    classes=("no", "yes"),
    positive_class="yes",
    threshold=0.5,
    onnx_sha256=hashlib.sha256(ONNX).hexdigest(),
)


class Switching:
    """Versions of two models, and the steps that switch between them."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.store = MemoryStore()
        self.registry = MemoryRegistry()
        self.key: MacKey | None = None

    def version(
        self,
        model: str,
        alias: str = "",
        *,
        onnx: bytes = ONNX,
        tags: dict[str, str] | None = None,
        recorded: bool = True,
        evidence: dict[str, str] | None = None,
    ) -> str:
        """`recorded`: as conclude registers it; else by somebody else's hand, in MLflow alone."""
        run = self.registry.tracking.ensure_run(f"{model}{len(self.registry.versions())}", name="m", tags={}).run_id
        uri = f"s3://artifacts/{run}/bundle"
        manifest = replace(MANIFEST, run_id=run).to_json()
        self.store.put(f"{uri}/manifest.json", manifest)
        self.store.put(f"{uri}/model.onnx", onnx)
        known = {"bundle_uri": uri, "bundle_sha256": hashlib.sha256(manifest).hexdigest()} if tags is None else tags
        created = self.registry.register(f"demo-{model}", source="s", run_id=run, tags=known)
        if recorded:
            self.record(
                Active(
                    created.name,
                    created.version,
                    alias,
                    run,
                    known.get("bundle_uri", uri),
                    known.get("bundle_sha256", ""),
                ),
                evidence=evidence,
            )
        if alias:
            self.registry.set_alias(created.name, alias, created.version)
        return created.version

    def record(self, active: Active, serve: str = "onnx", evidence: dict[str, str] | None = None) -> None:
        output = ModelRecord.of(active, serve=serve, by="test")
        ModelRecords(self.store, "b").write(replace(output, evidence=evidence or {}))

    def pickled(self, model: str, alias: str, *, serve: str = "python") -> str:
        """A version without a graph; `serve`: what settings.yaml said of its model; empty: it has no record."""
        version = self.version(model, alias, recorded=False)
        stored = self.registry.resolve(alias)[0]
        named = PythonModel(hashlib.sha256(b"pickle").hexdigest(), {})
        manifest = replace(MANIFEST, run_id=stored.run_id, onnx_sha256="", python=named).to_json()
        uri = stored.tags["bundle_uri"]
        self.store.put(f"{uri}/manifest.json", manifest)
        self.store.put(f"{uri}/pipeline.pkl", b"pickle")
        stored.tags["bundle_sha256"] = sha256 = hashlib.sha256(manifest).hexdigest()
        if serve:
            self.record(Active(stored.name, stored.version, alias, stored.run_id, uri, sha256), serve)
        return version

    def change(self, *, python: bool = True) -> Change:
        return Change(self.store, "b", "tester", logging.getLogger("test"), python=python, key=self.key)

    def set(self, alias: str = "", model: str = "", *, python: bool = True) -> dict[str, Any]:
        return activate.set_model(self.change(python=python), alias, model, settings=SETTINGS, registry=self.registry)

    def beside(self, alias: str, weight: float = 0.0, *, shadow: bool = False) -> dict[str, Any]:
        return canary.propose(
            self.change(), alias, "", traffic=canary.Traffic(weight, shadow), settings=SETTINGS, registry=self.registry
        )

    def decide(self, action: str) -> dict[str, Any]:
        return canary.decide(self.change(), action)

    def back(self, to: int | None = None) -> dict[str, Any]:
        return rollback.rollback(self.change(), to)

    def shown(self) -> dict[str, Any]:
        return rollback.shown(self.store, "b", 100, self.key)


@pytest.fixture
def switching() -> Switching:
    return Switching()
