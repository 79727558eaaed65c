"""The chart's files against the code and against each other; needs no Helm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import chart_pages
import jsonschema
import pytest
import yaml

import ingrain
from ingrain.settings import describe

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "ingrain"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


def merged(below: Any, above: Any) -> Any:
    """Return values above others, as Helm merges them."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def test_the_chart_has_the_version_of_the_server():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == ingrain.__version__


def test_the_schema_has_the_settings_of_today():
    assert (CHART / "values.schema.json").read_text("utf-8") == chart_pages.schema_text(), "run `make docs`"


def test_the_table_of_values_is_that_of_the_schema():
    assert chart_pages.PAGE.read_text("utf-8") == chart_pages.page_text(), "run `make docs`"


def test_every_setting_can_be_given_and_no_secret_is_a_plain_value():
    """Each is in `settings` or has a value of its own."""
    given = set(SCHEMA["properties"]["settings"]["properties"])
    assert given | set(chart_pages.OF_THE_CHART) == {setting.env for setting in describe()}
    assert given.isdisjoint(chart_pages.OF_THE_CHART)
    assert given.isdisjoint(setting.env for setting in describe() if setting.secret)


def test_the_schema_describes_every_value_and_admits_no_other():
    """A value without a description, or an object of ours that admits anything, is an omission."""

    def look(schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        for name, one in schema["properties"].items():
            assert one["description"], f"{path}.{name}"
            if "properties" in one:
                look(one, f"{path}.{name}")

    look(SCHEMA, "")
    tops = set(SCHEMA["properties"]) - {"global"}
    assert tops == set(VALUES)


@pytest.mark.parametrize("path", [CHART / "values.yaml", *EXAMPLES], ids=lambda path: path.stem)
def test_values_fit_the_schema(path):
    jsonschema.validate(merged(VALUES, yaml.safe_load(path.read_text("utf-8"))), SCHEMA)


def test_triton_is_the_one_of_docker_compose():
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    image = VALUES["triton"]["image"]
    assert f"{image['repository']}:${{TRITON_TAG:-{image['tag']}}}" in compose


def test_every_value_is_used():
    """A value that no template reads would promise what is not done."""
    templates = "\n".join(path.read_text("utf-8") for path in sorted((CHART / "templates").rglob("*.*")))
    unused = []
    for name, one in SCHEMA["properties"].items():
        leaves = one.get("properties", {}) if name not in ("settings", "resources", "global") else {}
        for leaf in leaves or [""]:
            path = f"{name}.{leaf}".rstrip(".")
            # Placement of the two kinds of pods, and images, are passed on as a whole.
            used = re.search(rf"\.{re.escape(path)}\b|\.{leaf or name}\b|\$(auto|policy)\.{leaf or name}\b", templates)
            if name != "global" and used is None:
                unused.append(path)
    assert unused == []
