"""`manifest.json` of a serving bundle: what the API must know about a model besides its ONNX graph.

Written by the training worker, read by predict. Plain dataclasses: importing this module costs next to nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dropforge.errors import BundleRejected
from dropforge.inference.row_rules import RowRule

FORMAT_VERSION: Final = 1
MODEL_FILE: Final = "model.onnx"
PICKLE_FILE: Final = "pipeline.pkl"
MANIFEST_FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column a caller sends.

    `kind` is a kind of dropforge.datasets.table_schema. Values reach the graph as: integer, number → float32; boolean → 0/1 float32;
    datetime → days since 1970-01-01 as float32; category, text → string. Missing is NaN, or `missing_token` for strings.
    A model that Python runs gets what was sent, before any step of the pipeline: float64, and text with None for missing.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()  # seen in training, for category features
    minimum: float | None = None  # seen in training, for numeric features
    maximum: float | None = None
    missing_markers: tuple[str, ...] = ()  # read as missing, besides null and the empty string
    cast: str = ""  # "category": a number is its text; "number": a text that is no number is missing
    merge: dict[str, str] = field(default_factory=dict)  # category → the one it is read as
    unseen: str = ""  # what a category not seen in training becomes; empty: missing
    steps: tuple[
        dict[str, Any], ...
    ] = ()  # of a number, in this order: {"step": name, …} (dropforge.inference.number_steps)
    number_format: str = "1234.5"  # how texts write the column's numbers (dropforge.value_formats)


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input tensor of the graph, shape [rows, len(features)], its columns in the order of `features`."""

    name: str
    dtype: str  # "float32" or "string"; for a model that Python runs "float64" or "text"
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """A column of the graph's numbers that is computed from features (dropforge.inference.derived_columns)."""

    name: str
    part: str  # hour, weekday, month, day_of_year or elapsed of dates; target_mean or phrase of a text
    sources: tuple[str, ...]  # features; of elapsed the earlier one first
    means: dict[str, float] = field(default_factory=dict)  # of target_mean, by category
    default: float = 0.0  # of a category that training did not see
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What dropforge.inference.calibrate does to the graph's probabilities."""

    kind: str  # "temperature", "sigmoid" or "isotonic"
    slope: float = 1.0
    intercepts: tuple[float, ...] = ()  # one a class
    floor: float = 1e-6  # added to a probability before its logarithm
    knots: tuple[
        tuple[tuple[float, ...], tuple[float, ...]], ...
    ] = ()  # (from, to), rising; one pair a class, binary: one


@dataclass(frozen=True, slots=True)
class HoldoutRule:
    """Which rows the model was not trained on (dropforge_training.data.holdout_split). `by`: random, time or group.

    random: hashes below the manifest's holdout_share; time: rows whose `column` is `start` (seconds since 1970-01-01, or the
    column's own numbers) or later; group: rows whose group's hash is below `limit`.
    """

    by: str = "random"
    column: str = ""
    start: float = 0.0
    limit: int = 0


RANDOM: Final = HoldoutRule()


@dataclass(frozen=True, slots=True)
class PythonModel:
    """The pickled pipeline of a bundle without a graph: `pipeline.pkl`, and the versions it may be loaded with."""

    sha256: str
    versions: dict[str, str]  # python (3.13), scikit-learn


@dataclass(frozen=True, slots=True)
class Regression:
    """How the graph's one output a row becomes the predicted number and its interval (dropforge.inference.prediction_intervals)."""

    transform: str = ""  # "log1p": the model was fitted on sign(y)·ln(1 + |y|); empty: on the target itself
    # Added to the graph's output in float64, before the inverse transform: the model was fitted on numbers with the mean zero.
    # In float32 the digits of a large mean would be lost to the differences between rows.
    center: float = 0.0
    minimum: float | None = None  # predictions are clipped to minimum … maximum, in units of the target
    maximum: float | None = None
    # Coverage as text ("0.9") → (below, above), in units of the row's width. Empty: the bundle states no coverage.
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    interval_transform: str | None = (
        None  # scale on which intervals have their widths, as `transform`; None: that of `transform`
    )
    interval_method: str = ""  # in words, with its guarantee
    interval_rows: int = 0  # calibration rows
    width_file: str = ""  # the graph that predicts the logarithm of a row's width; empty: every row has the width 1
    width_sha256: str = ""
    width_output: str = ""
    width_range: tuple[float, float] = (0.0, 0.0)  # of the logarithm; predicted ones are clipped to it


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """Everything beside the graph. `classes` are the labels in the order of the probability columns; empty for a regression."""

    project: str
    model: str
    run_id: str
    dataset_id: str
    created_at: str
    target: str
    features: tuple[Feature, ...]
    inputs: tuple[GraphInput, ...]
    probabilities_output: str
    classes: tuple[str, ...]
    positive_class: str  # empty for multiclass
    threshold: float  # binary: predict positive_class from this probability; multiclass: unused
    onnx_sha256: str  # empty for a model that Python runs
    missing_token: str = "(missing)"  # noqa: S105 - a category name, not a credential
    metrics: dict[str, float] = field(default_factory=dict)
    importance: dict[str, float] = field(
        default_factory=dict
    )  # permutation importance by column, in units of the metric
    example: dict[str, Any] = field(default_factory=dict)  # a synthetic row, for forms and docs
    parity: dict[str, float] = field(default_factory=dict)  # max_abs_difference, label_flips, rows
    # Prediction sets: coverage as text ("0.9") → for each of `classes` the largest 1 - p at which the class is in the set.
    # Empty: the bundle states no coverage. What the coverage means: dropforge_training.fit.conformal.
    conformal: dict[str, tuple[float, ...]] = field(default_factory=dict)
    conformal_method: str = ""  # how the limits were calibrated; empty: a bundle older than the field
    conformal_rows: tuple[int, ...] = ()  # calibration rows of each class: n rows give a coverage of c … c + 1/(n + 1)
    explanation: dict[str, str] = field(default_factory=dict)  # file and sha256; empty: the model cannot be explained
    holdout_share: float = (
        0.0  # rows this model never saw have a hash below this share; 0: a bundle older than the field
    )
    moved_rows: tuple[
        int, ...
    ] = ()  # hashes below that share which it was trained on all the same, to have every class
    split: HoldoutRule = RANDOM
    rules: tuple[RowRule, ...] = ()  # what the model's data were held to, and requests are
    derived: tuple[Derived, ...] = ()  # their names stand among the columns of `inputs`
    calibration: Calibration | None = None  # applied to the graph's output; None: it is served as it is
    python: PythonModel | None = None  # `serve: python` in settings.yaml; None: the bundle has a graph
    regression: Regression | None = None  # None: the target is a class
    format_version: int = FORMAT_VERSION

    @property
    def task(self) -> str:
        """classification or regression."""
        return "regression" if self.regression else "classification"

    @property
    def model_file(self) -> str:
        """The file of the bundle that predicts."""
        return PICKLE_FILE if self.python else MODEL_FILE

    @property
    def model_sha256(self) -> str:
        """Of that file."""
        return self.python.sha256 if self.python else self.onnx_sha256

    def to_json(self) -> bytes:
        """Canonical bytes: the same manifest always has the same sha256."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> BundleManifest:
        """Raises BundleRejected for another format version or a manifest that lacks something."""
        try:
            value = json.loads(raw)
            if value["format_version"] != FORMAT_VERSION:
                raise BundleRejected(
                    f"the bundle has format version {value['format_version']}; this code reads {FORMAT_VERSION}",
                    code="bundle_format",
                    fix="train again, or deploy the code version that wrote it",
                )
            value["features"] = tuple(_feature(f) for f in value["features"])
            value["inputs"] = tuple(GraphInput(i["name"], i["dtype"], tuple(i["features"])) for i in value["inputs"])
            value["classes"] = tuple(value["classes"])
            value["conformal"] = {k: tuple(v) for k, v in value.get("conformal", {}).items()}
            value["conformal_rows"] = tuple(value.get("conformal_rows", ()))
            value["moved_rows"] = tuple(value.get("moved_rows", ()))
            value["derived"] = tuple(Derived(**{**d, "sources": tuple(d["sources"])}) for d in value.get("derived", ()))
            value["rules"] = tuple(RowRule.from_json(r) for r in value.get("rules", ()))
            value["split"] = HoldoutRule(**value.get("split", {}))
            value["calibration"] = _calibration(value.get("calibration"))
            value["python"] = PythonModel(**value["python"]) if value.get("python") else None
            value["regression"] = _regression(value.get("regression"))
            return cls(**value)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleRejected(
                f"the bundle's manifest cannot be read: {error}", code="bundle_manifest", fix="train again"
            ) from None


def not_served(model: str) -> BundleRejected:
    """For a model without a graph where no function runs such models."""
    return BundleRejected(
        f"{model} can only be run by Python, and no function for that is deployed",
        code="python_not_served",
        fix="deploy with TrainingImageUri (docs/how-to-new-model.md), or train the model without `serve: python`",
    )


def _feature(value: dict[str, Any]) -> Feature:
    """Also of bundles from before `steps`, which have `low`, `high` and `log` instead."""
    low, high, log = (value.pop(name, None) for name in ("low", "high", "log"))
    clip = [{"step": "clip", "low": low, "high": high}] if low is not None or high is not None else []
    steps = (*value.pop("steps", ()), *clip, *([{"step": "log"}] if log else []))
    lists = {name: tuple(value[name]) for name in ("categories", "missing_markers")}
    return Feature(**{**value, **lists, "steps": steps})


def _regression(value: dict[str, Any] | None) -> Regression | None:
    if value is None:
        return None
    intervals = {k: (float(v[0]), float(v[1])) for k, v in value["intervals"].items()}
    return Regression(**{**value, "intervals": intervals, "width_range": tuple(value["width_range"])})


def _calibration(value: dict[str, Any] | None) -> Calibration | None:
    if value is None:
        return None
    knots = tuple((tuple(x), tuple(y)) for x, y in value["knots"])
    return Calibration(value["kind"], value["slope"], tuple(value["intercepts"]), value["floor"], knots)
