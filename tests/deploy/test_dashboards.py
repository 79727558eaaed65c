"""Dashboards and alerts as files: whole, and alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from monitoring_files import DASHBOARDS, alerts


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    """Every panel says what it shows, asks the chosen data source, and uses only variables that the dashboard has."""
    board = json.loads(path.read_text("utf-8"))
    assert board["uid"] == f"ingrain-{path.stem}"
    names = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= names


def test_every_alert_says_what_to_do():
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}


def test_alerts_fire_when_they_should_and_only_then():
    """By promtool's unit tests of rules, in rules-tests.yaml."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    tests = Path(__file__).with_name("rules-tests.yaml")
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
