import pytest
from planes import running_planes


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        yield planes
