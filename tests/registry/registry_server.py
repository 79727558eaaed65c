"""A started registry with a fake engine and a fake export, as the tests of this folder use it."""

import asyncio

from ingrain.errors import ModelLoadingError, ModelNotLoadedError
from ingrain.testing.fake_engine import FakeEngine
from planes import FakeExport, make_registry


class RegistryServer:
    """A registry with its engine and export, on a repository that others may share.

    Args:
        root: Of the repository.
        models: To load at start; None to leave the start to the test.
        engine: In the place of a plain fake one.
        export: In the place of a plain fake one.
        changes: Other arguments of the registry.
    """

    def __init__(self, root, models=(), *, engine=None, export=None, **changes) -> None:
        self.engine, self.export, self.models = engine or FakeEngine(), export or FakeExport(), models
        self.registry = make_registry(root, self.engine, self.export, **changes)

    async def __aenter__(self):
        await self.engine.start()
        if self.models is not None:
            await self.registry.start(self.models)
        return self

    async def __aexit__(self, *_):
        await self.registry.close()
        await self.engine.close()

    async def until_ready(self, name: str) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    self.registry.get(name)
                    return
                except (ModelNotLoadedError, ModelLoadingError):
                    await self.registry.refresh()
                    await asyncio.sleep(0.01)
