"""Training on Adult's official split: Dropforge beside FLAML, CatBoost and a plain Optuna loop; same rows, same two cores.

python benchmarks/training/rivals.py [--only SYSTEM …] [--json FILE]

Every run is a process of its own, in an environment of its own below .cache/bench for the others (made on first use).
A system that searches is run once for each number of seconds; the time told is from the first fit to the last, reading the
files and importing left out. adult.test is scored once, at the end: nobody chooses by it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "bench"
CORES = {0, 1}
PACKAGES = ["flaml[automl]==2.7.0", "catboost==1.2.8", "optuna==5.0.0", "xgboost-cpu==3.2.0"]
BUDGETS = {
    "dropforge": [5, 10, 20, 40, 60],
    "flaml": [20, 60],
    "flaml (xgboost only)": [20, 60],
    "catboost (default)": [0],
    "optuna + cross_val_score": [20, 60],
}
START = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import adult
(x, y), (x_test, y_test) = adult.load("reference"), adult.load("new")
texts, seconds = adult.categories(x), float(sys.argv[1])
"""
PROGRAMS = {
    "flaml": """
import flaml
for t in (x, x_test):
    t[texts] = t[texts].astype("category")
started = time.monotonic()
found = flaml.AutoML()
found.fit(x, y, task="classification", metric="roc_auc", time_budget=seconds, n_jobs=2, seed=1, verbose=0, **MORE)
ended = time.monotonic()
adult.tell(started, y_test, found.predict_proba(x_test)[:, 1], ended=ended, chosen=str(found.best_estimator))
""",
    "catboost (default)": """
from catboost import CatBoostClassifier
for t in (x, x_test):
    t[texts] = t[texts].fillna("(missing)").astype(str)
started = time.monotonic()
found = CatBoostClassifier(cat_features=texts, thread_count=2, random_seed=1, verbose=False, allow_writing_files=False)
found.fit(x, y)
ended = time.monotonic()
adult.tell(started, y_test, found.predict_proba(x_test)[:, 1], ended=ended)
""",
    "optuna + cross_val_score": """
import optuna
from sklearn.compose import make_column_transformer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier
optuna.logging.set_verbosity(optuna.logging.WARNING)
started = time.monotonic()

def model(params):
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts), remainder="passthrough")
    return make_pipeline(encode, XGBClassifier(**params, tree_method="hist", n_jobs=2, random_state=1))

def objective(trial):
    params = {
        "n_estimators": trial.suggest_int("n_estimators", 100, 1000),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 10, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 10, log=True),
    }
    return cross_val_score(model(params), x, y, cv=3, scoring="roc_auc").mean()

study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1))
study.optimize(objective, timeout=seconds)
found = model(study.best_params).fit(x, y)
ended = time.monotonic()
adult.tell(started, y_test, found.predict_proba(x_test)[:, 1], ended=ended, trials=len(study.trials))
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=tuple(BUDGETS), default=None)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, CORES & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    fetch(ROOT / ".cache" / "data")
    wanted = arguments.only or list(BUDGETS)
    figures = []
    if arguments.json and arguments.json.exists():  # the systems left out keep their figures
        figures = [f for f in recorded.read(arguments.json).figures if f["system"] not in wanted]
    for system in wanted:
        for budget in BUDGETS[system]:
            figures.append(measure(system, budget))
            print(
                "{system:26} {seconds:>6.1f} s  AUC {auc:.5f}  log loss {log_loss:.5f}".format(**figures[-1]),
                flush=True,
            )
    figures.sort(key=lambda f: list(BUDGETS).index(f["system"]))
    if arguments.json:
        recorded.write(arguments.json, figures)


def measure(system: str, budget: int) -> dict[str, Any]:
    """One process with so many seconds; its own figures."""
    if system == "dropforge":
        command = [sys.executable, str(HERE / "ours.py"), str(budget)]
    else:
        name = "flaml" if system.startswith("flaml") else system
        more = 'dict(estimator_list=["xgboost"])' if "xgboost only" in system else "{}"
        command = [str(interpreter()), "-c", START + PROGRAMS[name].replace("MORE", more), str(budget)]
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{system} failed: {done.stderr[-2000:]}")
    document = json.loads(done.stdout[done.stdout.rindex('{"seconds"') :])
    return {"system": system, "dataset": "adult", "budget": budget, **document}


def interpreter() -> Path:
    """The others' environment, made on first use."""
    folder = CACHE / "training"
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if not (folder / "ready").exists():
        print(f"installing {', '.join(PACKAGES)}", file=sys.stderr)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PACKAGES], check=True
        )
        (folder / "ready").touch()
    return python


if __name__ == "__main__":
    main()
