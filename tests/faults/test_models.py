"""Models that are hostile, altered or swapped under load: refused, and the old one goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from dropforge.adapters.s3_store import S3Store
from dropforge.deployment.active_model import ActivePointer
from dropforge.errors import BundleRejected
from dropforge.inference.predictor import open_bundle
from dropforge.serving import prediction_service as serving
from dropforge.serving.prediction_service import PredictService
from dropforge_local.memory import MemoryStore
from harness import bundles
from harness.processes import s3_store
from harness.proxy import FaultProxy

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
LOG = logging.getLogger("faults")


class _Marker:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _external(location: str) -> bytes:
    """A graph whose weights stand in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    created = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"])],
        "outside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        [tensor],
    )
    return bundles.serialised(created)


def _foreign_operator() -> bytes:
    model = onnx.load_from_string(bundles.graph(1))
    model.graph.node[0].domain = "evil.domain"
    return bytes(model.SerializeToString())


def _hostile(marker: Path) -> dict[str, bytes]:
    secret = marker.parent / "secret"
    secret.write_bytes(bytes(8))
    picture = pickle.dumps(_Marker(marker))
    return {
        "pickle": picture,
        "pickle of protocol 0": pickle.dumps(_Marker(marker), protocol=0),
        "pickle behind a graph": bundles.graph(1)[:20] + picture,
        "external data upwards": _external(f"../../../../../../..{secret}"),
        "external data by absolute path": _external(str(secret)),
        "external data of the system": _external("/etc/passwd"),
        "external data by address": _external("http://127.0.0.1:9/w"),
        "operator of a foreign domain": _foreign_operator(),
        "half a graph": bundles.graph(1)[:-40],
        "nothing": b"",
    }


@pytest.mark.promise(23)
def test_hostile_artifacts_are_refused(tmp_path: Path, figure: Figure) -> None:
    """Pickles under the name of a graph, weights outside of it, foreign operators: refused although every hash is right."""
    marker = tmp_path / "marker"
    cases = _hostile(marker)
    for name, body in cases.items():
        text = bundles.manifest(body).to_json()
        with pytest.raises(BundleRejected):
            open_bundle(text, body, hashlib.sha256(text).hexdigest())
        assert not marker.exists(), name
    pickle.loads(cases["pickle"])  # noqa: S301 - the control: this is what a loader of pickles would have done
    assert marker.exists()
    figure(f"{len(cases)} hostile artifacts: {len(cases)} refused, 0 marker files")


@pytest.mark.promise(24)
def test_one_flipped_byte_is_refused(times: Times, figure: Figure) -> None:
    """Anywhere in the graph or in its manifest."""
    count, rng = times(100, 1000), random.Random(24)
    body = bundles.graph(7)
    text = bundles.manifest(body, 7).to_json()
    sha = hashlib.sha256(text).hexdigest()
    open_bundle(text, body, sha)
    for n in range(count):
        parts = [bytearray(text), bytearray(body)]
        spoiled = parts[n % 2]
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
        with pytest.raises(BundleRejected):
            open_bundle(bytes(parts[0]), bytes(parts[1]), sha)
    figure(f"1 byte flipped × {count}: {count} refused")


@pytest.mark.promise(24, 39)
def test_a_swapped_model_is_refused_and_the_old_one_goes_on(figure: Figure) -> None:
    """The bytes behind a version are exchanged after it was registered: the switch to it changes no answer."""
    store, now = MemoryStore(), [0.0]
    pointer = ActivePointer(store, "data")
    pointer.replace(bundles.keep(store, "s3://artifacts", 1), "")
    service = PredictService(store, "data", LOG, clock=lambda: now[0])
    assert service.predict(bundles.BODY, "application/json")["model"]["version"] == "1"
    poisoned = bundles.keep(store, "s3://artifacts", 2)
    store.put(f"{poisoned.bundle_uri}/model.onnx", bundles.graph(999))
    pointer.replace(poisoned, pointer.read()[1])
    now[0] += 60
    answer = service.predict(bundles.BODY, "application/json")
    assert answer["model"]["version"] == "1"
    assert answer["predictions"][0]["probabilities"]["yes"] == pytest.approx(0.001)
    figure("a swapped bundle: refused, the old version answered")


@pytest.mark.promise(17, 28)
def test_no_prediction_is_lost_or_wrong_while_models_switch(
    emulator: int, s3: S3Store, times: Times, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four callers without a pause, a store that fails one call in four, one switch after the other.

    Every request is answered, and its probability is the one of the version that it names. MLflow is not there at all.
    """
    switches = times(10, 100)
    monkeypatch.setattr(serving, "REFRESH_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    place = f"faults/{uuid.uuid4().hex}"
    actives = [bundles.keep(s3, f"s3://artifacts/{place}", n, f"data/{place}") for n in range(1, switches + 2)]
    pointer = ActivePointer(s3, f"data/{place}")
    pointer.replace(actives[0], "")
    stop, output, latencies = threading.Event(), Counter[str](), list[float]()
    faults = {"unavailable": 0.1, "refused": 0.05, "cut": 0.1}

    def call(service: PredictService) -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            try:
                answer = service.predict(bundles.BODY, "application/json")
            except Exception as error:  # whatever it is, the caller got no prediction
                output[f"lost: {type(error).__name__}"] += 1
                continue
            latencies.append(time.perf_counter() - begun)
            right = (
                abs(answer["predictions"][0]["probabilities"]["yes"] - int(answer["model"]["version"]) / 1000) < 1e-6
            )
            output["right" if right else "wrong"] += 1
            seen.add(answer["model"]["version"])

    seen: set[str] = set()
    with FaultProxy(emulator, faults, seed=17) as proxy:
        service = PredictService(s3_store(proxy.port), f"data/{place}", LOG)
        service.predict(bundles.BODY, "application/json")
        callers = [threading.Thread(target=call, args=(service,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for active in actives[1:]:
            pointer.replace(active, pointer.read()[1])
            time.sleep(0.05)
        deadline = time.monotonic() + 20
        while actives[-1].version not in seen and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        for caller in callers:
            caller.join()
    assert set(output) == {"right"}, output
    assert actives[-1].version in seen
    spoiled = proxy.done.total() - proxy.done["none"]
    p50, p95, p99 = (sorted(latencies)[int(len(latencies) * q)] * 1000 for q in (0.5, 0.95, 0.99))
    figure(
        f"{switches} switches, {output['right']:,} predictions, {spoiled} store faults: 0 lost, 0 wrong;"
        f" in process p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms"
    )


@pytest.mark.promise(20)
def test_ready_means_that_the_model_was_checked(tmp_path: Path) -> None:
    """Health tells ready only when a model is active; without one the system lives and is not ready."""
    from dropforge.uploads import upload_queries
    from dropforge.uploads.upload_repository import UploadRepository
    from dropforge_local.memory import MemoryQueue, MemoryRegistry

    store = MemoryStore()
    store.put("s3://data/config/settings.yaml", b"x")
    ports = upload_queries.HealthPorts(
        store=lambda: store,
        registry=MemoryRegistry,
        queue=MemoryQueue,
        book=lambda: UploadRepository(store, "data"),
        bucket="data",
        log=logging.getLogger("faults"),
    )
    document = json.loads(json.dumps(upload_queries.health(ports)))
    assert (document["live"], document["ready"]) == (True, False)
    ActivePointer(store, "data").replace(bundles.keep(store, "s3://artifacts", 1), "")
    assert upload_queries.health(ports)["ready"]
