"""A model and a cleaner of the user's own, as docs/how-to-new-model.md shows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.errors import JobFailed, SettingsError
from dropforge.inference.predictor import open_bundle
from dropforge_training.export import onnx_graph
from dropforge_training.models import model_spec

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to-new-model.md"
STUBBORN = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from dropforge_training.preprocessing.cleaner import TableCleaner
from models.extra_trees import ExtraTrees

class MyStep(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        self.fitted_ = True
        return self

    def transform(self, x):
        return np.nan_to_num(x)

    def get_feature_names_out(self, names=None):
        return names

class OwnStep(ExtraTrees):
    def number_step(self):
        return make_pipeline(MyStep())

class MyCleaner(TableCleaner):
    def transform(self, x):
        return super().transform(x)

class OwnCleaner(ExtraTrees):
    def cleaner(self, numbers, categories, markers, steps):
        return MyCleaner(numbers, categories, markers, steps=steps)

class OldTrain(ExtraTrees):
    def train(self, params, fold, *, watch, **_):
        return None
"""
ENTRIES = "".join(
    f"""
  - name: {name}
    class: models.{where}
    search: {{n_estimators: 50}}
    budget: {{trials: 1, seconds: 60}}
"""
    for name, where in (
        ("extra_trees", "extra_trees:ExtraTrees"),
        ("binned_trees", "extra_trees:BinnedTrees"),
        ("own_step", "stubborn:OwnStep"),
        ("own_cleaner", "stubborn:OwnCleaner"),
        ("nowhere", "nowhere:Mine"),
    )
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with `models/extra_trees.py`, its text taken from the how-to, on the path as the worker has it."""
    folder = tmp_path / "models"
    folder.mkdir()
    blocks = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), flags=re.DOTALL)
    (folder / "extra_trees.py").write_text("\n\n".join(blocks), encoding="utf-8")
    (folder / "stubborn.py").write_text(STUBBORN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", [pytest.param("extra_trees", marks=pytest.mark.campaign), "binned_trees"])
def test_the_how_to_works_as_written(bench: Callable[..., Any], project: Path, name: str) -> None:
    """The file of the how-to is tuned, exported, proven equal, and can be loaded where its folder is not on the path."""
    import mlflow

    created = bench(extra=ENTRIES)
    result = created.run(created.job(name, upload=f"own-{name}"))
    assert result.metrics["roc_auc"] > 0.7
    folder = Path(result.bundle_uri)
    predictor = open_bundle((folder / "manifest.json").read_bytes(), (folder / "model.onnx").read_bytes())
    rows = pd.DataFrame([predictor.manifest.example])
    sys.path.remove(str(project))
    _forget()
    mlflow.set_tracking_uri(created.tracking_uri)
    loaded = mlflow.pyfunc.load_model(result.model_source)
    output = loaded.predict(rows.astype({"visits": "float64", "size-cm": "float64", "since": "datetime64[ns]"}))
    assert list(output) == predictor.predict(onnx_graph.records(rows)).labels


@pytest.mark.parametrize(
    ("name", "named"),
    [
        pytest.param(
            "own_step",
            "preprocessor → numbers → mystep (MyStep) has no ONNX converter",
            marks=pytest.mark.campaign,
        ),
        ("own_cleaner", "cleaner (MyCleaner) cannot be exported: its transform is Python code of your own"),
    ],
)
def test_what_cannot_be_exported_is_named_with_the_way_out(
    bench: Callable[..., Any], project: Path, name: str, named: str
) -> None:
    """The error names the step and its class, and the fix says what to do instead."""
    created = bench(extra=ENTRIES)
    with pytest.raises(JobFailed) as failure:
        created.run(created.job(name, upload=f"own-{name}"))
    assert failure.value.code == "not_exportable"
    assert named in failure.value.message
    assert "how-to-new-model.md" in failure.value.fix
    assert "processing" in failure.value.fix


def test_a_class_that_is_not_there_is_told_with_the_folder(bench: Callable[..., Any], project: Path) -> None:
    """A wrong path in settings.yaml: the error names it and where classes of one's own lie."""
    created = bench(extra=ENTRIES)
    with pytest.raises(Exception, match=r"models\.nowhere:Mine") as failure:
        created.run(created.job("nowhere", upload="own-nowhere"))
    assert "folder `models` beside settings.yaml" in failure.value.fix  # type: ignore[attr-defined]


def test_the_model_that_stops_early_calls_back_between_rounds(project: Path) -> None:
    """As the page shows it: it ends where the callback says so, and has no rounds to report where it does not."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    fold = model_spec.Fold(x[:60], y[:60], x[60:], y[60:])
    early = model_spec.load("models.extra_trees:EarlyTrees")
    params = {"n_estimators": 100, "min_samples_leaf": 1}

    def fitted(stop_at: float) -> model_spec.Trained:
        return early.train(
            model_spec.TrialFit(
                params, fold, 1, 1, 2, "roc_auc", lambda _p: 0.5, lambda progress, _s: progress >= stop_at
            )
        )

    assert (fitted(2).rounds, fitted(9).rounds) == (50, 0)
    assert fitted(2).probabilities.shape == (20, 2)


def test_a_train_of_other_arguments_is_refused_before_a_trial(project: Path) -> None:
    """The error names the class and the signature that works."""
    with pytest.raises(SettingsError, match=r"models.stubborn:OldTrain.train .* other arguments") as refused:
        model_spec.load("models.stubborn:OldTrain")
    assert "def train(self, fit)" in str(refused.value.fix)
    assert model_spec.load("models.stubborn:OwnStep")


def test_a_cleaner_of_the_old_name_is_refused() -> None:
    """An override that nothing calls any more would change the model in silence."""
    with pytest.raises(SettingsError) as caught:
        type("OldName", (model_spec.ModelSpec,), {"processor": lambda *_: None})
    assert (caught.value.code, caught.value.fix) == ("old_name", "rename the method to cleaner")
