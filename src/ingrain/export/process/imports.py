"""Imports torch and a source library in less time than a plain import takes, and while the model is downloaded."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from ingrain.export.families.protocol import Family
from ingrain.export.families.table import import_library

# Modules of which a library takes functions that no export calls, or calls for few models.
_METRICS = "sklearn.metrics"
_OF_SENTENCE_TRANSFORMERS = (_METRICS, "scipy.optimize", "timm.data", "torchvision.datasets", "torchvision.models")
_STRUCTURE = "transformers.utils.import_utils"


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
        names = _OF_SENTENCE_TRANSFORMERS if family.library == "sentence_transformers" else (_METRICS,)
        with _without_collections(), _on_demand(names), _files_read_once():
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
def _on_demand(names: Iterable[str]) -> Iterator[None]:
    """Have functions of some modules imported by their first call; a module that is imported already stays as it is.

    sentence-transformers and transformers take measures of quality from scikit-learn, a solver from SciPy, names of
    classes from timm, and torchvision imports all its networks. (timm and OpenCLIP need more than functions of some.)
    """
    stand_ins = {name: _stand_in(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
            _forget_in_package(name, stand_in)


def _stand_in(module: str) -> ModuleType:
    """Return a module of functions that import another module, and call its function of the same name."""

    def function(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: getattr(importlib.import_module(module), name)(*args, **options)

    stand_in = ModuleType(module)
    stand_in.__getattr__ = function  # type: ignore[method-assign]
    return stand_in


def _forget_in_package(name: str, stand_in: ModuleType) -> None:
    """Have a package that has imported a stand-in import the module itself when it is asked for."""
    package, _, leaf = name.rpartition(".")
    found = sys.modules.get(package)
    if found is None or vars(found).get(leaf) is not stand_in:  # some packages import what they are asked for
        return
    delattr(found, leaf)
    plain = getattr(found, "__getattr__", None)

    def import_it(asked: str) -> Any:
        if asked == leaf:
            return importlib.import_module(name)
        if plain is not None:
            return plain(asked)
        raise AttributeError(f"module {package!r} has no attribute {asked!r}")

    found.__getattr__ = import_it  # type: ignore[method-assign]


@contextmanager
def _files_read_once() -> Iterator[None]:
    """Have transformers read the source files of its two hundred architectures once; by itself it does so twice."""
    finder = _WithCache()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _WithCache(MetaPathFinder):
    """Finds the module of transformers that reads these files, and adds a cache to its function when it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the specification of that module alone."""
        spec = PathFinder.find_spec(name, path, target) if name == _STRUCTURE else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_with_cache(module: ModuleType) -> None:
            load(module)
            if (read := getattr(module, "create_import_structure_from_path", None)) is not None:
                module.create_import_structure_from_path = functools.cache(read)  # type: ignore[attr-defined]

        spec.loader.exec_module = load_with_cache  # type: ignore[method-assign]
        return spec
