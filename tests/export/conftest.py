"""One process with torch for all tests that export, so that the test process itself never imports it."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
from torch_process import prepare


@pytest.fixture(scope="session")
def exporting() -> Iterator[ProcessPoolExecutor]:
    """Run functions where torch is, and hand back what they return or raise."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare) as pool:
        yield pool
