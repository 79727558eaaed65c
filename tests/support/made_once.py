"""What takes long to make, and which several processes of one test run want: the first makes it, the others wait.

``scripts/run-tests.sh`` names a folder in ``TESTS_MADE_ONCE``, so that both of its parts share what is made.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that nobody may change.

    Args:
        temporary: Of this process; those of one run lie in one folder.
        name: Of the folder.
        make: Fills it.
    """
    if shared := os.environ.get("TESTS_MADE_ONCE"):
        root = Path(shared)
    else:
        root = temporary.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            root = root.parent
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_made = folder.with_suffix(".made")
        if not is_made.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            is_made.touch()
    return folder
