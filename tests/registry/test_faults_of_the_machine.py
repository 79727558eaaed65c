"""A machine that lacks something for a while: the load says so, is tried again, and no stored model is made anew."""

import asyncio
import os
import resource
from contextlib import contextmanager

import pytest

from ingrain.errors import MachineError, MachineLimitError, OutOfMemoryError
from ingrain.registry import loader, reconciler
from ingrain.repository.desired import ModelRef, read_desired
from ingrain.testing.fake_engine import FakeEngine
from planes import FakeExport, make_registry

A = ModelRef(name="org/a")


@contextmanager
def no_more_files():
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open("/dev/null", os.O_RDONLY)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class LackingExport(FakeExport):
    """Lacks memory the first time, as an export whose process says so."""

    async def __call__(self, ref, folder, on_progress) -> None:
        if not self.runs:
            self.runs.append(ref)
            raise OutOfMemoryError("There was too little memory.", retry_after_s=60)
        await super().__call__(ref, folder, on_progress)


async def until_ready(registry):
    async with asyncio.timeout(60):
        while not registry.loaded():
            await asyncio.sleep(0.01)


async def test_a_load_without_a_file_to_open_names_that_and_the_next_one_works(tmp_path):
    engine, export = FakeEngine(), FakeExport()
    registry = make_registry(tmp_path, engine, export)
    await engine.start()
    await registry.start()
    # The pool's threads, and what they import, are there before nothing can be opened.
    await asyncio.gather(*(asyncio.to_thread(registry.repository.entries) for _ in range(8)))
    with no_more_files(), pytest.raises(MachineError) as caught:
        await registry.load(A)
    assert type(caught.value) is MachineLimitError
    assert await registry.load(A)
    await registry.close()
    await engine.close()


async def test_a_stored_model_is_not_made_again_because_its_files_cannot_be_opened_now(tmp_path):
    """It was taken for damaged, exported again for minutes, and put in the place of the good one."""
    registry = make_registry(tmp_path, FakeEngine(), FakeExport())
    await registry.engine.start()
    await registry.start()
    await registry.load(A)
    repository = registry.repository
    (entry,) = repository.entries()
    with no_more_files(), pytest.raises(MachineLimitError):
        repository.find(entry.key)
    assert repository.find(entry.key) == entry
    await registry.close()
    await registry.engine.close()


async def test_a_model_that_should_be_loaded_is_tried_again_after_a_fault_of_the_machine(tmp_path, monkeypatch):
    """With a default precision, too: one night without memory must not leave the model in another for ever."""
    monkeypatch.setattr(loader, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    engine, export = FakeEngine(), LackingExport()
    registry = make_registry(tmp_path, engine, export, default_precision="int8")
    await engine.start()
    await registry.start([A])
    await until_ready(registry)
    assert [ref.precision for ref in export.runs] == ["int8", "int8"]
    assert registry.get("org/a").manifest.precision == "int8"
    assert read_desired(tmp_path) == (A,)
    await registry.close()
    await engine.close()
