"""Generate pages of ``docs/`` from the code: the settings and the HTTP interface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingrain.cli.serve import OTHER_FLAGS
from ingrain.server.dialects.table import DIALECTS
from ingrain.server.plane.openapi import openapi_document, type_name
from ingrain.settings import describe

_GENERATED = "<!-- Written by `make docs`; change the code instead. -->\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every generated page into the folder given."""
    parser = argparse.ArgumentParser(prog="python -m ingrain.cli.docs", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    folder: Path = parser.parse_args(arguments).folder
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")
        print(f"wrote {folder / name}")


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    return {"settings.md": settings_page(), "api.md": api_page()}


def settings_page() -> str:
    """Return the table of settings."""
    rows = []
    for info in describe():
        default = f"`{info.shown_default}`" if info.shown_default else ""
        choices = f" One of {', '.join(f'`{choice}`' for choice in info.choices)}." if info.choices else ""
        flags = ", ".join(f"`{flag}`" for flag in (info.flag, *OTHER_FLAGS.get(info.field, ())))
        rows.append(f"| `{info.env}` | {flags} | {default} | {info.description}{choices} |")
    head = "| variable | flag of `ingrain serve` | default | meaning |\n| --- | --- | --- | --- |\n"
    return (
        f"{_GENERATED}# Settings\n\nA flag wins over the variable, the variable over the default; an empty variable is "
        f"one that is not given.\n\n{head}" + "\n".join(rows) + "\n"
    )


def api_page() -> str:
    """Return the HTTP interface, one section a route."""
    document = openapi_document(DIALECTS)
    schemas = document["components"]["schemas"]
    parts = [f"{_GENERATED}# HTTP interface\n\n{document['info']['description']}\n"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_section(method, path, operation, schemas))
    parts.append(_errors(document))
    return "\n".join(parts)


def _section(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    old = " First generation, for older clients." if operation.get("deprecated") else ""
    lines = [f"## {method.upper()} {path}", f"{operation['summary']} {operation['description']}{old}\n"]
    rows = [
        (f"{parameter['name']} ({parameter['in']})", "string", parameter["required"], parameter["description"])
        for parameter in operation.get("parameters", [])
    ]
    # Of several dialects with the same path each has a body of its own.
    bodies = _shapes(operation["requestBody"], schemas) if "requestBody" in operation else [{}]
    for body in bodies:
        required = body.get("required", [])
        fields = [
            (name, type_name(field), name in required, field.get("description", ""))
            for name, field in body.get("properties", {}).items()
        ]
        if len(bodies) > 1:
            lines.append(f"\nA body of type {body['title']}:\n")
        if rows or fields:
            lines.append("| field | type | | meaning |\n| --- | --- | --- | --- |")
            lines += [
                f"| `{name}` | {kind} | {'required' if needed else ''} | {meaning} |"
                for name, kind, needed, meaning in [*rows, *fields]
            ]
    answers = " or ".join(map(_described, _shapes(operation["responses"]["200"], schemas))) or "no JSON"
    statuses = ", ".join(status for status in sorted(operation["responses"]) if status != "200")
    lines.append(f"\nAnswers {answers}. Errors: {statuses}.\n")
    return "\n".join(lines)


def _described(schema: dict[str, Any]) -> str:
    """Return an answer in words: its fields, or its type if it is no object."""
    if "properties" not in schema:
        return type_name(schema)
    return ", ".join(f"`{name}` ({type_name(field)})" for name, field in schema["properties"].items())


def _errors(document: dict[str, Any]) -> str:
    meanings: dict[str, str] = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                shapes = _shapes(response, document["components"]["schemas"])
                if any(shape.get("title") == "ErrorAnswer" for shape in shapes):
                    meanings[status] = response["description"]
    rows = "\n".join(f"| {status} | {meanings[status]} |" for status in sorted(meanings))
    return (
        "## Errors\n\nEvery error has the body "
        '`{"message": …, "error": {"code", "message", "param", "requestId", …}}`; `param` is the path of the field at '
        'fault; below `/v1/` it is OpenAI\'s, `{"error": {"message", "type", "param", "code", …}}`. '
        "The other dialects have their own, on their pages. "
        "`X-Request-Id` is taken from the request, or made up, and is on every answer.\n\n"
        f"| status | when |\n| --- | --- |\n{rows}\n"
    )


def _shapes(holder: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of a body, several if dialects share the path; none if it is not JSON."""
    schema = holder["content"].get("application/json", {}).get("schema")
    if schema is None:
        return []
    return [schemas[one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one for one in schema.get("anyOf", (schema,))]


if __name__ == "__main__":
    main()
