"""docs/reference/api.md: the OpenAPI document as a page. Part of `make docs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """# API

`dropforge outputs --json` prints address and key of the running system; `GET /openapi.json` is this page for programs. Errors are
`{"code", "message", "fix", "request_id"}`: 4xx for the caller's mistakes, never 5xx for input; 503 when a part does not answer.
`key`: the header `x-api-key`. `iam`: a request signed with Signature Version 4 by a principal that may `execute-api:Invoke`;
the command line signs. The fields of a report are [a page of their own](report.md).
"""
_PREDICTING = """## Forms of /predict

| content type | body |
|---|---|
| `application/json` | `{"records": [{"age": 39, …}]}`, or MLflow's `dataframe_records`, `dataframe_split`, `inputs`, `instances` |
| `text/csv` | header line and rows |

Every feature must be named; null means unknown. A value never seen in training, or outside its range, is a warning in the response,
not an error. Limits: `serving.max_rows` rows and `serving.max_body_bytes` bytes.
"""


def page() -> str:
    """Routes, query parameters and types."""
    from dropforge.api import openapi
    from dropforge.api.routes import ROUTES

    document = openapi.document()
    lines = [_HEAD]
    for tag in dict.fromkeys(r.tag for r in ROUTES):
        lines += [
            f"## Routes: {tag}",
            "",
            "| route | access | summary | body | response | errors |",
            "|---|---|---|---|---|---|",
        ]
        for route in (r for r in ROUTES if r.tag == tag):
            output = document["paths"][route.path][route.method.lower()]
            summary = ". ".join(p for p in (route.summary, route.details.rstrip(".")) if p)
            errors = ", ".join(map(str, route.errors))
            lines.append(
                f"| `{route.method} {route.path}` | {route.access} | {summary} | {_content(output.get('requestBody', {}))} "
                f"| {_content(output['responses']['200'])} | {errors} |"
            )
        lines.append("")
    lines += ["## Query parameters", "", "| route | parameter | type | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{r.method} {r.path}` | `{p.name}` | {_kind(p.schema)} | {p.description} |" for r in ROUTES for p in r.query
    ]
    lines += ["", _PREDICTING]
    for name, schema in document["components"]["schemas"].items():
        lines += _type(name, schema)
    return "\n".join(lines)


def _content(content: Mapping[str, Any]) -> str:
    """What a body is, by media type; JSON is not named where it is the only one."""
    result = content.get("content", {})
    kinds = [_kind(v["schema"]) if m.endswith("json") else f"`{m}`" for m, v in result.items()]
    return " or ".join(dict.fromkeys(kinds))


def _type(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {name}", "")
    if schema.get("description"):
        yield from (" ".join(schema["description"].split("\n\n")[0].split()), "")
    fields = schema.get("properties", {})
    if not fields:
        yield from (_kind(schema), "")
        return
    yield from ("| field | type | meaning |", "|---|---|---|")
    required = set(schema.get("required", ()))
    for field, output in fields.items():
        kind = _kind(output)
        if field not in required and "default" in output and output["default"] not in (None, "", [], {}):
            kind += f", `{output['default']}` when left out"
        elif field not in required:
            kind += ", may be left out"
        yield f"| `{field}` | {kind} | {' '.join(output.get('description', '').split())} |"
    yield ""


def _kind(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words; named types are linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return " \\| ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_kind(s) for s in schema[several]))
    match schema.get("type"):
        case "array":
            words = f"list of {_kind(schema.get('items', {}))}"
        case "object":
            inner = schema.get("additionalProperties")
            words = f"map of {_kind(inner)}" if isinstance(inner, dict) else "object"
        case "string":
            words = "text"
        case "number" | "integer" as plain:
            low, high = schema.get("minimum"), schema.get("maximum")
            words = plain + (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")
        case "boolean":
            words = "true or false"
        case "null":
            words = "null"
        case _:
            words = "any"
    return words
