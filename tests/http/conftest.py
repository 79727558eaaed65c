import pytest

from planes import running_planes


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        yield planes


@pytest.fixture(params=["without a task", "in a task"])
def way(request, monkeypatch):
    """Have requests for few texts answered in each of the two ways that there are for them."""
    if request.param == "in a task":
        monkeypatch.setattr("ingrain.tasks.texts._INLINE_TEXTS", 0)
