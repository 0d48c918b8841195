"""A bundle as one ONNX graph that needs nothing else: one input a feature, what the API does before and after its graph inside.

ONNX Runtime then gives the API's probabilities in any language, without Dropforge and without code of the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from dropforge.errors import BundleRejected
from dropforge.inference import number_steps
from dropforge.inference.bundle_manifest import BundleManifest, Calibration, Derived, Feature, Regression
from dropforge.inference.number_steps import NumberStep
from dropforge.inference.number_steps.clip import Clip
from dropforge.inference.number_steps.log import Log
from dropforge.inference.prediction_intervals import LOG1P
from dropforge.inference.predictor import Predictor, is_text
from dropforge.inference.preprocessing import number_text

LABELS, PROBABILITIES, NUMBERS = "predicted_label", "probabilities", "prediction"
_ML = "ai.onnx.ml"
_OPSETS: Final = {"": 9, _ML: 2}  # Where, comparisons of float64; LabelEncoder of texts
_NO_CATEGORY: Final = "\x00"  # a text that no column has: what becomes of it becomes of every unseen one


def build(manifest: BundleManifest, model: bytes) -> bytes:
    """The graph of a verified bundle. `model`: its model.onnx.

    Inputs, shape [rows, 1]: float64 for numbers (NaN: missing; booleans 0 and 1; dates as days since 1970-01-01), text for categories
    (empty: missing), named as the manifest's features. Outputs: texts [rows] and float64 [rows, classes], or float64 [rows] of a
    regression. Raises BundleRejected for a bundle that holds what ONNX has no operator for.
    """
    if manifest.python:
        raise _not_exportable("the model is run by Python and has no graph", "train it without `serve: python`")
    inner = onnx.load_model_from_string(model)
    names = {f.name for f in manifest.features}
    builder = _Builder(names)
    inner = compose.add_prefix(inner, f"{builder.prefix}model/")
    predictor = Predictor(manifest, None)
    inputs = [
        helper.make_tensor_value_info(
            f.name, TensorProto.STRING if f.name in _texts(manifest) else TensorProto.DOUBLE, ["rows", 1]
        )
        for f in manifest.features
    ]
    for tensor, target in zip(manifest.inputs, _input_names(manifest, inner), strict=True):
        columns = [_column(builder, predictor, name, text=is_text(tensor)) for name in tensor.features]
        builder.op("Concat", *columns, output=target, axis=1)
    builder.nodes.extend(inner.graph.node)
    builder.initializers.extend(inner.graph.initializer)
    output = f"{builder.prefix}model/{manifest.probabilities_output}"
    rule = manifest.regression
    outputs = _numbers(builder, rule, output) if rule else _classes(builder, manifest, output)
    graph = helper.make_graph(builder.nodes, "dropforge", inputs, outputs, builder.initializers)
    created = helper.make_model(graph, opset_imports=_opsets(inner), ir_version=inner.ir_version)
    helper.set_model_props(created, {"target": manifest.target, "model": manifest.model, "run_id": manifest.run_id})
    onnx.checker.check_model(created)
    return bytes(created.SerializeToString())


def _opsets(inner: Any) -> list[Any]:
    """The inner graph's, and what the nodes around it need: nothing newer, so that its nodes keep their meaning."""
    versions = {o.domain: o.version for o in inner.opset_import}
    return [helper.make_opsetid(d, max(versions.get(d, 1), least)) for d, least in _OPSETS.items()]


def _texts(manifest: BundleManifest) -> set[str]:
    """Features that are sent as texts: those of the graph's text input, and the sources of columns computed from texts."""
    result = {n for t in manifest.inputs if is_text(t) for n in t.features}
    return result | {s for d in manifest.derived if d.part in {"target_mean", "phrase"} for s in d.sources}


def _input_names(manifest: BundleManifest, inner: Any) -> list[str]:
    known = {i.name for i in inner.graph.input}
    return [next(k for k in known if k.endswith(f"model/{t.name}")) for t in manifest.inputs]


class _Builder:
    """Nodes of a graph, each with one output. Names start with `prefix`, which no feature's name does."""

    def __init__(self, names: Iterable[str]) -> None:
        self.prefix = "dropforge/"
        while any(n.startswith(self.prefix) for n in names):
            self.prefix = "_" + self.prefix
        self.names = set(names)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def op(self, kind: str, *inputs: str | float, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Append a node; the name of its output. A number among the inputs is a float64 constant."""
        named = [i if isinstance(i, str) else self.constant(np.float64(i)) for i in inputs]
        output = output or f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, named, [output], domain=domain, **attributes))
        return output

    def constant(self, value: Any) -> str:
        """An initializer; its name."""
        name = f"{self.prefix}constant/{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def output(self, name: str) -> str:
        """The name for an output: itself, unless a feature has it."""
        while name in self.names:
            name = "_" + name
        return name


def _column(b: _Builder, predictor: Predictor, name: str, *, text: bool) -> str:
    """One column of the inner graph's input, shape [rows, 1]."""
    derived = predictor.derived(name)
    features = {f.name: f for f in predictor.manifest.features}
    if derived is None:
        feature = features[name]
        return _category(b, predictor, feature) if text else _number(b, predictor, feature)
    if derived.part == "target_mean":
        return _target_mean(b, predictor, derived, features[derived.sources[0]])
    if derived.part == "phrase":
        raise _not_exportable(
            f"the column {name} says whether a phrase occurs in a text, which ONNX has no operator for",
            "train without words of texts (`data.text: ignore`, or ignore the column) to export",
        )
    return b.op("Cast", _date_part(b, derived), to=TensorProto.FLOAT)


def _number(b: _Builder, predictor: Predictor, feature: Feature) -> str:
    value = feature.name
    for missing in sorted(predictor.missing_numbers(feature)):
        other = b.op(
            "Or", b.op("Less", value, missing), b.op("Greater", value, missing)
        )  # Equal takes float64 from opset 11 on
        value = b.op("Where", other, value, math.nan)
    for step in number_steps.read(feature.name, feature.steps):
        value = _step(b, step, value)
    return b.op("Cast", value, to=TensorProto.FLOAT)


def _step(b: _Builder, step: NumberStep, x: str) -> str:
    """A preprocessing step; NaN stays NaN because every comparison with it is false."""
    if isinstance(step, Clip):
        return _clip(b, x, step.low, step.high)
    if isinstance(step, Log):
        return _signed(b, x, _log1p(b, b.op("Abs", x)))
    raise _not_exportable(
        f"the step {type(step).__name__} of the column {step.column} is a plug-in, which has no ONNX form",
        "do its work before the upload, or by clip and log",
    )


def _clip(b: _Builder, x: str, low: float | None, high: float | None) -> str:
    if low is not None:
        x = b.op("Where", b.op("Less", x, low), low, x)
    if high is not None:
        x = b.op("Where", b.op("Greater", x, high), high, x)
    return x


def _signed(b: _Builder, x: str, magnitude: str) -> str:
    """`magnitude` with the sign of x."""
    return b.op("Where", b.op("Less", x, 0.0), b.op("Neg", magnitude), magnitude)


def _log1p(b: _Builder, x: str) -> str:
    """ln(1 + x) in full precision near zero: ln(u)·x/(u - 1) of u = 1 + x, and x where u is 1 (Kahan; Higham 2002, problem 1.5)."""
    u = b.op("Add", x, 1.0)
    rest = b.op("Sub", u, 1.0)
    lost = b.op("Not", b.op("Greater", rest, 0.0))
    quotient = b.op("Div", x, b.op("Where", lost, 1.0, rest))
    return b.op("Where", lost, x, b.op("Mul", b.op("Log", u), quotient))


def _category(b: _Builder, predictor: Predictor, feature: Feature) -> str:
    """What the predictor makes of a text, as a table of every text it treats in a way of its own."""
    texts = _spellings((*feature.categories, *feature.merge, *feature.missing_markers, "", "nan", "NaN", "NAN", "Nan"))
    if any(d.part == "target_mean" and d.sources[0] == feature.name for d in predictor.manifest.derived):
        texts |= {t for d in predictor.manifest.derived if d.sources[0] == feature.name for t in _spellings(d.means)}
    keys = sorted(texts)
    values = [predictor.text(feature, k, 0, []) for k in keys]
    default = predictor.text(feature, _NO_CATEGORY, 0, [])
    return b.op(
        "LabelEncoder", feature.name, domain=_ML, keys_strings=keys, values_strings=values, default_string=default
    )


def _spellings(texts: Iterable[str]) -> set[str]:
    """With the ways in which a caller's number may be written: 7, 7.0."""
    known = set(texts)
    return known | {way for t in known for way in (number_text(t), f"{number_text(t)}.0") if _is_number(t)}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _target_mean(b: _Builder, predictor: Predictor, derived: Derived, feature: Feature) -> str:
    keys = sorted(
        _spellings((*derived.means, *feature.categories, *feature.merge, *feature.missing_markers, "", "nan", "NaN"))
    )
    means = [derived.means.get(predictor.plain_text(feature, k), derived.default) for k in keys]
    return b.op(
        "LabelEncoder", feature.name, domain=_ML, keys_strings=keys, values_floats=means, default_float=derived.default
    )


def _date_part(b: _Builder, derived: Derived) -> str:
    """Float64 of shape [rows, 1]; NaN stays NaN."""
    first = derived.sources[0]
    if derived.part == "elapsed":
        return b.op("Sub", derived.sources[1], first)
    day = b.op("Floor", first)
    if derived.part == "hour":
        return b.op("Mul", b.op("Sub", first, day), 24.0)
    if derived.part == "weekday":  # 0: Monday; 1970-01-01 was a Thursday
        return _modulo(b, b.op("Add", day, 3.0), 7.0)
    return _calendar(b, day, derived.part)


def _floor_divided(b: _Builder, x: str, by: float) -> str:
    return b.op("Floor", b.op("Div", x, by))


def _modulo(b: _Builder, x: str, by: float) -> str:
    return b.op("Sub", x, b.op("Mul", _floor_divided(b, x, by), by))


def _total(b: _Builder, *signed: tuple[float, str]) -> str:
    """Sum of the terms, each with its factor."""
    terms = [x if factor == 1 else b.op("Mul", x, factor) for factor, x in signed]
    total = terms[0]
    for term in terms[1:]:
        total = b.op("Add", total, term)
    return total


def _calendar(b: _Builder, day: str, part: str) -> str:
    """Month, or day of the year, of days since 1970-01-01, by Hinnant's civil_from_days (chrono-Compatible Low-Level Date Algorithms).

    Years begin on March 1 there, so that the leap day is their last.
    """
    of_era = _modulo(b, b.op("Add", day, 719_468.0), 146_097.0)
    leaps = [
        (sign, _floor_divided(b, of_era, by)) for sign, by in ((-1.0, 1_460.0), (1.0, 36_524.0), (-1.0, 146_096.0))
    ]
    year = _floor_divided(b, _total(b, (1.0, of_era), *leaps), 365.0)
    before = _total(b, (365.0, year), (1.0, _floor_divided(b, year, 4.0)), (-1.0, _floor_divided(b, year, 100.0)))
    of_year = b.op("Sub", of_era, before)
    if part == "month":
        march = _floor_divided(b, b.op("Add", b.op("Mul", of_year, 5.0), 2.0), 153.0)
        early = b.op("Less", march, 10.0)
        return b.op("Where", early, b.op("Add", march, 3.0), b.op("Sub", march, 9.0))
    last = b.op("Sub", year, 1.0)
    rules = ((1.0, 4.0), (-1.0, 100.0), (1.0, 400.0))
    leap = _total(
        b,
        *((s, _floor_divided(b, year, by)) for s, by in rules),
        *((-s, _floor_divided(b, last, by)) for s, by in rules),
    )
    spring = _total(b, (1.0, of_year), (1.0, leap), (1.0, b.constant(np.float64(60.0))))
    return b.op("Where", b.op("Less", of_year, 306.0), spring, b.op("Sub", of_year, 305.0))


def _numbers(b: _Builder, rule: Regression, output: str) -> list[Any]:
    """A regression's numbers: centre, inverse transform and limits, as prediction_intervals.values."""
    z = b.op("Reshape", b.op("Cast", output, to=TensorProto.DOUBLE), b.constant(np.array([-1], dtype=np.int64)))
    z = b.op("Add", z, rule.center)
    if rule.transform == LOG1P:
        z = _signed(b, z, b.op("Sub", b.op("Exp", b.op("Abs", z)), 1.0))
    name = b.output(NUMBERS)
    b.op("Identity", _clip(b, z, rule.minimum, rule.maximum), output=name)
    return [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows"])]


def _classes(b: _Builder, manifest: BundleManifest, output: str) -> list[Any]:
    """Labels and calibrated probabilities, as calibrate.calibrate and Predictor.decide."""
    p = _calibrated(b, manifest.calibration, b.op("Cast", output, to=TensorProto.DOUBLE), len(manifest.classes))
    labels, probabilities = b.output(LABELS), b.output(PROBABILITIES)
    b.op("Identity", p, output=probabilities)
    if manifest.positive_class:
        at = manifest.classes.index(manifest.positive_class)
        chance = b.op("Gather", p, b.constant(np.int64(at)), axis=1)
        yes, no = (b.constant(np.array(manifest.classes[i], dtype=object)) for i in (at, 1 - at))
        b.op("Where", b.op("Less", chance, manifest.threshold), no, yes, output=labels)
    else:
        largest = b.op("ArgMax", p, axis=1, keepdims=0)
        places = list(range(len(manifest.classes)))
        b.op(
            "LabelEncoder",
            largest,
            output=labels,
            domain=_ML,
            keys_int64s=places,
            values_strings=list(manifest.classes),
        )
    return [
        helper.make_tensor_value_info(labels, TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info(probabilities, TensorProto.DOUBLE, ["rows", len(manifest.classes)]),
    ]


def _calibrated(b: _Builder, calibration: Calibration | None, p: str, classes: int) -> str:
    if calibration is None:
        return p
    if calibration.kind != "isotonic":
        logarithm = b.op("Log", b.op("Add", p, calibration.floor))
        intercepts = b.constant(np.array([calibration.intercepts], dtype=np.float64))
        return b.op("Softmax", b.op("Add", b.op("Mul", logarithm, calibration.slope), intercepts), axis=1)
    columns = [b.op("Gather", p, b.constant(np.array([k], dtype=np.int64)), axis=1) for k in range(classes)]
    if classes == 2:
        second = _interpolated(b, columns[1], *calibration.knots[0])
        return b.op("Concat", b.op("Sub", 1.0, second), second, axis=1)
    risen = b.op("Concat", *(_interpolated(b, c, *k) for c, k in zip(columns, calibration.knots, strict=True)), axis=1)
    return b.op("Div", risen, _row_sums(b, risen, classes))


def _row_sums(b: _Builder, x: str, columns: int) -> str:
    """Shape [rows, columns] to [rows, 1]."""
    return b.op("MatMul", x, b.constant(np.ones((columns, 1))))


def _interpolated(b: _Builder, p: str, x: Sequence[float], y: Sequence[float]) -> str:
    """numpy.interp of shape [rows, 1]: y[0] plus, of every piece, the part of its rise that lies below p.

    A piece without width is a jump, taken at its x itself: it begins at the float before.
    """
    ends, starts = np.array(x[1:]), np.array(x[:-1])
    starts = np.where(starts == ends, np.nextafter(ends, -np.inf), starts)
    if not len(ends):
        return b.op("Add", b.op("Mul", p, 0.0), y[0])
    parts = b.op("Div", b.op("Sub", p, b.constant(starts[None])), b.constant((ends - starts)[None]))
    risen = b.op("Mul", _clip(b, parts, 0.0, 1.0), b.constant(np.diff(np.array(y))[None]))
    return b.op("Add", _row_sums(b, risen, len(ends)), y[0])


def _not_exportable(message: str, fix: str) -> BundleRejected:
    return BundleRejected(f"the model cannot be exported: {message}", code="not_exportable", fix=fix)
