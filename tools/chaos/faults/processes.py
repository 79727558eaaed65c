"""Faults of processes: killed, stopped for a while, stopped for ever, and told to end."""

from __future__ import annotations

import asyncio
import contextlib
import time

import psutil

from chaos.faults.registration import fault
from chaos.set_up import SetUp

# After so many seconds an orchestrator's liveness probe ends a Triton that does not answer.
_LIVENESS_S = 10.0
# The shutdown time-out of the set-ups, and what a busy machine needs besides.
_LONGEST_STOP_S = 25.0


@fault(is_covered_in=("tritons",))
async def kill_triton(set_up: SetUp) -> float:
    """Kill tritonserver."""
    set_up.victim("tritonserver").kill()
    return 0


@fault(is_covered_in=("tritons",))
async def stop_triton_briefly(set_up: SetUp) -> float:
    """Stop tritonserver for one to four seconds."""
    return await _stop(set_up.victim("tritonserver"), set_up.rng.uniform(1, 4))


@fault("embedded", "workers", limit="hang")
async def stop_triton_for_ever(set_up: SetUp) -> float:
    """Stop tritonserver, and leave it to Ingrain to find out."""
    set_up.victim("tritonserver").suspend()
    return 0


@fault("external", "tritons", is_covered_in=("tritons",))
async def stop_external_triton(set_up: SetUp) -> float:
    """Stop tritonserver until the liveness probe of an orchestrator would kill it."""
    triton = set_up.victim("tritonserver")
    triton.suspend()
    await asyncio.sleep(_LIVENESS_S)
    triton.kill()
    return _LIVENESS_S


@fault("tritons", is_covered_in=("tritons",))
async def stop_triton_until_it_is_left(set_up: SetUp) -> float:
    """Stop one of several Tritons for so long that every front end leaves it, and let it go on with what it had."""
    return await _stop(set_up.victim("tritonserver"), _LIVENESS_S)


@fault("tritons", is_covered_in=("tritons",))
async def lose_triton(set_up: SetUp) -> float:
    """Kill one of several Tritons, and start it again only after ten seconds."""
    async with set_up.rng.choice(set_up.tritons).gone():
        await asyncio.sleep(_LIVENESS_S)
    return 0


@fault("tritons", is_covered_in=("tritons",))
async def roll_tritons(set_up: SetUp) -> float:
    """Restart every Triton, one after the other, each when the one before serves again."""
    for triton in set_up.tritons:
        async with triton.gone():
            await asyncio.sleep(1)
        if missing := await set_up.until_whole():
            set_up.problems.append(f"roll_tritons: {missing}")
    return 0


@fault("embedded", "workers")
async def kill_stub(set_up: SetUp) -> float:
    """Kill one of tritonserver's Python stubs."""
    set_up.victim("stub").kill()
    return 0


@fault()
async def stop_stub_briefly(set_up: SetUp) -> float:
    """Stop one of tritonserver's Python stubs for one to four seconds."""
    return await _stop(set_up.victim("stub"), set_up.rng.uniform(1, 4))


@fault("embedded", "workers", limit="hang")
async def stop_stub_for_ever(set_up: SetUp) -> float:
    """Stop one of tritonserver's Python stubs, and leave it to Ingrain to find out."""
    set_up.victim("stub").suspend()
    return 0


@fault("workers", limit="worker")
async def kill_worker(set_up: SetUp) -> float:
    """Kill a worker."""
    set_up.victim("worker").kill()
    return 0


@fault("workers")
async def kill_all_workers(set_up: SetUp) -> float:
    """Kill all workers at once."""
    for process in set_up.front_ends[0].children("worker"):
        process.kill()
    return 0


@fault("workers")
async def kill_workers_one_by_one(set_up: SetUp) -> float:
    """Kill a worker six times, with less than a second in between, so that at times none is left."""
    for _ in range(6):
        set_up.victim("worker").kill()
        await asyncio.sleep(set_up.rng.uniform(0, 1))
    return 0


@fault("workers", limit="worker")
async def end_worker(set_up: SetUp) -> float:
    """Send SIGTERM to a worker, which ends its requests first."""
    set_up.victim("worker").terminate()
    return 0


@fault("workers")
async def stop_worker_briefly(set_up: SetUp) -> float:
    """Stop a worker for one to four seconds."""
    return await _stop(set_up.victim("worker"), set_up.rng.uniform(1, 4))


@fault("workers", limit="hang")
async def stop_worker_for_ever(set_up: SetUp) -> float:
    """Stop a worker, and leave it to the main process to find out."""
    victim = set_up.victim("worker")
    victim.suspend()
    await _until_gone(set_up, victim, 60)
    return 0


@fault("embedded", "workers")
async def kill_main(set_up: SetUp) -> float:
    """Kill the main process; it is started again as by an init system."""
    set_up.rng.choice(set_up.front_ends).kill()
    return 0


@fault()
async def stop_main_briefly(set_up: SetUp) -> float:
    """Stop the main process for one to four seconds."""
    return await _stop(psutil.Process(set_up.rng.choice(set_up.front_ends).pid), set_up.rng.uniform(1, 4))


@fault("embedded", "workers")
async def restart_main(set_up: SetUp) -> float:
    """End the main process with SIGTERM; it is started again as by an init system."""
    await _end_main(set_up)
    return 0


@fault("workers")
async def kill_worker_and_restart(set_up: SetUp) -> float:
    """Kill a worker, and end the main process with SIGTERM right after it."""
    set_up.victim("worker").kill()
    await asyncio.sleep(set_up.rng.choice((0.0, 0.01, 0.1, 0.5)))
    await _end_main(set_up)
    return 0


@fault("workers")
async def stop_worker_and_restart(set_up: SetUp) -> float:
    """Stop a worker, and end the main process with SIGTERM right after it, which does not wait for the worker long."""
    set_up.victim("worker").suspend()
    began = time.monotonic()
    await _end_main(set_up)
    return time.monotonic() - began


async def _end_main(set_up: SetUp) -> None:
    try:
        code = await set_up.front_ends[0].terminate(_LONGEST_STOP_S)
    except TimeoutError:
        set_up.problems.append(f"the main process has not ended {_LONGEST_STOP_S:g} s after SIGTERM")
        set_up.front_ends[0].kill()
        return
    if code != 0:
        set_up.problems.append(f"the main process ended with code {code} after SIGTERM")


async def _stop(process: psutil.Process, seconds: float) -> float:
    process.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    return seconds


async def _until_gone(set_up: SetUp, process: psutil.Process, seconds: float) -> None:
    for _ in range(int(seconds / 0.1)):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.1)
    set_up.problems.append(f"a stopped process is still there after {seconds:g} s")
