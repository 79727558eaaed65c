"""The OpenAPI document, generated from the dialects' routes and the types of their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from ingrain import __version__
from ingrain.server.plane.examples import BODIES, PARAMETERS
from ingrain.server.plane.route import Dialect, Route
from ingrain.vocabulary import Plane

_REF = "#/components/schemas/{name}"
_STATUS_TEXT = {
    400: "A field is malformed, unknown, missing or has an invalid value.",
    401: "The API key is missing, wrong or no longer valid.",
    403: "The API key lacks the scope or may not use the model, or a browser sent the request for another site's page.",
    404: "The model is not loaded, or does not exist.",
    409: "The model is being tuned; try again when the tuning has ended.",
    408: "The request did not arrive in time.",
    413: "The body, the number of items or a text exceeds its limit.",
    415: "The body has a type or an encoding that the route does not take.",
    422: "A field of the body, or a text, cannot be used.",
    424: "The model cannot do this, or failed on it.",
    429: "The queue is full, the server holds too many bodies, or the API key's limit is reached; try again after "
    "`Retry-After` seconds.",
    500: "The server failed on this request.",
    503: "The engine does not answer or the model is still loading; try again after `Retry-After` seconds.",
    504: "The request was not finished in time.",
    507: "The disk of the model repository is full.",
}
PLANES: dict[Plane, str] = {"inference": "inference plane, port 8686", "model": "model plane, port 8687"}
"""Planes in words, with their default ports."""

_WELCOME = {
    "operationId": "welcome",
    "summary": "Say which plane this is.",
    "description": "On both planes.",
    "tags": ["Ingrain"],
    "responses": {
        "200": {
            "description": "Done.",
            "content": {"application/json": {"schema": {"$ref": _REF.format(name="MessageAnswer")}}},
        },
        **{
            str(status): {
                "description": _STATUS_TEXT[status],
                "content": {"application/json": {"schema": {"$ref": _REF.format(name="ErrorAnswer")}}},
            }
            for status in (401, 403)
        },
    },
}


def openapi_document(dialects: Sequence[Dialect], only: Plane | None = None) -> dict[str, Any]:
    """Return the document as plain data.

    Args:
        dialects: The APIs.
        only: The plane to describe; None for both together.
    """
    routes = [(route, dialect) for dialect in dialects for route in dialect.routes if only in (None, route.plane)]
    bodies = {kind for route, _ in routes for kind in (route.request, route.answer) if kind is not None}
    errors = dict.fromkeys(dialect.error_type for _, dialect in routes)
    kinds: list[type] = [*errors, *sorted(bodies, key=lambda kind: kind.__name__)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    references = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, dialect in routes:
        operations, method = paths.setdefault(dialect.mounts[0] + route.path, {}), route.method.lower()
        if method in operations and route.told_by:
            _add_variant(operations[method], _operation(route, dialect, PLANES[route.plane], references), route)
        else:
            plane = None if method in operations else PLANES[route.plane]  # None: both planes have this route
            operations[method] = _operation(route, dialect, plane, references)
    if "/" in paths:  # a dialect has a route where each plane has a page
        paths["/"]["get"] = _WELCOME
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ingrain",
            "version": __version__,
            "description": "Embeddings of sentence-transformers, OpenCLIP and timm models through Triton. "
            "Request fields are accepted in camelCase and in snake_case; null means not given.",
        },
        "servers": [{"url": "/", "description": f"This server's {PLANES[only]}." if only else "Either plane."}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(dialect) for _, dialect in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Required if the operator has set API keys."}
            },
        },
    }


def openapi_json(dialects: Sequence[Dialect], plane: Plane) -> bytes:
    """Return the document of one plane as JSON."""
    return orjson.dumps(openapi_document(dialects, plane))


def _operation(
    route: Route, dialect: Dialect, plane: str | None, references: dict[type, dict[str, Any]]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"On the {plane}." if plane else "On both planes.",
        "tags": [_tag(dialect)],
        "responses": {"200": {"description": "Done.", **_json(references[route.answer] if route.answer else None)}},
    }
    content = operation["responses"]["200"].setdefault("content", {})
    content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in route.media}
    if route.notes:
        operation["description"] += f" {route.notes}"
    if route.deprecated:
        operation["deprecated"] = True
    if route.scope is not None:
        operation["security"] = [{}, {"key": [route.scope]}]
    if route.request is not None:
        operation["requestBody"] = {"required": not route.takes_no_body, **_json(references[route.request])}
        if (example := route.example or BODIES.get(route.name)) is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = example
    if "{" in route.path:
        variable = route.path.partition("{")[2].partition("}")[0]
        operation["parameters"] = [
            {
                "name": variable,
                "in": "path",
                "required": True,
                "description": "Id of the operation."
                if variable == "id"
                else "Name of a model; its slashes need no escaping.",
                "schema": {"type": "string", "minLength": 1},
                "example": PARAMETERS["id" if variable == "id" else "model"],
            }
        ]
    if route.query:
        operation["parameters"] = operation.get("parameters", []) + [
            {
                "name": parameter.name,
                "in": "query",
                "required": parameter.required,
                "description": parameter.description,
                "schema": {"type": "string"},
                **({"example": PARAMETERS[parameter.name]} if parameter.name in PARAMETERS else {}),
            }
            for parameter in route.query
        ]
    guarded = (401, 403) if route.scope is not None else ()
    with_body = (408, 413, 415, 429) if route.request is not None else ()
    for status in sorted({*route.errors, *guarded, *with_body, 500}):
        # A failing readiness probe answers with its own type, not with an error.
        kind = route.answer if route.name == "ready" and status == 503 else dialect.error_type
        assert kind is not None
        operation["responses"][str(status)] = {"description": _STATUS_TEXT[status], **_json(references[kind])}
    return operation


def _add_variant(operation: dict[str, Any], variant: dict[str, Any], route: Route) -> None:
    """Add the operation of another dialect with the same method and path to an operation."""
    told_by = " or ".join(f"`{name}`" for name in route.told_by)
    operation["description"] += f" With {told_by}: {variant['summary']} {variant['description'].partition('. ')[2]}"
    if "requestBody" in operation:
        _either(operation["requestBody"]["content"], variant["requestBody"]["content"])
    for status, answer in variant["responses"].items():
        mine = operation["responses"].setdefault(status, answer)
        if mine is not answer and "content" in answer:
            _either(mine.setdefault("content", {}), answer["content"])


def _either(content: dict[str, Any], other: dict[str, Any]) -> None:
    """Allow a second JSON schema, and further media types, where ``content`` stands."""
    first, second = content.get("application/json"), other.get("application/json")
    for media in other:
        content.setdefault(media, other[media])
    if first is not None and second is not None and first["schema"] != second["schema"]:
        schemas = [*first["schema"].get("anyOf", (first["schema"],)), second["schema"]]
        content["application/json"] = {**first, "schema": {"anyOf": schemas}}


def _tag(dialect: Dialect) -> str:
    """Return the heading of a dialect's routes."""
    return "Ingrain" if dialect.name == "native" else dialect.name


def _json(schema: dict[str, Any] | None) -> dict[str, Any]:
    return {} if schema is None else {"content": {"application/json": {"schema": schema}}}


def type_name(schema: dict[str, Any]) -> str:
    """Return the type of a field in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " or ".join(map(type_name, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return f"({', '.join(map(type_name, schema['prefixItems']))})"
    if schema.get("type") == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
