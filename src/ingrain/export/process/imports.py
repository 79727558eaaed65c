"""Imports torch and a source library in less time than a plain import takes, and while the model is downloaded."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ingrain.export.families.protocol import Family
from ingrain.export.families.table import import_library

_METRICS = "sklearn.metrics"


class Imports:
    """The import of a family's libraries, in a thread, so that it can begin before its result is needed."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._result: Future[None] | None = None

    def start(self) -> Future[None]:
        """Begin, the first time; return the future of the import."""
        if self._result is None:
            self._result = Future()
            # Not a daemon: a process that ends in the midst of importing compiled libraries may crash.
            threading.Thread(target=_import, args=(self._family, self._result), name="imports").start()
        return self._result

    def wait(self) -> None:
        """Wait until everything is imported.

        Raises:
            ExportUnavailableError: A library is not installed.
        """
        self.start().result()
        prepare_torch()  # the number of threads may be one of the thread that sets it


def prepare_torch() -> None:
    """Set the number of threads and install the torchvision shim before a source library is imported."""
    import torch

    from ingrain.export.process import torchvision_shim
    from ingrain.export.process.threads import export_threads

    threads = export_threads()
    if threads:
        torch.set_num_threads(threads)
    torchvision_shim.install()


def _import(family: Family, imported: Future[None]) -> None:
    try:
        with _without_collections(), _metrics_on_demand():
            prepare_torch()
            import_library(family)
    except BaseException as error:  # handed over to the thread that waits
        imported.set_exception(error)
    else:
        imported.set_result(None)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Import without garbage collection, and exclude what was imported from it.

    The million objects of the libraries stay anyhow. Collections take a quarter of the time of their import, and of a
    small export's. The model is loaded later, so its objects are not excluded.
    """
    gc.disable()
    try:
        yield
        if not gc.get_freeze_count():
            gc.freeze()
    finally:
        gc.enable()


@contextmanager
def _metrics_on_demand() -> Iterator[None]:
    """Have functions of scikit-learn imported by their first call.

    sentence-transformers takes from it a distance of sparse arrays and measures of quality, which no export calls.
    Importing it takes a fifth of the time of all imports.
    """
    if "sklearn" in sys.modules:
        yield
        return
    stand_in = ModuleType(_METRICS)
    stand_in.__getattr__ = _on_demand  # type: ignore[method-assign]
    sys.modules[_METRICS] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(_METRICS) is stand_in:
            del sys.modules[_METRICS]


def _on_demand(name: str) -> Any:
    """Return a function of scikit-learn's metrics that is not imported yet."""
    if name.startswith("__"):
        raise AttributeError(name)

    def call(*args: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(_METRICS), name)(*args, **options)

    return call
