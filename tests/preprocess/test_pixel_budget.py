"""The room that pictures wait for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingrain.preprocess.decode_memory import PixelBudget


def test_no_more_is_held_at_once_than_there_is() -> None:
    """Sixteen threads want three each of ten, a thousand times."""
    budget, lock = PixelBudget(10), threading.Lock()
    held = most = 0

    def work(_: int) -> None:
        nonlocal held, most
        with budget.hold(3):
            with lock:
                held += 3
                most = max(most, held)
            with lock:
                held -= 3

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(1000)))
    assert (held, most <= 10) == (0, True)


def test_what_wants_more_than_all_gets_all() -> None:
    with PixelBudget(10).hold(1000):
        pass


def test_room_is_given_back_after_an_error() -> None:
    budget = PixelBudget(10)
    with pytest.raises(ValueError, match="decoder"), budget.hold(10):
        raise ValueError("decoder")
    with budget.hold(10):
        pass


def test_a_large_picture_is_not_overtaken_for_ever() -> None:
    """First come, first served: small ones that come later wait behind it."""
    budget, order = PixelBudget(10), []
    started = threading.Event()

    def want(name: str, pixels: int) -> None:
        started.set()
        with budget.hold(pixels):
            order.append(name)

    with ThreadPoolExecutor(2) as threads, budget.hold(5):
        threads.submit(want, "large", 10)
        started.wait()
        while not budget._waiting:
            pass
        threads.submit(want, "small", 1)
        while len(budget._waiting) < 2:
            pass
    assert order == ["large", "small"]
