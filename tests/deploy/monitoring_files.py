"""Reads the dashboards and the alerts."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "helm" / "ingrain" / "dashboards").glob("*.json"))
RULES = DEPLOY / "helm" / "ingrain" / "rules.yaml"


def expressions(dashboard: Path) -> list[tuple[str, str]]:
    """Return the title of each panel with each of its expressions."""
    panels = json.loads(dashboard.read_text("utf-8"))["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def alerts() -> list[dict[str, object]]:
    """Return all rules."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
