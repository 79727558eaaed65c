"""The OpenAPI document, generated from the table of routes and the types of bodies."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from ingrain import __version__
from ingrain.api import openai, types
from ingrain.api.routes import ROUTES, RouteInfo
from ingrain.server.plane.answers import VECTOR_MEDIA

_REF = "#/components/schemas/{name}"
_STATUS_TEXT = {
    400: "A field is malformed, unknown, missing or has a value that cannot be used.",
    401: "The API key is missing or wrong.",
    403: "The API key lacks the scope.",
    404: "The model is not loaded, or does not exist.",
    409: "The model is being tuned; that has to end first.",
    413: "The body, the number of items or a text is over its limit.",
    429: "Too much waits already; try again after `Retry-After` seconds.",
    500: "The server is at fault.",
    503: "The engine is away or the model is still loading; try again after `Retry-After` seconds.",
    504: "The deadline passed.",
}
_PLANES = {"inference": "inference plane, port 8686", "model": "model plane, port 8687", None: "both planes"}


def openapi_document() -> dict[str, Any]:
    """Return the document as plain data."""
    bodies = {route.request for route in ROUTES if route.request} | {route.answer for route in ROUTES if route.answer}
    kinds = [types.ErrorAnswer, openai.OpenAIErrorAnswer, *sorted(bodies, key=lambda kind: kind.__name__)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    references = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ingrain",
            "version": __version__,
            "description": "Embeddings of sentence-transformers, OpenCLIP and timm models through Triton. "
            "Request fields are taken in camelCase and in snake_case; null means not given.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Needed once the operator has set keys."}
            },
        },
    }


def openapi_json() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(openapi_document())


def _operation(route: RouteInfo, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"On the {_PLANES[route.plane]}." if route.plane else "On both planes.",
        "tags": [_PLANES[route.plane]],
        "responses": {"200": {"description": "Done.", **_json(references[route.answer] if route.answer else None)}},
    }
    if route.answer is types.EmbeddingsAnswer:
        content = operation["responses"]["200"]["content"]
        content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in VECTOR_MEDIA}
        operation["description"] += (
            " Answers the numbers as they are (application/octet-stream, with X-Embeddings-Shape and -Dtype) or as a"
            " file for numpy.load (application/x-npy) where `Accept` prefers that. X-Truncated-Texts tells how many"
            " texts were cut, if any was."
        )
    if route.answer is openai.OpenAIEmbeddingsAnswer:
        operation["description"] += (
            " X-Token-Ids tells what token ids were taken for, if the input held any, and X-Truncated-Texts how many"
            " texts were cut, if any was."
        )
    if route.first_generation:
        operation["deprecated"] = True
    if route.scope is not None:
        operation["security"] = [{}, {"key": [route.scope]}]
    if route.request is not None:
        operation["requestBody"] = {"required": True, **_json(references[route.request])}
    if "{" in route.path:
        operation["parameters"] = [
            {
                "name": route.path.partition("{")[2].removesuffix("}"),
                "in": "path",
                "required": True,
                "description": "Name of a model; slashes in it need no escaping.",
                "schema": {"type": "string"},
            }
        ]
    if route.query:
        operation["parameters"] = [
            {
                "name": parameter.name,
                "in": "query",
                "required": parameter.required,
                "description": parameter.description,
                "schema": {"type": "string"},
            }
            for parameter in route.query
        ]
    guarded = (401, 403) if route.scope is not None else ()
    for status in sorted({*route.errors, *guarded, 500}):
        # A readiness probe that fails answers its own shape, not an error.
        errors = openai.OpenAIErrorAnswer if route.speaks_openai else types.ErrorAnswer
        kind = route.answer if route.name == "ready" and status == 503 else errors
        assert kind is not None
        operation["responses"][str(status)] = {"description": _STATUS_TEXT[status], **_json(references[kind])}
    return operation


def _json(schema: dict[str, Any] | None) -> dict[str, Any]:
    return {} if schema is None else {"content": {"application/json": {"schema": schema}}}
