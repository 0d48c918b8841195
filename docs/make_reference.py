"""docs/reference/: settings, API, command line, report and messages, written from the types themselves. `make docs`.

A key of settings.yaml is described by the remark on its line in the project's own settings.yaml, or by its field's
description. `undocumented()` lists what has neither; a test keeps that list empty.
"""

from __future__ import annotations

import builtins
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_WORDS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true or false"}
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
_MADE = "<!-- made by `make docs`: change the types or settings.yaml, not this page -->\n"


def pages() -> dict[str, str]:
    """File name under docs/reference/ → text."""
    return {
        "settings.md": settings_page(),
        "api.md": api_page(),
        "cli.md": cli_page(),
        "report.md": report_page(),
        "messages.md": messages_page(),
        "events.md": events_page(),
    }


def undocumented() -> list[str]:
    """Settings, commands and options that nobody describes."""
    bare = [path for path, _, _, words in _settings() if not words]
    for name, command in _commands():
        if not (command.help or "").strip():
            bare.append(f"dropforge {name}")
        bare += [f"dropforge {name} {p.name}" for p in _parameters(command) if not getattr(p, "help", "")]
    return bare


# --- settings ----------------------------------------------------------------------------------------------------------------
def settings_page() -> str:
    from dropforge.config import finding_names, settings

    lines = [
        "# settings.yaml",
        "",
        "Everything a user edits. `dropforge settings check` tells every mistake with its line and its fix; `dropforge apply` puts a",
        "change in force, and nothing is restarted. Only `project`, `data.target` and `models` are required.",
        "",
    ]
    for heading, rows in _grouped():
        lines += [f"## {heading}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {kind} | {default} | {_cell(words)} |" for key, kind, default, words in rows]
        lines.append("")
    names = ", ".join(f"`{n}`" for n in finding_names.names())
    lines += ["## Names of findings", "", f"For `analysis.warn_on` and `analysis.block_on`: {names}.", ""]
    steps = [(n, _model(f.annotation)) for n, f in settings.ProcessingStep.model_fields.items()]
    lines += [
        "## Processing steps",
        "",
        "Each entry of `processing` is exactly one of these; [what they do](../processing.md).",
        "",
    ]
    lines += [
        "| step | keys | meaning |",
        "|---|---|---|",
    ]
    for name, model in steps:
        if model:
            keys = "a list" if name == "drop" else ", ".join(f"`{k}`" for k in model.model_fields)
            lines.append(f"| `{name}` | {keys} | {_cell(_first(model.__doc__))} |")
    return _MADE + "\n".join(lines) + "\n"


def _grouped() -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    groups: dict[str, list[tuple[str, str, str, str]]] = {}
    for path, kind, default, words in _settings():
        top = path.split(".")[0].removesuffix("[]")
        output = "names of findings" if path in {"analysis.warn_on", "analysis.block_on"} else kind
        groups.setdefault(top, []).append((path, output, default, words))
    yield from groups.items()


def _settings() -> Iterator[tuple[str, str, str, str]]:
    """(key path, type, default, meaning) of every key."""
    from dropforge.config import settings, yaml_errors

    raw = (ROOT / "settings.yaml").read_bytes()
    _, lines = yaml_errors.parse_with_lines(raw, "settings.yaml")
    text = raw.decode().splitlines()
    remarks: dict[str, str] = {}
    for path, line in lines.items():
        key = ".".join("[]" if isinstance(p, int) else p for p in path).replace(".[]", "[]")
        _, mark, remark = text[line - 1].partition(" # ")
        if mark and key not in remarks:
            remarks[key] = remark.strip()
    yield from _fields(settings.Settings, "", remarks)


def _fields(model: type[BaseModel], prefix: str, remarks: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if key in {"sha256", "processing"}:
            continue
        inner = _model(field.annotation)
        many = typing.get_origin(field.annotation) in {tuple, list}
        free = typing.get_origin(field.annotation) is dict
        if inner is None:
            words = remarks.get(key) or field.description or ""
            yield key, _kind(field.annotation), _default(field), words
        else:
            suffix = "[]." if many else ".<column>." if free else "."
            yield from _fields(inner, f"{key}{suffix}", remarks)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`" if value else "`[]`"
    if value is None or value == "":
        return "none"
    return f"`{value}`"


# --- API ---------------------------------------------------------------------------------------------------------------------
def api_page() -> str:
    import runpy

    created: str = runpy.run_path(str(ROOT / "docs" / "api_reference.py"))["page"]()
    return _MADE + created


# --- command line ------------------------------------------------------------------------------------------------------------
def cli_page() -> str:
    lines = [
        "# Command line",
        "",
        "Data go to stdout, progress and errors to stderr; `--json` prints one JSON document on stdout, an error included.",
        "Tables become tab-separated lines in a pipe; `NO_COLOR` is respected. `dropforge --install-completion` completes words.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | the result is negative: a rejected upload, a part that is down |",
        "| 2 | a mistake of the caller; the message has its fix |",
        "| 3 | the system does not answer; trying again may help |",
        "| 130 | interrupted |",
        "",
        "| variable | meaning |",
        "|---|---|",
        "| `DROPFORGE_STACK` | speak to this CloudFormation stack on AWS instead of the local cloud |",
        "| `DROPFORGE_HOME` | where the local cloud keeps its state, instead of `.dropforge` in the project |",
        "",
    ]
    for name, command in _commands():
        usage = " ".join(_usage(p) for p in _parameters(command))
        lines += [
            f"## dropforge {name}",
            "",
            f"    dropforge {name} {usage}".rstrip(),
            "",
            _paragraphs(command.help or ""),
            "",
        ]
        rows = [(_usage(p), p) for p in _parameters(command)]
        if rows:
            lines += ["| parameter | default | meaning |", "|---|---|---|"]
            lines += [
                f"| `{_escape(_names(p))}` | {_cli_default(p)} | {_cell(getattr(p, 'help', '') or '')} |"
                for _, p in rows
            ]
            lines.append("")
    return _MADE + "\n".join(lines)


def _commands() -> Iterator[tuple[str, Any]]:
    import typer

    from dropforge_cli.main import app

    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        if getattr(command, "invoke_without_command", False):
            yield name, command
        if getattr(command, "commands", None):
            for sub, inner in command.commands.items():
                yield f"{name} {sub}", inner
        elif not command.hidden:
            yield name, command


def _parameters(command: Any) -> list[Any]:
    return [p for p in command.params if p.name not in {"help", "json"} and not getattr(p, "hidden", False)]


def _names(p: Any) -> str:
    return p.name.upper() if p.param_type_name == "argument" else ", ".join(p.opts)


def _usage(p: Any) -> str:
    if p.param_type_name == "argument":
        return p.name.upper() if p.required else f"[{p.name.upper()}]"
    return f"[{p.opts[0]}]" if getattr(p, "is_flag", False) else f"[{p.opts[0]} …]"


def _cli_default(p: Any) -> str:
    if p.required:
        return "required"
    value = p.default
    return "" if callable(value) or value in {None, "", False} else f"`{value}`"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


# --- report and messages -------------------------------------------------------------------------------------------------------
def report_page() -> str:
    from dropforge.analysis import report_model

    lines = [
        "# The report as JSON",
        "",
        "`GET /reports/{upload_id}` with `accept: application/json`, the artifact `report.json` of the MLflow run, and",
        f"`dropforge analyze A B --json` are this value (schema version {report_model.SCHEMA_VERSION}). The HTML page renders it and",
        "computes nothing.",
        "",
        *_types(report_model.Report),
    ]
    return _MADE + "\n".join(lines)


def messages_page() -> str:
    from dropforge import messages

    kinds = [
        k
        for k in vars(messages).values()
        if isinstance(k, type) and issubclass(k, messages.Message) and k is not messages.Message
    ]
    lines = [
        "# Messages between the stages",
        "",
        "What functions, state machine and training container tell one another: references and names, never data. Each has",
        "`schema_version` 1 and a golden JSON under `tests/contracts/golden/`; unknown fields of a newer producer are ignored.",
        "",
    ]
    for kind in kinds:
        lines += _table(kind)
    return _MADE + "\n".join(lines)


def events_page() -> str:
    import json

    from dropforge import system_events

    lines = [
        "# System events",
        "",
        "What other systems hear of this one: events on the default bus of Amazon EventBridge, with `source` `dropforge.` and the",
        "stack's ProjectName. The functions put them when the thing has happened, at least once and in no promised order; an event",
        "that cannot be put is a warning in the function's log and stops nothing. A rule that matches the end of every upload of",
        "the project `dropforge`:",
        "",
        '    {"source": ["dropforge.dropforge"], "detail-type": ["Upload Ended"]}',
        "",
        "The schemas are JSON Schema 2020-12 of `detail`. Unknown fields may be added; anything else changes `schema_version`.",
        "",
    ]
    for kind in system_events.KINDS:
        lines += [f"## {kind.detail_type}", "", _first(kind.__doc__), "", *_table(kind)[4:]]
        lines += ["```json", json.dumps(system_events.schema(kind), indent=1), "```", ""]
    return _MADE + "\n".join(lines)


def _types(root: type[BaseModel]) -> list[str]:
    """A table for each model that is reachable, outermost first."""
    waiting, seen, lines = [root], {root}, list[str]()
    while waiting:
        model = waiting.pop(0)
        lines += _table(model)
        for field in model.model_fields.values():
            inner = _model(field.annotation)
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return lines


def _table(model: type[BaseModel]) -> list[str]:
    lines = [f"## {model.__name__}", "", _first(model.__doc__), "", "| field | type | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name != "schema_version":
            lines.append(f"| `{name}` | {_kind(field.annotation)} | {_cell(field.description or '')} |")
    return [*lines, ""]


# --- words -----------------------------------------------------------------------------------------------------------------------
def _kind(annotation: Any) -> str:
    """A type in words."""
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            words = _kind(arguments[0])
        case typing.Literal:
            words = " \\| ".join("tab" if a == "\t" else _escape(str(a)) for a in arguments)
        case typing.Union | types.UnionType:
            words = " or ".join("none" if a is type(None) else _kind(a) for a in arguments)
        case builtins.tuple | builtins.list:
            words = f"list of {_kind(arguments[0])}"
        case builtins.dict:
            words = f"map of {_kind(arguments[1])}"
        case _:
            words = "any" if annotation is Any else _WORDS.get(annotation, getattr(annotation, "__name__", "any"))
    return words


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in typing.get_args(annotation) if (m := _model(a)) is not None), None)


def _first(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n")[0].split())


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(text: str) -> str:
    return _escape(" ".join(text.split()))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, content in pages().items():
        (FOLDER / file).write_text(content, encoding="utf-8")
        sys.stderr.write(f"docs/reference/{file}\n")
