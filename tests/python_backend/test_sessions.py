"""Threads that compute with zeros in the place of denormal numbers."""

import platform
import subprocess
import sys

import pytest

# A process of its own: a thread begins with the mode of the one that starts it, and ONNX Runtime sets it, too.
PROGRAM = """
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ingrain.python_backend.sessions import flush_denormals


def half_of_a_denormal():
    return float((np.full(8, 1e-39, np.float32) * np.float32(0.5)).max())


with ThreadPoolExecutor(1, initializer=flush_denormals) as flushing, ThreadPoolExecutor(1) as plain:
    print(flushing.submit(half_of_a_denormal).result() == 0, plain.submit(half_of_a_denormal).result() > 0)
"""


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="nothing is changed elsewhere")
def test_denormals_are_flushed_in_the_threads_that_ask_for_it_and_in_no_others() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
