"""Predictions go on while everything around them changes: clients ask, a training runs, models are switched, MLflow stops for a while.

A program, not a test of `make test`: it takes as long as it is told. Every answer is checked against the models that were
active in the five seconds before it. Exit code 1 when a prediction failed or came from a model that was not.

    python benchmarks/serving/soak.py [--minutes 10] [--clients 2] [--switches 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge.errors import DropforgeError
from dropforge_cli.commands.uploads import follow_upload, put
from dropforge_cli.example_data import fetch
from dropforge_cli.target import Target
from dropforge_local import cloud
from dropforge_local.layout import Config

ROOT = Path(__file__).parents[2]
A_SECOND = 40  # requests of all clients together: the template's usage plan answers 429 above 50
NOTICED_WITHIN = 5.0  # seconds a warm instance may take to notice a switch
Model = tuple[str, str]


@dataclass
class Answer:
    requested_at: float
    answered: float
    model: Model | None
    error: str = ""


@dataclass
class Change:
    """The model was `model` from some moment between `asked` and `done` on."""

    requested_at: float
    done: float
    model: Model
    action: str


@dataclass
class Seen:
    answers: list[Answer] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def client(target: Target, rows: list[dict[str, str]], pause: float, seen: Seen, stop: threading.Event) -> None:
    """One request after the other, each with one real row, `pause` seconds apart at least."""
    import requests

    session = requests.Session()
    url, headers = target.outputs["ApiUrl"] + "/predict", {"x-api-key": target.outputs["ApiKey"]}
    k = 0
    while not stop.is_set():
        requested, k = time.monotonic(), k + 1
        try:
            got = session.post(url, json={"records": [rows[k % len(rows)]]}, headers=headers, timeout=35)
            model = got.json()["model"] if got.status_code == 200 else None
            error = "" if model else f"{got.status_code}: {got.text[:200]}"
            result = Answer(requested, time.monotonic(), (model["name"], model["version"]) if model else None, error)
        except (requests.RequestException, ValueError, KeyError) as failure:
            result = Answer(requested, time.monotonic(), None, repr(failure)[:200])
        with seen.lock:
            seen.answers.append(result)
        stop.wait(max(0.0, requested + pause - time.monotonic()))


def change(target: Target, seen: Seen, path: str, body: dict[str, Any]) -> None:
    """One switch, timed; a refusal is kept, it changes nothing."""
    requested = time.monotonic()
    try:
        response = target.api("POST", path, json=body).json()
    except DropforgeError as error:
        seen.refused.append(f"{path}: {error.code}: {error.message}"[:200])
        return
    model = (response["model"]["name"], response["model"]["version"])
    seen.changes.append(Change(requested, time.monotonic(), model, path))


def wrong(seen: Seen) -> list[Answer]:
    """Answers of a model that was not active at any moment from five seconds before the request to the answer."""
    until = [*(c.done for c in seen.changes[1:]), float("inf")]
    active = [(c.model, c.requested_at, end) for c, end in zip(seen.changes, until, strict=True)]
    return [
        a
        for a in seen.answers
        if a.model
        and not any(
            m == a.model and start <= a.answered and end >= a.requested_at - NOTICED_WITHIN for m, start, end in active
        )
    ]


def soak(config: Config, minutes: float, clients: int, switches: int) -> dict[str, Any]:
    """The whole run on a local cloud that is started and stopped here."""
    example = fetch(ROOT / ".cache" / "data")
    header, *lines = example.reference.read_text(encoding="utf-8").splitlines()
    target = Target(cloud.up(config, lambda what, seconds: print(f"  {what} {seconds:.1f} s")))
    first = config.home / "reference.csv"
    first.write_text("\n".join([header, *lines[:8000]]) + "\n")
    record = follow_upload(target, put(target, first))
    if record["state"] != "concluded":
        raise SystemExit(f"the first upload ended as {record['state']}: {record['reason']}")
    models = [m["name"] for m in record["models"] if "version" in m]
    for name in models:
        target.api("POST", "/aliases", json={"alias": f"soak-{name}", "model": name})
    seen, stop = Seen(), threading.Event()
    change(target, seen, "/set_model", {"alias": f"soak-{models[0]}", "model": models[0]})
    names = header.split(",")
    rows = [dict(zip(names[:-1], line.split(",")[:-1], strict=True)) for line in lines[:500]]
    pause = clients / A_SECOND
    asking = [threading.Thread(target=client, args=(target, rows, pause, seen, stop)) for _ in range(clients)]
    begun = time.monotonic()
    for thread in asking:
        thread.start()
    more = config.home / "more.csv"
    more.write_text("\n".join([header, *lines[8000:20000]]) + "\n")
    training = put(target, more)
    gap, outage = minutes * 60 / (switches + 1), min(60.0, minutes * 60 / 4)
    down_from = begun + minutes * 60 / 3
    mlflow_down = False
    for n in range(1, switches + 1):
        _until(begun + n * gap)
        if not mlflow_down and time.monotonic() >= down_from and cloud.mlflow(config).pid() is not None:
            cloud.mlflow(config).stop()
            mlflow_down, back_at = True, time.monotonic() + outage
        if mlflow_down and cloud.mlflow(config).pid() is None and time.monotonic() >= back_at:
            cloud.up(config, lambda _what, _seconds: None)
        if n % 3 == 0 or cloud.mlflow(config).pid() is None:
            # The deployment history alone is asked: this works while MLflow is down.
            change(target, seen, "/rollback", {"to": 1 + n % 2} if n > 3 else {})
        else:
            chosen = models[n % len(models)]
            change(target, seen, "/set_model", {"alias": f"soak-{chosen}", "model": chosen})
    _until(begun + minutes * 60)
    stop.set()
    for thread in asking:
        thread.join()
    cloud.up(config, lambda _what, _seconds: None)  # MLflow again, should the outage have reached the end
    after = follow_upload(target, training)
    return _summary(seen, target, minutes, outage if mlflow_down else 0.0, after["state"])


def _summary(seen: Seen, target: Target, minutes: float, outage: float, training: str) -> dict[str, Any]:
    ledger = target.api("GET", "/history").json()
    failed = [a for a in seen.answers if a.error]
    misled = wrong(seen)
    back = [c.done - c.requested_at for c in seen.changes if c.action == "/rollback"]
    took = sorted(a.answered - a.requested_at for a in seen.answers if a.model)
    return {
        "minutes": minutes,
        "predictions": len(seen.answers),
        "failed": len(failed),
        "of_a_model_not_active_within_5_s": len(misled),
        "p50_ms": round(took[len(took) // 2] * 1000, 1) if took else None,
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1) if took else None,
        "changes": len(seen.changes) - 1,
        "refused_changes": seen.refused,
        "rollbacks": len(back),
        "rollback_ms": round(statistics.median(back) * 1000) if back else None,
        "mlflow_stopped_s": round(outage),
        "training_beside_it_ended": training,
        "ledger_entries": len(ledger["entries"]),
        "ledger_holds": ledger["verified"]["ok"],
        "ledger_problems": ledger["verified"]["problems"],
        "first_failures": [a.error for a in failed[:5]],
    }


def _until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--port", type=int, default=4640)
    parser.add_argument("--mlflow-port", type=int, default=5640)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dropforge-soak-") as home:
        config = Config(root=ROOT, home=Path(home), port=given.port, mlflow_port=given.mlflow_port, project="soak")
        try:
            result = soak(config, given.minutes, given.clients, given.switches)
        finally:
            cloud.down(config, lambda _what, _seconds: None)
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    good = not result["failed"] and not result["of_a_model_not_active_within_5_s"] and result["ledger_holds"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
