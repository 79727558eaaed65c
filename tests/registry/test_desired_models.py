"""The shared list of models: what changed in it, and what could not be read."""

import pytest

from ingrain.errors import DiskUnusableError
from ingrain.registry.models_to_load import DesiredModels
from ingrain.repository.models_to_load import ModelRef, read_desired, write_desired
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
    """As where a disk fails and recovers: the file is the same, only reading it fails for a while."""
    desired, path = listed
    kept = path.rename(path.with_name("kept"))
    path.symlink_to("/proc/self/mem")  # it exists, and reading it fails with EIO
    for _ in range(2):
        assert await desired.has_changed()
        with pytest.raises(DiskUnusableError):
            await desired.read()
    assert set(desired.keys) == set()
    path.unlink()
    kept.rename(path)
    assert len(await desired.read()) == 1
    assert not await desired.has_changed()


async def test_a_damaged_list_is_kept_under_another_name_and_written_from_what_is_known(listed):
    desired, path = listed
    await desired.read()
    path.write_bytes(b"[{")
    assert list(await desired.read()) == [ModelRef(name="org/a").key]
    assert not await desired.has_changed()
    (kept,) = path.parent.glob("desired.json.damaged-*")
    assert kept.read_bytes() == b"[{"
    assert [ref.name for ref in read_desired(path.parent)] == ["org/a"]
