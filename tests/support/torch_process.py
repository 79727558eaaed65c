"""Processes with torch for tests, forked from one that has imported it once for all; the test process itself has none.

A module of its own, so that these processes find it by name.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path


def set_environment() -> None:
    """One thread each; no hub is within reach, nor its cache."""
    os.environ |= {
        "INGRAIN_EXPORT_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "HF_HUB_CACHE": f"{os.devnull}/hub",
    }


def prepare() -> None:
    """Load torch with one thread and the source libraries behind their shim."""
    import torch

    from tiny_models import prepare_libraries

    torch.set_num_threads(1)
    prepare_libraries()


def with_torch() -> ForkServerContext:
    """Return where processes start that have imported torch and the source libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch_loaded"])
    # The server of forks gets the import path in no other way.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def torch_pool() -> ProcessPoolExecutor:
    """Return a pool of one process with torch."""
    return ProcessPoolExecutor(1, mp_context=with_torch(), initializer=_start)


def _start() -> None:
    set_environment()
    prepare()
