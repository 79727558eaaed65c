import pytest

from planes import running_planes


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        yield planes


@pytest.fixture(params=["in the event loop", "in a thread"])
def way(request, monkeypatch):
    """Have few texts tokenized in the event loop, and in a thread as many are."""
    if request.param == "in a thread":
        monkeypatch.setattr("ingrain.tasks.texts._INLINE_TEXTS", 0)
