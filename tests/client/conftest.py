import contextlib

import pytest

from client_api import Api
from planes import running_planes
from wire_tap import WireTap


def pytest_generate_tests(metafunc):
    """Run tests on the asynchronous client, of which the other is made, and those marked ``both_clients`` on both."""
    if "kind" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_clients") is not None
        metafunc.parametrize("kind", ["sync", "async"] if both else ["async"], indirect=True)


@pytest.fixture
def kind(request):
    return request.param


@pytest.fixture
async def planes(tmp_path):
    """Both planes in this process, with a model of each library."""
    async with running_planes(tmp_path) as planes:
        for name, library in (("org/model", "sentence_transformers"), ("clip", "open_clip"), ("net", "timm")):
            await planes.load(name, library)
        yield planes


@pytest.fixture
async def tap(planes):
    """What lies between client and inference plane."""
    async with WireTap(str(planes.inference.base_url)) as tap:
        yield tap


@pytest.fixture
async def connect(kind, planes, tap):
    """Make clients of these planes; they are closed in the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(**options):
            options = {"inference_server_url": tap.url, "model_server_url": str(planes.model.base_url), **options}
            api = Api(kind, **options)
            stack.push_async_callback(api.close)
            return api

        yield make


@pytest.fixture
async def api(connect):
    return connect()
