"""The short form of `make chaos`: each set-up survives its most telling faults, and no client gets anything wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
FEWER = {"tritons": ("--front-ends=2",)}


@pytest.mark.parametrize("set_up", ["embedded", "workers", "external", "tritons"])
def test_nothing_is_wrong_or_lost_while_parts_are_killed_cut_off_and_damaged(set_up, tmp_path):
    # Outages are measured by `make chaos` on a quiet machine; here their limits only mean "not for ever".
    limits = ("--limit=30", "--worker-limit=15")
    path = os.pathsep.join((str(ROOT / "tools"), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")))
    run = subprocess.run(
        [sys.executable, "-m", "chaos", "--short", f"--set-up={set_up}", "--seed=1", *limits, *FEWER.get(set_up, ())],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
