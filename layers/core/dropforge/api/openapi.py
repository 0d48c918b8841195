"""The OpenAPI 3.1 document, generated from the route table and its types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter

from dropforge import __version__
from dropforge.api import prediction_schemas, schemas
from dropforge.api.routes import ROUTES, Route

_REF: Final = "#/components/schemas/{model}"
_SECURITY: Final[dict[str, Any]] = {
    "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The usage plan's key."},
    "aws_sigv4": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "x-amazon-apigateway-authtype": "awsSigv4",
        "description": "AWS Signature Version 4, service execute-api, by a principal that may execute-api:Invoke.",
    },
}
_SCHEME: Final = {"key": "api_key", "iam": "aws_sigv4"}


def document(example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`example`: a row of the active model, to be shown as a request. Made once for each: the types do not change."""
    text: dict[str, Any] = json.loads(_text(json.dumps(example)))
    return text


@lru_cache(maxsize=2)  # of the active model and of the one before
def _text(example_json: str) -> str:
    example = json.loads(example_json)
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    plain, infer = _schema(prediction_schemas.Error, components), _schema(prediction_schemas.InferError, components)
    for route in ROUTES:
        error = infer if route.path.startswith("/v2") else plain
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components, error, example)
    created = {
        "openapi": "3.1.0",
        "info": {
            "title": "Dropforge",
            "version": __version__,
            "description": "Predictions of the active model, and administration. Every error has code, message and fix.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": _SECURITY},
    }
    return json.dumps(created)


def _operation(
    route: Route, components: dict[str, Any], error: dict[str, Any], example: Mapping[str, Any] | None
) -> dict[str, Any]:
    output: dict[str, Any] = {
        "operationId": route.method.lower() + re.sub(r"\W+", "_", route.path.replace("{", "").replace("}", "")),
        "tags": [route.tag],
        "summary": route.summary,
        "security": [{_SCHEME[route.access]: []}],
        "parameters": _parameters(route),
        "responses": _responses(route, components, error),
    }
    if route.details:
        output["description"] = route.details
    if route.request:
        shapes: dict[str, Any] = {
            m: {"schema": _schema(type_of(route.request), components) if m.endswith("json") else {"type": "string"}}
            for m in route.media
        }
        if example and type_of(route.request) is prediction_schemas.PredictRequest:
            shapes["application/json"]["example"] = {"records": [dict(example)]}
        output["requestBody"] = {"required": True, "content": shapes}
    return output


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": n, "in": "path", "required": True, "schema": _path(n)} for n in re.findall(r"{(\w+)}", route.path)
    ]
    in_query = [
        {"name": p.name, "in": "query", "required": False, "schema": dict(p.schema), "description": p.description}
        for p in route.query
    ]
    return [*in_path, *in_query]


def _responses(route: Route, components: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    of_gateway = {"type": "object", "properties": {"message": {"type": "string"}}}
    return {
        "200": {
            "description": "OK",
            "content": {m: {"schema": _body(route, m, components)} for m in route.response_media},
        },
        **{
            str(status): {
                "description": HTTPStatus(status).phrase,
                "content": {"application/json": {"schema": error}},
            }
            for status in sorted({*route.errors, 503})
        },
        "403": {
            "description": "No key, no signature, or no permission: answered by the gateway",
            "content": {"application/json": {"schema": of_gateway}},
        },
    }


def type_of(name: str) -> Any:
    """The type that the route table names, `schemas.ModelInfo`; any JSON object for an empty name."""
    module, _, type_name = name.partition(".")
    return (
        getattr({"schemas": schemas, "prediction_schemas": prediction_schemas}[module], type_name)
        if name
        else dict[str, Any]
    )


def _path(name: str) -> dict[str, Any]:
    return (
        {"type": "string", "minLength": 1, "maxLength": 128} if name == "model" else {"type": "string", "minLength": 1}
    )


def _body(route: Route, media: str, components: dict[str, Any]) -> dict[str, Any]:
    return _schema(type_of(route.response), components) if media.endswith("json") else {"type": "string"}


def _schema(kind: Any, components: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type; what it names is added to `components`."""
    created = TypeAdapter(kind).json_schema(ref_template=_REF, mode="validation")
    components.update(created.pop("$defs", {}))
    title = created.get("title")
    if isinstance(title, str) and created.get("type") == "object" and isinstance(kind, type):
        components[title] = created
        return {"$ref": _REF.format(model=title)}
    return dict(created)
