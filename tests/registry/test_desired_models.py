"""The shared list of models: what changed in it, and what could not be read."""

import os

import pytest

from ingrain.errors import DamagedEntryError
from ingrain.registry.models_to_load import DesiredModels
from ingrain.repository.models_to_load import ModelRef, write_desired
from ingrain.repository.store import Repository


@pytest.fixture
def listed(tmp_path):
    """A list of one model, its file, and a reader that has not read it yet."""
    write_desired(tmp_path, (ModelRef(name="org/a"),))
    return DesiredModels(Repository(tmp_path)), tmp_path / "desired.json"


async def test_a_list_has_changed_until_it_is_read_and_when_another_process_writes_it(listed):
    desired, path = listed
    assert await desired.has_changed()
    assert [ref.name for ref in (await desired.read()).values()] == ["org/a"]
    assert not await desired.has_changed()
    write_desired(path.parent, (ModelRef(name="org/b"),))
    assert await desired.has_changed()
    assert [ref.name for ref in (await desired.read()).values()] == ["org/b"]


async def test_a_list_that_could_not_be_read_is_read_again_though_nobody_writes_it(listed):
    """As where a disk fails and recovers: the file is the same to the last digit of its time, only its content came."""
    desired, path = listed
    content, seen = path.read_bytes(), path.stat()
    for broken in (b"?" * len(content), content):
        path.write_bytes(broken)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        assert (path.stat().st_ino, path.stat().st_size) == (seen.st_ino, seen.st_size)
        assert await desired.has_changed()
        if broken != content:
            with pytest.raises(DamagedEntryError):
                await desired.read()
            assert desired.keys == set()
    assert len(await desired.read()) == 1
    assert not await desired.has_changed()
