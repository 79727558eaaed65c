"""Does faults to one set-up, one after the other, while clients ask."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from chaos.faults import FAULTS, Fault
from chaos.load import GIVE_UP_S, TRY_TIMEOUT_S, Load, make_questions
from chaos.outcome import Done, Outcome
from chaos.readiness import ReadyWatch
from chaos.set_up import FRONT_ENDS, SetUp, running

CLIENTS = 8
_CALM_S = 1.0
_MIB = 1 << 20


async def run_set_up(
    name: str,
    folder: Path,
    faults: Sequence[str],
    seed: int,
    seconds: float | None,
    *,
    pictures: bool = False,
    front_ends: int = FRONT_ENDS,
) -> Outcome:
    """Run one set-up and do faults to it.

    Args:
        name: Name of the set-up.
        folder: Gets repository and logs.
        faults: Names of the faults; those that the set-up lacks the parts for are left out.
        seed: Seed of the order of the faults, of their victims and of the clients.
        seconds: How long; None to do each fault once, in the order given.
        pictures: Whether clients send pictures too.
        front_ends: Number of front ends beside external Tritons.
    """
    known = [FAULTS[one] for one in faults if name in FAULTS[one].set_ups]
    order = iter(known) if seconds is None else _in_random_order(known, random.Random(f"{seed} {name}"))
    ends = time.monotonic() + (seconds if seconds is not None else float("inf"))
    outcome = Outcome(name)
    for number in itertools.count():
        rng = random.Random(f"{seed} {name} {number}")
        async with running(name, folder / str(number), rng, pictures=pictures, front_ends=front_ends) as set_up:
            try:
                is_whole = await _do_all(order, ends, set_up, outcome, seed, pictures=pictures)
            finally:
                outcome.problems += set_up.problems
                set_up.problems = outcome.problems  # the end of the set-up may add to them
        if is_whole:
            return outcome
    raise AssertionError


async def _do_all(
    order: Iterator[Fault], ends: float, set_up: SetUp, outcome: Outcome, seed: int, *, pictures: bool
) -> bool:
    """Do faults until the time is over; return False if the set-up did not recover from one and must be made anew."""
    questions = await make_questions(set_up.addresses[0], set_up.rng, pictures=pictures)
    load = Load(set_up.addresses, questions, CLIENTS, seed)
    load.start()
    watch = ReadyWatch(set_up.addresses)
    is_whole = True
    try:
        await asyncio.sleep(_CALM_S)
        before = resident_mib(set_up)
        while is_whole and time.monotonic() < ends and (fault := next(order, None)) is not None:
            done = await _do(fault, set_up, load, watch)
            outcome.done.append(done)
            print(
                f"{time.strftime('%H:%M:%S')} {set_up.name:<9} {fault.name:<24} outage {done.outage_s:5.1f} s, "
                f"recovery {done.recovery_s:5.1f} s, not ready {done.not_ready} times",
                flush=True,
            )
            is_whole = await set_up.until_whole(TRY_TIMEOUT_S) is None
        after = resident_mib(set_up)
        outcome.memory = {part: [before[part], after[part]] for part in before if part in after}
        await load.stop()
    finally:
        load.cancel()
        await watch.close()
    outcome.asked += load.asked
    return is_whole


def end_on_sigterm() -> None:
    """Have SIGTERM cancel the running task, so that it closes what it has started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def resident_mib(set_up: SetUp) -> dict[str, float]:
    """Return the resident memory of every process of a set-up."""
    found = {}
    for name, process in set_up.processes().items():
        try:
            found[name] = process.memory_info().rss / _MIB
        except psutil.NoSuchProcess:
            continue
    return found


async def _do(fault: Fault, set_up: SetUp, load: Load, watch: ReadyWatch) -> Done:
    """Do one fault, and wait until the set-up is whole and all requests of that time are answered."""
    began = time.monotonic()
    held_s = await fault.inflict(set_up)
    healed = time.monotonic()
    if missing := await set_up.until_whole(GIVE_UP_S):
        set_up.problems.append(f"{fault.name}: {missing}")
    whole = time.monotonic()
    # No request can take longer, so that this ends.
    while any(asked.began < whole for asked in load.under_way()) and time.monotonic() < whole + GIVE_UP_S:
        await asyncio.sleep(0.1)
    longest_s = max((asked.took_s for asked in load.since(began)), default=0.0)
    await asyncio.sleep(_CALM_S)
    outage_s = max(0.0, longest_s - held_s)
    return Done(fault, began, whole, outage_s, whole - healed, watch.losses_since(began))


def _in_random_order(faults: Sequence[Fault], rng: random.Random) -> Iterator[Fault]:
    """Yield all faults in random order, and all of them again in another one, without end."""
    for _ in itertools.count():
        yield from rng.sample(list(faults), len(faults))
