"""Runs a program as the images' entry point does: root first, then another user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENTRYPOINT = Path(__file__).parents[2] / "docker" / "entrypoint.sh"
# Shows this Python at its own path to users who may not enter a folder above it, in a mount namespace of its own.
_REACH = """
set -e
keep=$(mktemp -d)
mount --bind "$1" "$keep"
mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir -p "$1"
mount --bind "$keep" "$1"
shift 2
exec "$@"
"""


def entrypoint_program() -> tuple[str, ...] | None:
    """Return the words before a Python program's arguments that run it by the entry point; None if that cannot be.

    Without root the entry point changes nothing.
    """
    if os.geteuid() != 0:
        return ("sh", str(ENTRYPOINT), sys.executable)
    if shutil.which("setpriv") is None:
        return None
    python = Path(sys.base_prefix).resolve()
    closed = [folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001]
    reach = ("unshare", "--mount", "sh", "-c", _REACH, "sh", str(python), str(closed[0])) if closed else ()
    as_another = (
        "setpriv",
        "--reuid",
        "1001",
        "--regid",
        "1001",
        "--clear-groups",
        sys.executable,
        "-c",
        "import ingrain",
    )
    if subprocess.run([*reach, *as_another], capture_output=True, timeout=60).returncode:
        return None
    return (*reach, "sh", str(ENTRYPOINT), sys.executable)
