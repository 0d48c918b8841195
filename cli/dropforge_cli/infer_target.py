"""Which column is to be predicted, and which of its classes is the one people ask for."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dropforge import value_formats
from dropforge.datasets.table_schema import Kind
from dropforge.errors import InvalidRequest
from dropforge.ingest.target_check import FEWEST_NUMBERS, MAX_CLASSES
from dropforge.metrics import Task

MOST_CLASSES = MAX_CLASSES
_SHOWN = 60  # characters of a value
_NAMES = (
    *("target", "label", "class", "y", "outcome", "result", "response", "income", "survived", "churn", "churned"),
    *("exited", "default", "defaulted", "risk", "credit_risk", "diagnosis", "species", "fraud", "is_fraud", "approved"),
    *("loan_status", "status", "converted", "subscribed", "deposit", "attrition", "readmitted", "stroke", "purchased"),
    *("cancelled", "is_canceled", "won", "grade", "variety"),
)
_NUMBER_NAMES = (
    *(
        "price",
        "amount",
        "cost",
        "costs",
        "charges",
        "charge",
        "salary",
        "wage",
        "wages",
        "pay",
        "value",
        "total",
        "sales",
    ),
    *("revenue", "profit", "income", "rent", "fare", "duration", "demand", "consumption", "load", "strength", "yield"),
    *("quantity", "count", "quality", "rating", "score", "target", "ridership", "traffic", "mpg", "rings"),
)
_ALSO_FEATURES = frozenset(  # predicted in some tables, a fact about the row in as many: sure in the last column only
    (
        "income",
        "status",
        "grade",
        "duration",
        "count",
        "load",
        "value",
        "total",
        "amount",
        "rating",
        "score",
        "quantity",
    )
)
_ORDERED = (
    "quality",
    "rating",
    "score",
    "stars",
    "count",
    "quantity",
    "visits",
    "rings",
)  # few whole numbers, yet a scale
_PLACES = (
    "latitude",
    "longitude",
    "lat",
    "lon",
    "lng",
    "year",
    "month",
    "day",
    "hour",
    "week",
    "zip",
    "postcode",
    "zipcode",
)
_YES = ("true", "yes", "y", "t", "positive", "pos", "malignant", "fraud", "default", "churn", "churned", "bad", "died")
_SURE, _FEW_ROWS, _FEW_CLASSES, _FEW_NUMBERS = 3, 20, 20, 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """A column that may be the target, with its score."""

    name: str
    kind: Kind
    distinct: int
    missing: int
    identifier: bool

    @property
    def task(self) -> Task:
        """What a model of this column would do: many different numbers are estimated, few are classes."""
        if self.kind == "integer" and self.distinct > 2 and self.name.lower().strip() in _ORDERED:
            return "regression"
        many = (self.kind == "number" and self.distinct > _FEW_NUMBERS) or (
            self.kind == "integer" and self.distinct > _FEW_CLASSES
        )
        return "regression" if many else "classification"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class and its rows."""

    label: str
    rows: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The column chosen as target, and why."""

    name: str
    reason: str
    others: tuple[str, ...]
    checks: tuple[str, ...]
    task: Task = "classification"


def choose(candidates: Sequence[Candidate], rows: int, wanted: str, task: str = "") -> Choice:
    """The target and the task, each taken as given where it is. Raises InvalidRequest when no column can be the target."""
    able = [c for c in candidates if _able(c, rows) and (not task or _fits(c, task))]
    if wanted:
        given = next(c for c in candidates if c.name == wanted)
        doubts = () if task else _task_doubt(given)
        return Choice(
            wanted,
            "named by you",
            tuple(c.name for c in able if c.name != wanted),
            doubts,
            _as_task(task) or given.task,
        )
    if not able:
        raise InvalidRequest(
            f"no column has between 2 and {MOST_CLASSES} classes or numbers to estimate, so none can be the target",
            code="no_target",
            fix="add a column with a class or a number for each row, and name it with --target",
        )
    names = {c.name for c in able}
    scored = sorted(
        ((_score(c, i, candidates), -i, c) for i, c in enumerate(candidates) if c.name in names), reverse=True
    )
    points, _, best = scored[0]
    others = tuple(c.name for _, _, c in scored[1:6])
    reason = _reason(best, candidates)
    close = len(scored) > 1 and scored[1][0] > points - 1
    rival = any(
        set(_name_words(c.name)) & set(_NUMBER_NAMES) for _, _, c in scored[1:] if c.task == "regression"
    ) or any(_is_named(c) for _, _, c in scored[1:])
    chosen = _as_task(task) or best.task
    estimated = chosen == "regression"
    named = _is_named(best)
    checks = [] if task else list(_task_doubt(best))
    if (
        not named
        or (best.name.lower().strip() in _ALSO_FEATURES and best.name != candidates[-1].name)
        or points < _SURE
        or close
        or (estimated and rival)
        or (not estimated and best.distinct > _FEW_CLASSES)
    ):
        second = f"Second choice: {others[0]}" if others else "No other column can be one"
        more = f"; then {', '.join(others[1:])}" if len(others) > 1 else ""
        checks.append(f"the target is a guess: {best.name} ({reason}). {second}{more}. Choose with --target")
    if last := "" if estimated else _number_to_predict(candidates, best, rows):
        checks.append(
            f"{last}: the last column holds numbers and is likely what is to be predicted; "
            f"{best.name} is taken because it has classes. Choose with --target"
        )
    return Choice(best.name, f"{reason}; a guess" if checks else reason, others, tuple(checks), chosen)


def _is_named(c: Candidate) -> bool:
    """Whether its name alone says that it is what people predict."""
    return c.name.lower().strip() in (_NUMBER_NAMES if c.task == "regression" else _NAMES)


def _name_words(name: str) -> list[str]:
    """SalePrice and sale-price are sale, price."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[-. ]", "_", name.strip()).lower().split("_")


def _as_task(task: str) -> Task | None:
    return "regression" if task == "regression" else "classification" if task == "classification" else None


def _fits(c: Candidate, task: str) -> bool:
    return c.kind in {"integer", "number"} if task == "regression" else c.distinct <= MOST_CLASSES


def _task_doubt(c: Candidate) -> tuple[str, ...]:
    """Numbers of which it cannot be told whether they are classes."""
    if c.kind not in {"integer", "number"} or c.distinct <= 2 or c.distinct > MOST_CLASSES:
        return ()
    read = "a number to estimate (regression)" if c.task == "regression" else "classes"
    other = "classification" if c.task == "regression" else "regression"
    return (f"{c.name} holds {c.distinct} different numbers and is read as {read}. If that is wrong: --task {other}",)


def _number_to_predict(candidates: Sequence[Candidate], best: Candidate, rows: int) -> str:
    """The last column where it holds many different numbers and was not taken."""
    last = candidates[-1]
    many = last.kind in {"integer", "number"} and last.distinct > min(20, rows / 3)
    return last.name if last.name != best.name and many and not last.identifier else ""


def _able(c: Candidate, rows: int) -> bool:
    if c.identifier or c.kind == "datetime" or c.missing >= 0.5 * rows:
        return False
    if c.task == "regression":
        return rows - c.missing >= FEWEST_NUMBERS
    return 2 <= c.distinct <= MOST_CLASSES and (c.distinct <= 2 or rows >= 3 * c.distinct)


def _score(c: Candidate, place: int, every: Sequence[Candidate]) -> float:
    points = 0.0
    lowered = c.name.lower().strip()
    words = _name_words(c.name)
    if c.task == "regression":
        if lowered in _NUMBER_NAMES:
            points += 5 - 0.03 * _NUMBER_NAMES.index(lowered)
        elif words[-1] in _NUMBER_NAMES:  # sale_price
            points += 4 - 0.03 * _NUMBER_NAMES.index(words[-1])
        else:
            points += 1.5 if any(w in _NUMBER_NAMES for w in words) else -1
        if any(w in _PLACES for w in words):
            points -= 3  # where or when a row is, not what it is worth
    elif lowered in _NAMES:
        points += 5 - 0.05 * _NAMES.index(lowered)
    elif any(w in _NAMES for w in words):
        points += 2
    if place == len(every) - 1:
        points += 3
    if place == 0:
        points += 1
    if c.distinct == 2:
        points += 1
    if c.kind == "category" and c.distinct <= 20:
        points += 0.5
    return points


def _reason(c: Candidate, every: Sequence[Candidate]) -> str:
    number = c.task == "regression"
    parts = [f"{c.distinct:,} different numbers" if number else f"{c.distinct} classes"]
    if c.name.lower().strip() in (_NUMBER_NAMES if number else _NAMES):
        parts.insert(0, "its name")
    if c.name == every[-1].name:
        parts.insert(0, "the last column")
    elif c.name == every[0].name:
        parts.insert(0, "the first column")
    return ", ".join(parts)


def unknown(wanted: str, columns: Sequence[str]) -> tuple[str]:
    """Message for a target that is no column."""
    near = difflib.get_close_matches(wanted, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; columns are {', '.join(columns)}"
    return (f"--target: there is no column {wanted!r}{hint}",)


def check_classes(target: str, classes: Sequence[ClassCount], decorated: str = "") -> None:
    """Raises InvalidRequest for a target that is no class label. decorated: one of its numbers, where they have a sign or a unit."""
    if len(classes) > MOST_CLASSES and decorated:
        raise InvalidRequest(
            f"{target!r} holds numbers with a sign or a unit, such as {shortened(decorated)!r}, which are read as text",
            code="target_not_numeric",
            fix="write plain numbers (1234.5), write the same unit in each row, or choose another --target",
        )
    if len(classes) > MOST_CLASSES:
        raise InvalidRequest(
            f"{target!r} has more than {MOST_CLASSES} different values: a number to be estimated, or an identifier",
            code="too_many_classes",
            fix="choose another --target, or add a column with groups of its values",
        )
    if len(classes) < 2:
        raise InvalidRequest(
            f"{target!r} has fewer than two classes", code="one_class_target", fix="choose another --target"
        )


def check_number(target: str, kind: Kind) -> None:
    """Raises InvalidRequest for a regression's target that holds no numbers."""
    if kind not in {"integer", "number"}:
        raise InvalidRequest(
            f"{target!r} holds no numbers ({kind})",
            code="target_not_numeric",
            fix="choose another --target, or --task classification",
        )


def positive(classes: Sequence[ClassCount], wanted: str) -> tuple[str, str]:
    """The class whose probability is scored, and why; empty for more than two classes. Raises InvalidRequest."""
    labels = [c.label for c in classes]
    if wanted and wanted not in labels:
        raise InvalidRequest(
            f"--positive: {wanted!r} is no class of the target",
            code="positive_class",
            fix=f"classes are {', '.join(shortened(label) for label in labels[:20])}",
        )
    if len(classes) != 2:
        return "", ""
    if wanted:
        return wanted, "named by you"
    predicted = [label for word in _YES for label in labels if label.lower() == word]
    if "1" in labels and set(labels) & {"0", "-1"}:  # 1 and 2 say nothing
        predicted = ["1"]
    if predicted:
        return predicted[0], "its name says yes"
    return classes[1].label, "the rarer of the two"


def shortened(text: str) -> str:
    """For a message: a cell may hold a megabyte."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def alike(classes: Sequence[ClassCount]) -> list[str]:
    """Sentences about classes that differ in their writing only: case, Unicode form, 1 and 1.0."""
    groups: dict[str, list[str]] = {}
    for c in classes:
        number = value_formats.number(c.label)
        text = unicodedata.normalize("NFKC", c.label).casefold()
        groups.setdefault(text if number is None else repr(number), []).append(c.label)
    return [
        f"classes {' and '.join(repr(shortened(label)) for label in labels)} differ in their writing only: are they one?"
        for labels in groups.values()
        if len(labels) > 1
    ][:3]


def rare(classes: Sequence[ClassCount]) -> list[str]:
    """Sentences about classes of few rows."""
    few = [f"{shortened(c.label)!r} ({c.rows})" for c in classes if c.rows < _FEW_ROWS]
    if not few:
        return []
    return [
        f"classes with few rows: {', '.join(few[:6])}. Each needs some rows for training and some held out; "
        "merge them, or collect more"
    ]
