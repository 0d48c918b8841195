"""YAML with line numbers, and validation mistakes told in a user's words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel

from dropforge.errors import SettingsError

if TYPE_CHECKING:
    Loader = yaml.SafeLoader
else:  # libyaml reads settings.yaml in a tenth of the time; a build of PyYAML without it has the loader written in Python
    Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]
_MOST_NODES = 50_000  # keys and values with every alias written out: 2,000 columns of ten keys each
_DEEPEST = 30


@dataclass(frozen=True, slots=True)
class Location:
    """Where the text came from, and the line of every key in it."""

    source: str = field(compare=False)  # the same settings are equal wherever they were read from
    lines: Mapping[Path, int] = field(compare=False)

    def line(self, path: Path) -> int:
        """Line of the key, or of the nearest enclosing key that stands in the text."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse_with_lines(raw: bytes, source: str) -> tuple[Any, dict[Path, int]]:
    """The plain value and the 1-based line of every key path. Raises SettingsError on bad YAML or a key given twice."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{source}: not UTF-8 at byte {error.start}", fix="save the file as UTF-8") from None
    try:
        _check_depth(text, source)
        loader = Loader(text)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is None:
            return None, lines
        _check_size(node, source)
        _walk(node, (), lines, source)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SettingsError(
            f"{source}:{line}: not valid YAML: {error.problem}", fix="check indentation, quotes and colons on that line"
        ) from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not valid YAML: {error}", fix="remove control characters") from None


def _check_depth(text: str, source: str) -> None:
    """Raises SettingsError for deep nesting, on which the composer, which calls itself, would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise SettingsError(
                f"{source}:{event.start_mark.line + 1 if event.start_mark else 1}: more than {_DEEPEST} levels of nesting",
                code="settings_too_large",
                fix="is a bracket not closed?",
            )


def _check_size(root: yaml.Node, source: str) -> None:
    """Raises SettingsError for aliases that unfold to far more than anybody writes (a "billion laughs"), or to themselves."""
    pending: list[tuple[yaml.Node, int]] = [(root, 0)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > _MOST_NODES or depth > _DEEPEST:
            raise SettingsError(
                f"{source}:{node.start_mark.line + 1}: the file unfolds to more than {_MOST_NODES:,} values, "
                f"or {_DEEPEST} levels",
                code="settings_too_large",
                fix="write the values out instead of repeating them by aliases (*name)",
            )
        if isinstance(node, yaml.MappingNode):
            pending += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(child, depth + 1) for child in node.value]


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*path, str(key.value))
            line = key.start_mark.line + 1
            if child in lines:
                raise SettingsError(
                    f"{source}:{line}: {dotted(child)} is given twice (first on line {lines[child]})",
                    fix="keep one of the two",
                )
            lines[child] = line
            _walk(value, child, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            child = (*path, index)
            lines[child] = value.start_mark.line + 1
            _walk(value, child, lines, source)


def explain(where: Location, error: Mapping[str, Any], root: type[BaseModel]) -> str:
    """One line for one pydantic error: file:line: key: what; fix: how."""
    path: Path = tuple(error["loc"])
    kind = error["type"]
    context = error.get("ctx", {})
    prefix = f"{where.source}:{where.line(path)}: {dotted(path) or 'the file'}"
    if kind == "extra_forbidden":
        known = _known_keys(root, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        return f"{prefix}: unknown key; fix: {hint}"
    if kind == "missing":
        return f"{prefix}: is required; fix: add `{path[-1]}: …`"
    if kind == "literal_error":
        return f"{prefix}: {error['input']!r} is not allowed; fix: use {context['expected']}"
    if kind == "value_error":
        return f"{prefix}: {context['error']}; fix: correct it"
    if kind in {"model_type", "dict_type"}:
        return f"{prefix}: must be a block of keys, not {_short(error['input'])}; fix: indent its keys below it"
    return f"{prefix}: {error['msg']} (is {_short(error['input'])}); fix: give a value of that kind"


def _known_keys(root: type[BaseModel], path: Path) -> list[str]:
    model: Any = root
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for n, f in model.model_fields.items() if part in {n, f.alias}), None)
        if field is None:
            continue  # a free key of a dict, such as a column name
        model = _model_in(field.annotation) or model
    return [f.alias or n for n, f in model.model_fields.items() if n != "sha256"]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a)) is not None), None)


def dotted(path: Path) -> str:
    """The path as it is written in errors: models.0.search."""
    return ".".join(str(p) for p in path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
