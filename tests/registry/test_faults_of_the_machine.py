"""A machine that lacks something for a while: the load says so, is tried again, and no stored model is made anew."""

import asyncio
import os
import resource
from contextlib import contextmanager

import pytest
from registry_server import RegistryServer

from ingrain.errors import MachineError, MachineLimitError, OutOfMemoryError
from ingrain.registry import loader, reconciler
from ingrain.repository.models_to_load import ModelRef, read_desired
from planes import FakeExport

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


async def test_a_load_without_a_file_to_open_names_that_and_the_next_one_works(tmp_path):
    async with RegistryServer(tmp_path) as server:
        # The pool's threads, and what they import, are there before nothing can be opened.
        await asyncio.gather(*(asyncio.to_thread(server.registry.repository.entries) for _ in range(8)))
        with no_more_files(), pytest.raises(MachineError) as caught:
            await server.registry.load(A)
        assert type(caught.value) is MachineLimitError
        assert await server.registry.load(A)


async def test_a_stored_model_is_not_made_again_because_its_files_cannot_be_opened_now(tmp_path):
    """It was taken for damaged, exported again for minutes, and put in the place of the good one."""
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(A)
        repository = server.registry.repository
        (entry,) = repository.entries()
        with no_more_files(), pytest.raises(MachineLimitError):
            repository.find(entry.key)
        assert repository.find(entry.key) == entry


async def test_a_model_that_should_be_loaded_is_tried_again_after_a_fault_of_the_machine(tmp_path, monkeypatch):
    """With a default precision, too: one night without memory must not leave the model in another for ever."""
    monkeypatch.setattr(loader, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    async with RegistryServer(tmp_path, [A], export=LackingExport(), default_precision="int8") as server:
        await server.until_ready("org/a")
        assert [ref.precision for ref in server.export.runs] == ["int8", "int8"]
        assert server.registry.get("org/a").manifest.precision == "int8"
        assert read_desired(tmp_path) == (A,)
