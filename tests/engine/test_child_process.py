"""A child process is reaped by one thread, whoever signals it, and no wait for it is without end."""

import asyncio
import os
import signal
import sys

import pytest

from ingrain.engine.embedded.child_process import ChildProcess

SLEEPS = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


async def exited(child: ChildProcess) -> int:
    async with asyncio.timeout(30):
        return await asyncio.shield(child.exited)


@pytest.mark.parametrize("_", range(8))
async def test_a_child_that_is_killed_while_it_is_signalled_is_known_to_have_ended(_):
    """Signals come at the very moment at which the dead child is about to be reaped."""
    child = ChildProcess(SLEEPS, dict(os.environ), None)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while not child.exited.done():
            child.signal(signal.SIGTERM)
            await asyncio.sleep(0)
    assert await exited(child) == -signal.SIGKILL
    child.signal(signal.SIGTERM)  # to nobody


async def test_a_descendant_that_keeps_the_output_open_does_not_hide_the_end():
    lines: list[str] = []
    leave = (
        "import os, subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(left.pid, flush=True)\n"
    )
    child = ChildProcess([sys.executable, "-S", "-c", leave], dict(os.environ), lines.append)
    assert await exited(child) == 0
    os.kill(int(lines[0]), signal.SIGKILL)
