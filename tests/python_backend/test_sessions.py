"""Threads that compute with zeros in the place of denormal numbers."""

import platform
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ingrain.python_backend.sessions import flush_denormals


def half_of_a_denormal() -> float:
    return float((np.full(8, 1e-39, np.float32) * np.float32(0.5)).max())


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="nothing is changed elsewhere")
def test_denormals_are_flushed_in_the_threads_that_ask_for_it_and_in_no_others() -> None:
    with ThreadPoolExecutor(1, initializer=flush_denormals) as flushing, ThreadPoolExecutor(1) as plain:
        assert flushing.submit(half_of_a_denormal).result() == 0
        assert plain.submit(half_of_a_denormal).result() > 0
