"""What tests of several stations share: a server in this process, on the fake engine."""

import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from ingrain.python_backend import cuda

sys.path.insert(0, str(Path(__file__).parent / "support"))

# A busy machine is no fault of a property.
settings.register_profile("ingrain", deadline=None)
settings.load_profile("ingrain")


# A shell has its background jobs ignore SIGINT, and a process passes that on to all that it starts: a server or a
# command under test would then not be stopped by it, however it behaves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be split in two: the tests that may share the machine, and those marked ``alone``."""
    parser.addoption("--part", choices=("shared", "alone"), help="run only the tests that are (not) marked `alone`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other part, and put modules with many slow tests first.

    Of two processes none is then left with a long module at the end.
    """
    part = config.getoption("--part")
    if part is not None:
        others = [item for item in items if (item.get_closest_marker("alone") is None) == (part == "alone")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -slow[item.path])  # stable: within a module nothing moves


@pytest.fixture(autouse=True)
def no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what a test says of the CPU hold on a machine with a GPU, too."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(cuda, "gpu_names", lambda: ())
