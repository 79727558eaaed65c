"""What tests of several stations share: a server in this process, on the fake engine."""

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import what holds no test of the part that runs alone: that would take longer than many of its tests."""
    if config.getoption("--part") != "alone" or not collection_path.name.startswith("test_"):
        return None
    return True if "mark.alone" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other part, and put modules with many slow tests first.

    Of two processes none is then left with a long module at the end.
    """
    part = config.getoption("--part")
    if part is not None:
        others = [item for item in items if (item.get_closest_marker("alone") is None) == (part == "alone")]
        config.hook.pytest_deselected(items=others)
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]
    slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -slow[item.path])  # stable: within a module nothing moves


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """End the run with its report, which names the test, when a test takes its process along.

    xdist's distribution by files would wait for ever for the other tests of that process.
    """
    if error is not None:
        node.config.pluginmanager.get_plugin("dsession").shouldstop = f"a test process died ({error})"


@pytest.fixture(scope="session", autouse=True)
def one_authority() -> Iterator[dict[str, str]]:
    """Have clients and servers trust one public authority instead of 140, as no test leaves the loopback.

    Each client of httpx reads them when it is made, even for http, and ``httpx.get`` makes one for each call.
    Yields the environment from before, for what does leave it.
    """
    authorities = Path(certifi.where()).read_text(encoding="utf-8")
    first, end, _ = authorities.partition("-----END CERTIFICATE-----\n")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(first + end)
        file.flush()
        Path(file.name).chmod(0o644)  # some tests start servers as another user
        patch.setenv("SSL_CERT_FILE", file.name)
        yield before


@pytest.fixture(autouse=True)
def no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what a test says of the CPU hold on a machine with a GPU, too."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(cuda, "gpu_names", lambda: ())
