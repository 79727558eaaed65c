"""The benchmark of the front end brings an engine of its own, which must keep step with the real ones."""

import inspect
import sys
from pathlib import Path

import pytest

from ingrain.engine.protocol import Engine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
METHODS = [name for name, member in inspect.getmembers(Engine, inspect.isfunction) if not name.startswith("_")]


@pytest.fixture
def null_engine(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import null_server

    yield null_server.NullEngine
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(BENCHMARKS):
            del sys.modules[name]


@pytest.mark.parametrize("name", METHODS)
def test_null_engine_takes_what_every_engine_takes(null_engine, name: str) -> None:
    wanted = inspect.signature(getattr(Engine, name)).parameters.values()
    given = inspect.signature(getattr(null_engine, name)).parameters.values()
    assert [(one.name, one.kind, one.default) for one in given] == [(one.name, one.kind, one.default) for one in wanted]
