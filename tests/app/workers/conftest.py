from event_loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
