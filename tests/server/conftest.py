"""Tests of sockets run on asyncio's own loop and on the one that the server runs on; slow ones on the latter alone."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    factories = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    if item.get_closest_marker("slow"):
        del factories["asyncio"]
    return factories
