"""The OpenAPI document as one page: no script, no foreign file, readable under the strictest content security policy.

By hand: Jinja2 is in the analysis layer, which control does without.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}"
    "h1{margin-bottom:.2rem}h2{margin-top:2rem;text-transform:capitalize}details{border:1px solid #d5dbe3;border-radius:6px;"
    "margin:.5rem 0;padding:.5rem .8rem}summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace}"
    "pre{overflow:auto;background:#f4f6f9;padding:.7rem;border-radius:6px}b.m{display:inline-block;min-width:3.4rem}"
    ".get{color:#1769aa}.post{color:#2e7d32}.s{color:#5b6675}table{border-collapse:collapse}td,th{text-align:left;"
    "padding:.15rem .8rem .15rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{color:#dfe5ec;background:#14181d}pre{background:#1e242b}details{border-color:#38424d}"
    ".get{color:#6cb6f0}.post{color:#7fce86}.s{color:#9aa6b4}}"
)
POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
_NEEDS: Final = {"api_key": "header x-api-key", "aws_sigv4": "signed request (AWS Signature Version 4)"}


def render(document: dict[str, Any]) -> str:
    """HTML of a document made by openapi.document."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(created)}" for tag, created in groups.items())
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>'
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
        f'<h1>{escape(info["title"])} API</h1><p class="s">version {escape(info["version"])}, OpenAPI {document["openapi"]}</p>'
        f"<p>{escape(info['description'])}</p>{body}<h2>types</h2>{schemas}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    needs = " or ".join(_NEEDS[name] for one in operation["security"] for name in one)
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td><td><code>{escape(_short(p['schema']))}</code></td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation["parameters"]
    )
    answers = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td><td>{_contents(answer.get('content', {}))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    requested = operation.get("requestBody", {}).get("content", {})
    return (
        f'<details><summary><b class="m {method}">{method.upper()}</b> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>"
        f'<p class="s">{escape(needs)}</p>'
        + (f"<p>{escape(operation['description'])}</p>" if "description" in operation else "")
        + (f"<table>{rows}</table>" if rows else "")
        + (f"<p>Body: {_contents(requested)}</p>" if requested else "")
        + f"<table>{answers}</table></details>"
    )


def _contents(contents: dict[str, Any]) -> str:
    return "; ".join(f"<code>{escape(media)}</code> {_named(c['schema'])}" for media, c in contents.items())


def _named(schema: dict[str, Any]) -> str:
    names = [r["$ref"].rpartition("/")[2] for r in [schema, *schema.get("anyOf", ())] if "$ref" in r]
    return " or ".join(f'<a href="#{escape(n)}">{escape(n)}</a>' for n in names)


def _short(schema: dict[str, Any]) -> str:
    return " ".join(str(v) for k, v in schema.items() if k in {"type", "pattern"})


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
