"""kill -9 of training workers at random points while uploads are trained by two tuners each; nothing may be lost or doubled.

Real processes on a local cloud of its own: uploads go in one after the other, workers die and are started again, the queue
brings their jobs back. Just before each kill the finished trials of all studies are noted; at the end every one of them
must still be finished with the same score, every study must have exactly its budget of finished trials, and every upload
exactly one version of each model.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

from dropforge import ids
from dropforge.adapters.s3_store import S3Store
from dropforge_cli.target import Target
from dropforge_local import cloud as local_cloud
from dropforge_local.layout import Config
from dropforge_training.search.study_journal import Journal

_TERMINAL = {"concluded", "rejected", "blocked", "failed", "skipped"}
_FINISHED = (1, 2)  # optuna's TrialState COMPLETE and PRUNED
ROWS = 1500

Key = tuple[str, int]


def measure(
    config: Config, outputs: dict[str, str], lines: list[str], *, runs: int, kills: int, seed: int
) -> dict[str, Any]:
    """`runs` uploads, `kills` killed workers; counts what was lost or doubled."""
    dice = random.Random(seed)  # noqa: S311 - points in time, no secret
    target = Target(outputs)
    doomed = set(dice.sample(range(runs), kills))
    uploads, noted, killed = [], {}, []
    for n in range(runs):
        uploads.append(_drop(target, n, lines))
        _wait(lambda: _state(target, uploads[-1]) not in {"", "received", "analysed"}, 120)
        if n in doomed:
            time.sleep(dice.uniform(0.0, 8.0))
            number = dice.choice(range(1, config.workers + 1))
            noted |= _finished_trials(target)
            killed.append(_kill(config, number))
            local_cloud.start_worker(config, outputs, number)
        # A killed job stays hidden for a minute, and comes back to the end of a queue.
        _wait(lambda: sum(_state(target, u) not in _TERMINAL for u in uploads) <= 2, 600)
    _wait(lambda: all(_state(target, u) in _TERMINAL for u in uploads), 900)
    states = [_state(target, u) for u in uploads]
    if states != ["concluded"] * runs:
        raise SystemExit(f"not every upload concluded: {states}")
    after = _finished_trials(target)
    lost = {k: v for k, v in noted.items() if after.get(k) != v}
    counts = {s: sum(k[0] == s for k in after) for s in {k[0] for k in after}}
    versions = _versions(target)
    doubled = {v for v in versions if versions.count(v) > 1}
    return {
        "runs": runs,
        "kills": len([p for p in killed if p]),
        "finished_trials_noted_before_kills": len(noted),
        "finished_trials_lost": len(lost),
        "studies": len(counts),
        "trials_a_study": sorted(set(counts.values())),
        "versions": len(versions),
        "versions_registered_twice": len(doubled),
    }


def _drop(target: Target, number: int, lines: list[str]) -> str:
    start = 1 + number * ROWS
    body = "\n".join([lines[0], *lines[start : start + ROWS]]) + "\n"
    bucket, key = target.outputs["DataBucket"], f"incoming/part-{number}.csv"
    answer = target.client("s3").put_object(Bucket=bucket, Key=key, Body=body.encode())
    return ids.upload_id(bucket, key, answer["VersionId"])


def _state(target: Target, upload_id: str) -> str:
    store = S3Store(target.client("s3"))
    uri = f"s3://{target.outputs['DataBucket']}/uploads/{upload_id}.json"
    return str(json.loads(store.get(uri).body)["state"]) if store.stat(uri) else ""


def _kill(config: Config, number: int) -> int | None:
    process = local_cloud.worker(config, number)
    pid = process.pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        _wait(lambda: process.pid() is None, 10)
    return pid


def _finished_trials(target: Target) -> dict[Key, Any]:
    """Score of every finished trial, by study and number."""
    store = S3Store(target.client("s3"))
    root = f"s3://{target.outputs['DataBucket']}/tuning/"
    studies = {o.uri[len(root) :].split("/")[0] for o in store.list(root)} - {"best"}
    matches: dict[Key, Any] = {}
    for study in studies:
        for entry in Journal(store, root + study).read(0):
            if entry["op_code"] == 6 and entry["state"] in _FINISHED:
                matches.setdefault((study, entry["trial_id"]), entry["values"])
    return matches


def _versions(target: Target) -> list[tuple[str, str]]:
    import mlflow

    client = mlflow.MlflowClient(target.outputs["MlflowUrl"], target.outputs["MlflowUrl"])
    return [(v.name, v.tags.get("upload_id", "")) for v in client.search_model_versions(max_results=1000)]


def _wait(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("waited in vain")
        time.sleep(0.3)
