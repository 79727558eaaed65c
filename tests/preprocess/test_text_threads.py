"""Threads for texts serve requests in turns, drop what nobody waits for, and refuse what would be late."""

import asyncio
import threading

import pytest

from ingrain.errors import QueueFullError
from ingrain.preprocess.text_threads import TextThreads


class Log:
    """Slices that note their name; with a gate they wait until it is opened."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.gate = threading.Event()

    def slices(self, name: str, count: int, chars: int = 100):
        def work(number: int) -> str:
            self.gate.wait(10)
            self.names.append(name)
            return f"{name}{number}"

        return [(lambda number=number: work(number), chars) for number in range(count)]


@pytest.fixture
def log() -> Log:
    return Log()


async def test_the_results_are_in_the_order_of_the_slices(log: Log) -> None:
    log.gate.set()
    assert await TextThreads(4).run(log.slices("a", 5), timeout_s=60) == ["a0", "a1", "a2", "a3", "a4"]


async def test_a_small_request_waits_for_a_slice_of_a_large_one_and_not_for_all(log: Log) -> None:
    threads = TextThreads(1)
    large = asyncio.create_task(threads.run(log.slices("large", 20), timeout_s=60))
    await asyncio.sleep(0)
    small = asyncio.create_task(threads.run(log.slices("small", 1), timeout_s=60))
    await asyncio.sleep(0)
    log.gate.set()
    await asyncio.gather(large, small)
    assert "small" in log.names[:3]


async def test_large_requests_take_turns(log: Log) -> None:
    threads = TextThreads(1)
    first = asyncio.create_task(threads.run(log.slices("a", 10), timeout_s=60))
    await asyncio.sleep(0)
    second = asyncio.create_task(threads.run(log.slices("b", 10), timeout_s=60))
    await asyncio.sleep(0)
    log.gate.set()
    await asyncio.gather(first, second)
    assert abs(log.names[:10].count("a") - 5) <= 1


async def test_a_cancelled_request_begins_no_more_slices(log: Log) -> None:
    threads = TextThreads(1)
    left = asyncio.create_task(threads.run(log.slices("left", 50), timeout_s=60))
    await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    log.gate.set()
    assert await threads.run(log.slices("other", 1), timeout_s=60) == ["other0"]
    assert log.names.count("left") <= 1


async def test_a_failed_slice_fails_its_request_and_no_other(log: Log) -> None:
    def fail() -> str:
        raise ValueError

    log.gate.set()
    threads = TextThreads(1)
    failed, fine = await asyncio.gather(
        threads.run([(fail, 1), *log.slices("never", 3)], timeout_s=60),
        threads.run(log.slices("fine", 3), timeout_s=60),
        return_exceptions=True,
    )
    assert isinstance(failed, ValueError)
    assert fine == ["fine0", "fine1", "fine2"]
    assert "never" not in log.names


async def test_what_others_would_make_late_is_refused_at_once(log: Log) -> None:
    threads = TextThreads(1)
    chars = 200_000_000  # minutes, at any pace
    first = asyncio.create_task(threads.run(log.slices("first", 1, chars), timeout_s=60))
    await asyncio.sleep(0.01)
    with pytest.raises(QueueFullError) as refused:
        await threads.run(log.slices("late", 1, chars), timeout_s=60)
    assert refused.value.retry_after_s
    log.gate.set()
    # A small one need not wait for all of the large one.
    assert await threads.run(log.slices("small", 1), timeout_s=60) == ["small0"]
    await first


async def test_other_threads_of_the_process_do_not_wait_behind_texts(log: Log) -> None:
    """Names are resolved, and files are read, in the event loop's own threads."""
    threads = TextThreads(2)
    many = [asyncio.create_task(threads.run(log.slices("text", 10), timeout_s=60)) for _ in range(50)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(lambda: "read") == "read"
    log.gate.set()
    await asyncio.gather(*many)
