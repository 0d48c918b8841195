"""A guess about a table as the text of a commented settings.yaml."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from dropforge.value_formats import PLAIN

if TYPE_CHECKING:
    from dropforge_cli.infer_columns import ColumnGuess
    from dropforge_cli.infer_settings import Guess
    from dropforge_cli.propose_rules import Proposal

_UNQUOTED = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")
_WORDS = {"yes", "no", "true", "false", "on", "off", "null", "y", "n"}  # YAML reads these as something else than text
_SMALL = 20_000
_WIDTH = 30


def write(guess: Guess, project: str, source: str) -> str:
    """The whole text; `dropforge.config.settings.load` accepts it."""
    lines = [
        f"# Made by `dropforge init` from {source}: {guess.rows:,} rows, {len(guess.columns)} columns ({guess.form.words}).",
        "# Only what differs from the default is written; docs/reference/settings.md lists every key.",
        "# `dropforge settings check` reports every mistake with its line; `dropforge apply` applies a change.",
        f"project: {project}",
        "",
        "data:",
        *_data(guess),
        "",
        "models:                        # each gets this budget of tuning; whichever ends first",
        *_models(guess),
        "",
        *_split(guess),
        "",
        *_metrics(guess),
        "",
        "serving:",
        "  alias: Production            # the version people give this alias is the one that answers",
        _line(
            "  max_milliseconds: 2", "for one row, where it is trained: an ensemble has as many members as keep to it"
        ),
    ]
    if guess.positive:
        lines.append(_line("  threshold: 0.5", f"probability of {_plain(guess.positive)} from which it is predicted"))
    return "\n".join(lines) + "\n"


def _data(guess: Guess) -> list[str]:
    lines = [_line(f"  target: {text(guess.target)}", f"to be predicted ({guess.target_reason})")]
    if guess.task == "regression":
        lines.append(_line("  task: regression", "a number to estimate; classification: a class"))
    else:
        counted = ", ".join(f"{_plain(c.label)} {c.rows:,}" for c in guess.classes[:8])
        lines.append(f"  # classes: {counted}{' …' if len(guess.classes) > 8 else ''}")
    if guess.positive:
        lines.append(
            _line(f"  positive_class: {text(guess.positive)}", f"its probability is scored ({guess.positive_reason})")
        )
    lines.append(_line(f"  missing_markers: {_list(guess.markers)}", "read as missing, besides empty cells"))
    lines.append(_line(f"  sensitive: {_list(guess.sensitive)}", "scores are reported for each of their groups"))
    if guess.ignored:
        lines.append("  ignore:                      # analysed, never used to predict")
        lines += [_line(f"    - {text(c.name)}", c.reason) for c in guess.columns if c.use == "ignored"]
    else:
        lines.append(_line("  ignore: []", "columns never used to predict"))
    number = guess.task == "regression"
    own = [c for c in guess.columns if c.markers or (c.number_format != PLAIN and (number or c.use != "target"))]
    if own:
        lines.append(
            "  columns:                     # what holds for one column only; also its type: integer number category …"
        )
        lines += [f"    {text(c.name)}: {{{', '.join(_override(guess, c))}}}" for c in own]
    else:
        lines.append(_line("  columns: {}", "a type you know better: {zip: {type: category}}"))
    lines += _proposed(guess)
    csv = guess.form.csv
    if guess.form.format == "csv" and (
        csv.delimiter != "auto" or csv.encoding != "utf-8" or csv.columns or csv.duplicate_names != "reject"
    ):
        lines += ["  csv:", f"    delimiter: {text(csv.delimiter)}", f"    encoding: {csv.encoding}"]
        if csv.columns:
            lines.append(_line(f"    columns: {_list(csv.columns)}", "the file has no header line"))
        if csv.duplicate_names != "reject":
            lines.append(_line(f"    duplicate_names: {csv.duplicate_names}", "the header names a column twice"))
    return lines


def _proposed(guess: Guess) -> list[str]:
    """Rules as remarks: a line is switched on by moving it to data.columns, or taking its # away below data.rules."""
    if not guess.rules:
        return []
    lines = [
        "  # Rules that the values suggest, with the rows each would quarantine: docs/how-to/rules.md. For `columns` above:"
    ]
    lines += [f"  #   {_suggested(p)}" for p in guess.rules if p.column]
    orders = [p for p in guess.rules if not p.column]
    if orders:
        lines += ["  # rules:", *(f"  #   - {_suggested(p)}" for p in orders)]
    return lines


def _suggested(proposal: Proposal) -> str:
    return f"{_plain(proposal.line)}  # {proposal.set_aside:.2%}"


def _split(guess: Guess) -> list[str]:
    result = guess.split
    heldout = {
        "time": "the newest fifth",
        "group": "a fifth of the groups",
        "random": "a fifth, the same rows in every run",
    }
    lines = [
        "split:                         # which rows are held out for evaluation: as the model will be used",
        _line(f"  by: {result.by}", f"random | time | group ({result.reason})"),
    ]
    if result.column:
        lines.append(f"  {result.by}: {text(result.column)}")
    return [*lines, _line("  holdout: 0.2", f"{heldout[result.by]}; by time also a span: 30 days")]


def _metrics(guess: Guess) -> list[str]:
    """Of several classes the log loss: a mean of AUCs, one class against the rest, says nothing of how likely each class is."""
    known = "roc_auc | average_precision | log_loss | accuracy | f1"
    if guess.task == "regression":
        return ["training:", _line("  metric: rmse", "what tuning optimises: rmse | mae | mape | r2")]
    if guess.positive or len(guess.classes) <= 2:
        return ["training:", _line("  metric: roc_auc", f"what tuning optimises: {known}")]
    return [
        "training:",
        _line("  metric: log_loss", f"what tuning optimises: {known}"),
        "",
        "promotion:",
        _line("  metric: log_loss", "by which versions are ranked and compared"),
    ]


def _override(guess: Guess, column: ColumnGuess) -> list[str]:
    keys = []
    if column.markers:
        keys.append(f"missing_markers: {_list((*guess.markers, *column.markers))}")
    if column.number_format != PLAIN and (guess.task == "regression" or column.use != "target"):
        keys.append(f'number_format: "{column.number_format}"')
    return keys


def _models(guess: Guess) -> list[str]:
    """An ensemble of trees that gets most of the time, and a model of another kind: linear, or where that takes long a forest."""
    small = guess.rows <= _SMALL
    other = ("logistic_regression", "LogisticRegression")
    if not small:
        other = ("random_forest", "RandomForest")
    elif guess.task == "regression":
        other = ("ridge_regression", "RidgeRegression")
    return [
        "  - name: tree_ensemble",
        "    class: dropforge_training.models.tree_ensemble:TreeEnsemble",
        f"    budget: {{trials: 30, seconds: {40 if small else 60}}}",
        _line("    bag: 8", "members, selected among the trials by what they predict together"),
        f"  - name: {other[0]}",
        f"    class: dropforge_training.models.{other[0]}:{other[1]}",
        f"    budget: {{trials: {8 if small else 2}, seconds: {5 if small else 8}}}",
    ]


def text(value: str) -> str:
    """A YAML scalar that is read back as this very text. JSON's strings are YAML's."""
    if _UNQUOTED.match(value) and value.lower() not in _WORDS:
        return value
    # YAML takes no control characters; JSON escapes some of them only.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(value, ensure_ascii=False))


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(text(v) for v in values)}]"


def _line(setting: str, remark: str) -> str:
    return f"{setting:<{_WIDTH}} # {_plain(remark)}"


def _plain(remark: str) -> str:
    """A remark on one line."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(remark.split()))
