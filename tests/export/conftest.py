"""One process with torch for all tests that export, so that the test process itself never imports it."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest


def _prepare() -> None:
    os.environ |= {"INGRAIN_EXPORT_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    from ingrain.testing.tiny_models import prepare_libraries

    torch.set_num_threads(1)
    prepare_libraries()


@pytest.fixture(scope="session")
def exporting() -> Iterator[ProcessPoolExecutor]:
    """Run functions where torch is, and hand back what they return or raise."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_prepare) as pool:
        yield pool
