"""The API documentation as one HTML page without external resources."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from ingrain.server.plane.openapi import openapi_document, type_name
from ingrain.server.plane.route import Dialect
from ingrain.vocabulary import Plane

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h1{margin-bottom:.2rem}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}
section{margin:1.5rem 0}h3{font:600 1rem ui-monospace,monospace;margin:0}
.method{display:inline-block;min-width:4.5rem;color:#0550ae}.old{color:#8c6d00;font-size:.85rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;margin:.5rem 0}
td,th{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;vertical-align:top}
code{font-family:ui-monospace,monospace;font-size:.92em}
"""


def docs_page(dialects: Sequence[Dialect], plane: Plane) -> bytes:
    """Render every operation of a plane's OpenAPI document as HTML."""
    document = openapi_document(dialects, plane)
    schemas = document["components"]["schemas"]
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, schemas))
    body = "".join(f"<h2>{html.escape(tag.capitalize())}</h2>{''.join(parts)}" for tag, parts in sections.items())
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Ingrain API</title><style>{_STYLE}</style>'
        f"<h1>Ingrain API {info['version']}</h1><p>{html.escape(info['description'])} "
        f'The same as data: <a href="/openapi.json">openapi.json</a>.</p>{body}</html>'
    ).encode()


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [
        f'<section><h3><span class="method">{method.upper()}</span>{html.escape(path)}</h3>',
        '<span class="old">first generation, for older clients</span>' if operation.get("deprecated") else "",
        f"<p>{html.escape(operation['summary'])}</p>",
    ]
    for parameter in operation.get("parameters", []):
        name = f"?{parameter['name']}=" if parameter["in"] == "query" else f"{{{parameter['name']}}}"
        parts.append(f"<p><code>{name}</code> {html.escape(parameter['description'])}</p>")
    if "requestBody" in operation:
        parts.append(_fields(operation["requestBody"], schemas))
    answers = (f"<b>{status}</b> {html.escape(a['description'])}" for status, a in operation["responses"].items())
    parts.append(f"<details><summary>Answers</summary><p>{'<br>'.join(answers)}</p>")
    parts.append(_fields(operation["responses"]["200"], schemas))
    parts.append("</details></section>")
    return "".join(parts)


def _fields(holder: dict[str, Any], schemas: dict[str, Any]) -> str:
    content = holder["content"].get("application/json")
    if content is None:
        return "<p>No JSON.</p>"
    schema = content["schema"]
    return " or ".join(_table(one, schemas) for one in schema.get("anyOf", (schema,)))


def _table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "$ref" not in schema:
        return f"<p>{html.escape(type_name(schema))}</p>"
    schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(type_name(field)).replace('`', '')}</td>"
        f"<td>{'required' if name in schema.get('required', []) else 'optional'}</td>"
        f"<td>{html.escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>Field</th><th>Type</th><th></th><th>Meaning</th></tr>{rows}</table>"
