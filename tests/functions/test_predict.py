"""POST /predict, by its recorded event."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def test_nothing_active_is_409(load: Any, event: Any) -> None:
    """The caller is told what to do first."""
    answer = load("predict").handler(event("predict"), None)
    document = json.loads(answer["body"])
    assert (answer["statusCode"], document["code"]) == (409, "no_active_model")
    assert document["request_id"]


def test_a_wrong_method_is_405(load: Any, event: Any) -> None:
    """GET is no way to predict."""
    answer = load("predict").handler({**event("predict"), "httpMethod": "GET"}, None)
    assert answer["statusCode"] == 405


def test_the_prediction_path_loads_little() -> None:
    """Importing the handler and what it serves with loads no MLflow, no DuckDB, no scikit-learn, no pandas, no pydantic."""
    code = (
        "import sys; sys.path.insert(0, 'functions/predict'); import app, dropforge.inference.predictor, dropforge.adapters.s3_store; "
        "print([m for m in ('mlflow', 'duckdb', 'sklearn', 'pandas', 'pydantic', 'jinja2', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
