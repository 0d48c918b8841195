"""Records in, probabilities out: the same rules as the pipeline's first step, then the ONNX graph.

A model that Python runs (serving/remote_python.py) gets the values as they were sent instead: its pipeline does the rest.
Needs numpy and onnxruntime and nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dropforge import value_formats
from dropforge.environment import Environment
from dropforge.errors import BundleRejected, InvalidRequest
from dropforge.inference import derived_columns as computed
from dropforge.inference import number_steps, prediction_intervals
from dropforge.inference.bundle_manifest import BundleManifest, Derived, Feature, GraphInput
from dropforge.inference.calibrate import calibrate
from dropforge.inference.preprocessing import number_text, shape_numbers
from dropforge.inference.row_rules import RuleSet


@dataclass(frozen=True, slots=True)
class Prediction:
    """`probabilities` has shape [rows, classes]; `labels` shape [rows]; warnings name row, field and what was done.

    Of a regression `labels` are the predicted numbers, and `probabilities` the same as a column, shape [rows, 1].
    """

    labels: list[str] | list[float]
    probabilities: np.ndarray
    warnings: list[dict[str, Any]]
    feeds: Mapping[str, np.ndarray]  # what the graph was given


class Predictor:
    """A verified bundle, ready to predict. Safe to share between threads."""

    def __init__(self, manifest: BundleManifest, session: Any, width_session: Callable[[], Any] | None = None) -> None:
        """`width_session`: opens the graph of a regression's widths; called when the first interval is asked for."""
        self.manifest = manifest
        self._session = session
        self._open_width = width_session
        self._width: Any = None
        self._features = {f.name: f for f in manifest.features}
        self._known = {f.name: frozenset(f.categories) for f in manifest.features}
        self._missing = {f.name: frozenset(("", *f.missing_markers)) for f in manifest.features}
        self._missing_numbers = {f.name: _numbers_of(f) for f in manifest.features}
        self._steps = {f.name: number_steps.read(f.name, f.steps) for f in manifest.features if f.steps}
        self._derived = {d.name: d for d in manifest.derived}
        self._encoded = {d.sources[0]: d.means for d in manifest.derived if d.part == "target_mean"}
        self._worded = {d.sources[0] for d in manifest.derived if d.part == "phrase"}
        self._names = {n: known | self._encoded.get(n, {}).keys() for n, known in self._known.items()}
        self.raw = manifest.python is not None
        self.rules = RuleSet(manifest.rules)
        self._positive = manifest.classes.index(manifest.positive_class) if manifest.positive_class else -1

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the manifest's order."""
        return tuple(self._features)

    @property
    def read_text(self) -> Callable[[Feature, Any, int, list[dict[str, Any]]], str | None]:
        """A graph gets what the first step would make of a value; a pipeline does that step itself.

        No attribute: a method of its own in it would be a cycle, which holds a replaced model and its session until the collector
        looks at all objects, and that is seldom.
        """
        return self.given_text if self.raw else self.text

    @property
    def number_dtype(self) -> type:
        """Of the numbers that the model is given."""
        return np.float64 if self.raw else np.float32

    def predict(self, records: Sequence[Mapping[str, Any]]) -> Prediction:
        """Raises InvalidRequest naming row and column for a missing column or a value that is not of its kind."""
        warnings: list[dict[str, Any]] = []
        self._check_columns(records, warnings)
        feeds: dict[str, np.ndarray] = {}
        for tensor in self.manifest.inputs:
            text = is_text(tensor)
            table: np.ndarray = np.empty(
                (len(records), len(tensor.features)), dtype=object if text else self.number_dtype
            )
            for k, name in enumerate(tensor.features):
                if name in self._derived:
                    table[:, k] = self._derive(self._derived[name], records)
                    continue
                feature = self._features[name]
                read = self.read_text if text else self._number
                for i, record in enumerate(records):
                    table[i, k] = read(feature, record[name], i, warnings)
                if not self.raw and name in self._steps:
                    wide = np.array([self.number(feature, r[name], i) for i, r in enumerate(records)])
                    table[:, k] = shape_numbers(wide, self._steps[name])
            feeds[tensor.name] = table
        probabilities = self.run(feeds)
        decided = self.decide(probabilities).tolist()
        if self.manifest.regression is not None:
            return Prediction(decided, probabilities, warnings, feeds)
        classes = self.manifest.classes
        return Prediction([classes[i] for i in decided], probabilities, warnings, feeds)

    def _derive(self, derived: Derived, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """A computed column, float32, shape [rows]."""
        sources = [self._features[s] for s in derived.sources]
        if sources[0].kind == "datetime":
            days = {f.name: np.array([self.number(f, r[f.name], i) for i, r in enumerate(records)]) for f in sources}
            return computed.of_dates(derived, days)
        return computed.of_texts(derived, [self.plain_text(sources[0], r[sources[0].name]) for r in records])

    def shape(self, feature: Feature, numbers: np.ndarray) -> np.ndarray:
        """Numbers in double precision as the graph gets them: through the feature's steps, float32."""
        steps = self._steps.get(feature.name)
        return shape_numbers(numbers, steps) if steps else numbers.astype(np.float32)

    def derived(self, name: str) -> Derived | None:
        """How the column `name` of the graph is computed; None for a feature."""
        return self._derived.get(name)

    def plain_text(self, feature: Feature, value: Any) -> str:
        """The text as training read it before rare categories became missing; the missing token for a missing one."""
        if feature.cast == "category" and value is not None and not isinstance(value, bool):
            value = number_text(value)
        text = category_text(value, self._names[feature.name], feature.merge)
        text = feature.merge.get(text, text)
        missing = text in self._missing[feature.name] or text.lower() == "nan"
        return self.manifest.missing_token if missing else text

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Calibrated probabilities of shape [rows, classes] for the graph's inputs by name; of a regression numbers [rows, 1]."""
        output = self.raw_run(feeds)
        if self.manifest.regression is not None:
            return prediction_intervals.values(self.manifest.regression, output.reshape(-1, 1))
        return calibrate(self.manifest.calibration, output)

    def raw_run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The graph's output, before calibration or the inverse transform."""
        return np.asarray(self._session.run([self.manifest.probabilities_output], feeds)[0])

    def intervals(self, feeds: Mapping[str, np.ndarray], coverage: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of a regression's prediction intervals, shape [rows] each.

        Raises InvalidRequest for a coverage that the bundle does not state.
        """
        rule = self.manifest.regression
        limits = stated(rule.intervals if rule else {}, coverage)
        assert rule is not None  # noqa: S101 - without one `stated` raises
        output = self.raw_run(feeds).reshape(-1)
        return prediction_intervals.interval(rule, output, self.widths(feeds, len(output)), limits)

    def quantile(self, feeds: Mapping[str, np.ndarray], quantile: float) -> np.ndarray:
        """The number below which a regression's true number lies with this probability, shape [rows].

        It is the end of the interval whose side leaves out as much: the lower one for less than a half, else the upper one.
        Raises InvalidRequest for a quantile that no stated coverage has an end for, and for a model of classes.
        """
        rule = self.manifest.regression
        if rule is None:
            raise InvalidRequest(
                "the model predicts classes, which have no quantiles",
                code="quantiles_of_classes",
                fix="ask for coverage",
            )
        known = sorted({q for c in rule.intervals for q in (0.5 - float(c) / 2, 0.5 + float(c) / 2)})
        if not any(abs(q - quantile) < 1e-9 for q in known):
            shown = ", ".join(f"{q:g}" for q in known)
            raise InvalidRequest(
                f"the model states no quantile {quantile:g}",
                code="quantile_unknown",
                fix=f"ask for {shown}" if known else "train again: this version states none",
            )
        low, high = self.intervals(feeds, abs(2 * quantile - 1))
        return low if quantile < 0.5 else high

    def widths(self, feeds: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
        """Of a regression: how uncertain each row is beside the others, shape [rows], in units of the transformed target."""
        rule = self.manifest.regression
        if rule is None or self._open_width is None or not rule.width_file:
            return np.ones(rows)
        if self._width is None:
            self._width = self._open_width()
        return prediction_intervals.widths(rule, self._width.run([rule.width_output], feeds)[0].reshape(-1))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Labels as places in the manifest's classes, shape [rows]; of a regression the numbers."""
        if self.manifest.regression is not None:
            return probabilities[:, 0]
        if self._positive >= 0:
            # float64, as the pipeline compares: a float32 just below the threshold must not round up to it
            above = probabilities[:, self._positive] >= self.manifest.threshold
            return np.where(above, self._positive, 1 - self._positive)
        return np.asarray(probabilities.argmax(axis=1))

    def given_text(self, feature: Feature, value: Any, row: int, warnings: list[dict[str, Any]]) -> str | None:
        """What a pipeline gets: the text that was sent, None when missing; warnings and refusals are those of `text`."""
        messages: list[dict[str, Any]] = []
        self.text(feature, value, row, messages)
        warnings.extend(messages)
        if any(w["code"] == "missing" for w in messages):
            return None
        if feature.cast == "category":
            return number_text(value)
        return category_text(value, self._known[feature.name], feature.merge)

    def file_value(self, feature: Feature, value: Any) -> Any:
        """The value of an answered record, or the text by which a file with this column writes it, where the two differ: readers
        of files then see what the model was given.
        """
        if value is None:
            return None
        if isinstance(value, str):
            return self._written(feature, value) if "," in value and feature.kind in {"integer", "number"} else value
        if feature.kind == "boolean":
            return bool(value)
        if feature.kind in {"category", "text"}:
            text = category_text(value, self._known[feature.name], feature.merge)
            return value if text == str(value) else text
        comma = value_formats.base_of(feature.number_format) == value_formats.COMMA and feature.cast != "category"
        return str(value).replace(".", ",") if comma and isinstance(value, float) else value

    def _written(self, feature: Feature, value: str) -> str:
        """A number whose comma said by itself what it means, in the way of its column."""
        text = value.strip(value_formats.BLANKS)
        way = value_formats.format_of(text, feature.number_format, comma=isinstance(value, value_formats.LocalText))
        number = None if way == feature.number_format else value_formats.number(text, way)
        return value if number is None or text in self._missing[feature.name] else repr(number)

    def _check_columns(self, records: Sequence[Mapping[str, Any]], warnings: list[dict[str, Any]]) -> None:
        wanted = self._features.keys()
        extra: set[str] = set()
        for i, record in enumerate(records):
            if record.keys() != wanted:
                missing = [n for n in self._features if n not in record]
                if missing:
                    raise InvalidRequest(
                        f"record {i}: column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} missing",
                        code="missing_column",
                        fix="send every feature (null where unknown); GET /model_info lists them",
                    )
                extra |= record.keys() - wanted
        # The target is often sent along; it is no surprise, but it is not used either.
        warnings.extend(
            {"code": "extra_column", "field": n, "message": "not a feature of this model; ignored"}
            for n in sorted(extra)
        )

    def _number(self, feature: Feature, value: Any, row: int, warnings: list[dict[str, Any]]) -> float:
        number = self.number(feature, value, row)
        if number != number:  # noqa: PLR0124 - NaN
            warnings.append({"code": "missing", "row": row, "field": feature.name, "message": "treated as missing"})
        elif is_outside(feature, number):
            warnings.append(
                {
                    "code": "out_of_range",
                    "row": row,
                    "field": feature.name,
                    "message": f"{value} is outside the training range {feature.minimum:g} to {feature.maximum:g}",
                }
            )
        return number

    def number(self, feature: Feature, value: Any, row: int) -> float:
        """The value in double precision, NaN when missing. Raises InvalidRequest naming `row`."""
        if isinstance(value, str):
            text = value.strip(value_formats.BLANKS)
            if text in self._missing[feature.name] or text.lower() == "nan":
                return math.nan
            if feature.cast == "number":
                return _lenient(feature.merge.get(text, text))
            return _parse(feature, text, row, comma=isinstance(value, value_formats.LocalText))
        if value is None:
            return math.nan
        if isinstance(value, float | int):
            number = _checked(feature, value, row)
            return math.nan if number in self._missing_numbers[feature.name] else number
        raise not_of_kind(feature, value, row)

    def missing_numbers(self, feature: Feature) -> frozenset[float]:
        """Numbers that mean missing in the column."""
        return self._missing_numbers[feature.name]

    def text(self, feature: Feature, value: Any, row: int, warnings: list[dict[str, Any]]) -> str:
        """The category the graph gets; what was done is appended to `warnings`. Raises InvalidRequest naming `row`."""
        token, known = self.manifest.missing_token, self._known[feature.name]
        if isinstance(value, list | dict):
            raise not_of_kind(feature, value, row)
        if feature.cast == "category" and value is not None and not isinstance(value, bool):
            value = number_text(value)
        text = category_text(value, known, feature.merge)
        if feature.merge:
            text = feature.merge.get(text, text)
        if text in known:
            return text
        if text in self._missing[feature.name] or text.lower() == "nan":
            warnings.append({"code": "missing", "row": row, "field": feature.name, "message": "treated as missing"})
            return token
        if feature.name in self._worded or text in self._encoded.get(feature.name, ()):
            return feature.unseen or token  # too rare for a column of its own, but its words, or its mean, count
        output = f"{text!r} was not seen in training; treated as {feature.unseen or 'missing'}"
        warnings.append({"code": "unseen_category", "row": row, "field": feature.name, "message": output})
        return feature.unseen or token


def _numbers_of(feature: Feature) -> frozenset[float]:
    """Those of its markers that are numbers; 0 and 1 of a boolean column are its values."""
    if feature.kind == "boolean":
        return frozenset()
    numbers = (value_formats.number_of_marker(m) for m in feature.missing_markers)
    return frozenset(n for n in numbers if n is not None)


def stated(known: Mapping[str, tuple[float, ...]], coverage: float) -> tuple[Any, ...]:
    """What a bundle stores for this coverage. Raises InvalidRequest naming the ones it states."""
    limits = next((v for k, v in known.items() if abs(float(k) - coverage) < 1e-9), None)
    if limits is None:
        raise InvalidRequest(
            f"the model states no coverage {coverage:g}",
            code="coverage_unknown",
            fix=f"ask for {', '.join(sorted(known))}" if known else "train again: this version states none",
        )
    return limits


def is_text(tensor: GraphInput) -> bool:
    """Whether its columns are texts, not numbers."""
    return tensor.dtype in {"string", "text"}


def category_text(value: Any, known: Container[str], merged: Container[str] = ()) -> str:
    """The category that a sent value names; empty for null. JSON's true is the text `true`, 7.0 the 7 of a file of integers.

    A text stands for itself. Of the ways in which files write the same value, the one that training saw is taken.
    """
    if isinstance(value, str):
        return value.strip(value_formats.BLANKS)
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, bool):
        ways = ("true", "True", "TRUE") if value else ("false", "False", "FALSE")
    else:
        ways = (str(value), number_text(value), f"{number_text(value)}.0")
    return next((w for w in ways if w in known or w in merged), ways[0])


def is_outside(feature: Feature, number: float) -> bool:
    """Whether a number lies outside what training saw. A limit that float32 rounded is what was rounded to it."""
    low, high = feature.minimum, feature.maximum
    if (low is None or number >= low) and (high is None or number <= high):
        return False
    rounded = np.float32(number)
    return bool((low is not None and rounded < np.float32(low)) or (high is not None and rounded > np.float32(high)))


def _checked(feature: Feature, value: float, row: int) -> float:
    """A JSON number (or boolean) by the kind of its column, as an upload's reader takes its text."""
    if value != value:  # noqa: PLR0124 - NaN
        return math.nan
    truth = isinstance(value, bool)
    # A number in a column of dates would be days or milliseconds since when? No guess.
    if (truth != (feature.kind == "boolean") and (truth or value not in {0, 1})) or feature.kind == "datetime":
        raise not_of_kind(feature, value, row)
    try:
        number = float(value)
    except OverflowError:
        raise not_of_kind(feature, value, row) from None
    if value_formats.is_beyond(number):
        raise not_of_kind(feature, value, row)
    return number


def _parse(feature: Feature, text: str, row: int, *, comma: bool) -> float:
    if feature.kind == "boolean":
        truth = value_formats.boolean(text)
        if truth is not None:
            return float(truth)
    elif feature.kind == "datetime":
        moment = value_formats.moment(text)
        if moment is not None:
            return value_formats.days(moment)
    else:
        number = value_formats.number(text, value_formats.format_of(text, feature.number_format, comma=comma))
        if number is not None and not value_formats.is_beyond(number, text):
            return number if math.isfinite(number) else math.nan
    raise not_of_kind(feature, text, row)


def _lenient(text: str) -> float:
    number = value_formats.number(text)
    return number if number is not None and not value_formats.is_beyond(number) else math.nan


def not_of_kind(feature: Feature, value: Any, row: int) -> InvalidRequest:
    """The error for a value that does not fit its column."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    expected = {
        "integer": "a number within ±3.4e38",
        "number": "a number within ±3.4e38",
        "boolean": "true or false",
        "datetime": "a date such as 2024-12-31T10:00:00Z",
    }.get(feature.kind, "text")
    return InvalidRequest(
        f"record {row}: {feature.name}: {shown} is not {expected}",
        code="invalid_value",
        fix=f"send {expected}, or null if unknown",
    )


def read_manifest(manifest_bytes: bytes, manifest_sha256: str = "") -> BundleManifest:
    """The manifest, if it has this hash (empty: any). Raises BundleRejected."""
    if manifest_sha256 and hashlib.sha256(manifest_bytes).hexdigest() != manifest_sha256:
        raise BundleRejected(
            "the bundle's manifest is not the one that was registered",
            code="bundle_altered",
            fix="train again, or roll back",
        )
    return BundleManifest.from_json(manifest_bytes)


def open_bundle(manifest_bytes: bytes, model_bytes: bytes, manifest_sha256: str = "") -> Predictor:
    """Verify and load. Raises BundleRejected when a hash differs or the graph cannot be loaded."""
    return open_graph(read_manifest(manifest_bytes, manifest_sha256), model_bytes)


def open_graph(
    manifest: BundleManifest, model_bytes: bytes, read_width: Callable[[], bytes] | None = None
) -> Predictor:
    """The predictor of a manifest that was verified; `read_width` fetches a regression's graph of widths when it is needed.

    Raises BundleRejected as open_bundle does.
    """
    session = _session(model_bytes, manifest.onnx_sha256, "model.onnx")
    rule = manifest.regression
    if rule is None or not rule.width_file or read_width is None:
        return Predictor(manifest, session)
    return Predictor(manifest, session, lambda: _session(read_width(), rule.width_sha256, rule.width_file))


def _session(model_bytes: bytes, sha256: str, file: str) -> Any:
    Environment.silence_onnxruntime()
    import onnxruntime as ort

    if hashlib.sha256(model_bytes).hexdigest() != sha256:
        raise BundleRejected(
            f"{file} is not the one its manifest names", code="bundle_altered", fix="train again, or roll back"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # one row is microseconds of work: waking threads costs more
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises its own undocumented classes; whatever it is, this bundle must not be served
        raise BundleRejected(
            f"{file} cannot be loaded: {error}", code="bundle_broken", fix="train again, or roll back"
        ) from None
