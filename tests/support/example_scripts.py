"""Runs the scripts of examples/ as their reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, *arguments: str, url: str, model: str) -> list[str]:
    """Run a script against a server, and return the lines that it prints."""
    environment = {
        **os.environ,
        "INGRAIN_INFERENCE_URL": url,
        "INGRAIN_MODEL": model,
        "HAYSTACK_TELEMETRY_ENABLED": "False",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
