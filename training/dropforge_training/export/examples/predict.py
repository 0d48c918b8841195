"""Predict the records of a JSON file: python predict.py example.json. Needs onnxruntime and numpy."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent
session = onnxruntime.InferenceSession(HERE / "model.onnx")
classes = json.loads((HERE / "manifest.json").read_text("utf-8"))["classes"]


def number(value):
    """A number, true or false, a date as text; None is missing."""
    if isinstance(value, str):
        date = datetime.fromisoformat(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() / 86_400
    return float("nan") if value is None else float(value)


def text(value):
    """A category; None is missing."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value).strip()


def predict(records):
    """One dictionary for each record."""
    feeds = {}
    for i in session.get_inputs():
        column = [[text(r[i.name]) if i.type == "tensor(string)" else number(r[i.name])] for r in records]
        feeds[i.name] = np.array(column, dtype=object if i.type == "tensor(string)" else np.float64)
    labels, *rest = session.run(None, feeds)
    if not rest:
        return [{"prediction": float(v)} for v in labels]
    named = [dict(zip(classes, p.tolist(), strict=True)) for p in rest[0]]
    return [{"label": label, "probabilities": p} for label, p in zip(labels.tolist(), named, strict=True)]


if __name__ == "__main__":
    print(json.dumps(predict(json.loads(Path(sys.argv[1]).read_text("utf-8"))), ensure_ascii=False))
