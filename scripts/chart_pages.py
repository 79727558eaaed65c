"""Write what the Helm chart repeats: the settings in its schema, and the table of values in docs/kubernetes.md.

The rest of the schema is written by hand. ``make docs`` runs this; a test holds that nothing is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ingrain.settings import SettingInfo, Settings, describe

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy" / "helm" / "ingrain"
SCHEMA = CHART / "values.schema.json"
PAGE = ROOT / "docs" / "kubernetes.md"
BEGIN, END = "<!-- Values: written by `make docs`. -->\n", "<!-- End of the values. -->\n"

OF_THE_CHART = {
    "INGRAIN_INFERENCE_PORT": "8686",
    "INGRAIN_MODEL_PORT": "8687",
    "INGRAIN_REPOSITORY": "repository",
    "INGRAIN_MODELS": "models",
    "INGRAIN_API_KEYS": "apiKeys",
    "INGRAIN_API_KEYS_FILE": "apiKeys",
    "INGRAIN_TLS_CERT_FILE": "tls",
    "INGRAIN_TLS_KEY_FILE": "tls",
    "HF_TOKEN": "hub.existingSecret",
    "HF_HUB_OFFLINE": "hub.enabled",
}
"""Settings that other values of the chart give: they are fixed inside the pod, secret, or more than a variable."""


def settings_schema() -> dict[str, Any]:
    """Return the schema of the value ``settings``: one property for each setting that it may have."""
    declared = zip(describe(), msgspec.structs.fields(Settings), strict=True)
    properties = {info.env: _schema_of(info, field.type) for info, field in declared if info.env not in OF_THE_CHART}
    return {
        "type": "object",
        "description": "Settings of the server by their variable (docs/settings.md).",
        "additionalProperties": False,
        "properties": properties,
    }


def _schema_of(info: SettingInfo, kind_of_field: Any) -> dict[str, Any]:
    declared = msgspec.json.schema(kind_of_field, schema_hook=lambda _: {"type": "string"})
    kind = next((one for one in declared.get("anyOf", ()) if one.get("type") != "null"), declared)
    given = {key: kind[key] for key in ("minimum", "maximum", "exclusiveMinimum") if key in kind}
    if info.switch:
        given["type"] = ["boolean", "string"]
    elif kind.get("type") in ("integer", "number", "boolean"):
        given["type"] = kind["type"]
    else:
        given["type"] = "string"
    if info.choices and not info.shown:
        given["enum"] = list(info.choices)
    return {**given, "description": info.description}


def schema_text() -> str:
    """Return the whole schema, with the settings as they are now."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    schema["properties"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def table() -> str:
    """Return the table of values: each one's default and meaning."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    rows = [
        f"| `{name}` | {_shown(default)} | {description} |" for name, default, description in _leaves(schema, values)
    ]
    return "| value | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _leaves(schema: dict[str, Any], values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, one in schema["properties"].items():
        if name == "global":
            continue
        path = f"{above}{name}"
        if "properties" in one and path != "settings" and not path.endswith("resources"):
            yield from _leaves(one, values[name], f"{path}.")
        else:
            yield path, values[name], one["description"].replace("|", "\\|")


def _shown(default: Any) -> str:
    return f"`{json.dumps(default, ensure_ascii=False)}`" if default not in ("", [], {}) else ""


def page_text() -> str:
    """Return docs/kubernetes.md with the table as it is now."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Write both files."""
    SCHEMA.write_text(schema_text(), "utf-8")
    PAGE.write_text(page_text(), "utf-8")
    print(f"wrote {SCHEMA.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
