"""Runs the scripts of examples/ as their reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, *arguments: str, url: str, **models: str) -> list[str]:
    """Run a script against a server, and return the lines that it prints.

    Args:
        name: File name of the script.
        *arguments: Its arguments.
        url: The server's inference plane.
        **models: Names of models, by what the script's variables call them: ``model`` for ``INGRAIN_MODEL``.
    """
    environment = {
        **os.environ,
        "INGRAIN_INFERENCE_URL": url,
        **{f"INGRAIN_{variable.upper()}": model for variable, model in models.items()},
        "HAYSTACK_TELEMETRY_ENABLED": "False",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
