"""Windows of a minute: how much they let through, when they open again, and what several processes see."""

import random
import subprocess
import sys

import pytest

from ingrain.server.keys.windows import WINDOW_S, WINDOWS, WindowTable

_TAKE = """
import sys, time
from ingrain.server.keys.windows import WindowTable
window = WindowTable.attached(int(sys.argv[1]), 4, int(sys.argv[2])).window(7, 9_000)
taken = 0
while window.left(time.monotonic()) >= 1:
    window.take(1)
    taken += 1
print(taken)
"""


def taken_at(window, times) -> list[float]:
    """Take one at each time at which the window lets it; return those times."""
    done = []
    for now in times:
        if window.left(now) >= 1:
            window.take(1)
            done.append(now)
    return done


def most_in_a_minute(times: list[float]) -> int:
    first = most = 0
    for index, time in enumerate(times):
        while time - times[first] >= 60:
            first += 1
        most = max(most, index - first + 1)
    return most


@pytest.mark.parametrize("limit", [1, 60, 1000])
def test_no_minute_has_more_than_the_limit_and_every_minute_nearly_the_limit(limit):
    window, start = WindowTable.alone().window(0, limit), 12_345.6
    times = taken_at(window, (start + 0.05 * step for step in range(20 * 600)))
    assert most_in_a_minute(times) == limit
    assert limit * 0.98 <= len(times) / (600 / 60.5) <= limit * 1.02


def test_requests_at_random_times_never_exceed_a_minutes_limit():
    rng = random.Random(1)
    window, now, times = WindowTable.alone().window(0, 25), 1e6, []
    for _ in range(5_000):
        now += rng.choice((0.0, 0.001, 0.2, 3.0))
        times += taken_at(window, [now])
    assert most_in_a_minute(times) == 25


@pytest.mark.parametrize("spent", [1, 5, 40])
def test_the_wait_is_as_long_as_it_says(spent):
    window = WindowTable.alone().window(0, 5)
    taken_at(window, (100.0 + index for index in range(4)))
    window.left(104.2)
    window.take(spent)
    wait_s = window.wait_s(104.2)
    assert window.left(104.2 + wait_s - 0.01) <= 0 or wait_s == 0
    assert window.left(104.2 + wait_s + 0.01) > 0
    left = window.left(104.3)
    assert window.left(104.3 + window.reset_s(left) + 0.5) == 5


def test_a_debt_is_paid_off_at_the_rate_of_the_limit():
    window = WindowTable.alone().window(0, 100)
    window.left(50.0)
    window.take(1000)
    assert window.left(50.0) == -900
    assert window.wait_s(50.0) == pytest.approx(9 * 60)
    assert window.left(50.0 + 9 * 60 - 1) < 0 < window.left(50.0 + 9 * 60 + 1)
    assert window.left(50.0 + 10 * 60 + 1) == 100


def test_a_window_that_was_not_used_for_long_is_as_new():
    window = WindowTable.alone().window(0, 3)
    for start in (10.0, 10.0 + WINDOW_S + 0.01, 50_000.0):
        assert len(taken_at(window, [start] * 5)) == 3
    assert window.reset_s(window.left(60_000.0)) == 0


def test_a_row_that_is_used_again_is_cleared():
    table = WindowTable.alone()
    window = table.window(3, 2)
    window.left(10.0)
    window.take(500)
    table.clear(3 + WINDOWS)
    assert table.window(3 + WINDOWS, 1_000_000).left(11.0) == 1_000_000


def test_what_another_process_takes_counts_at_once():
    table = WindowTable.shared(2)
    other = WindowTable.attached(table.descriptor, 2, 0).window(5, 10)
    window = table.window(5, 10)
    for taken in range(5):
        assert window.left(10.01 + 0.01 * taken) == other.left(10.01 + 0.01 * taken) == 10 - 2 * taken
        window.take(1)
        other.take(1)
    assert window.left(10.49) == other.left(10.49) == 0


def test_processes_that_take_at_the_same_time_keep_to_one_limit():
    table = WindowTable.shared(4)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKE, str(table.descriptor), str(writer)],
            pass_fds=[table.descriptor],
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(3)
    ]
    taken = sum(int(process.communicate(timeout=60)[0]) for process in processes)
    assert 9_000 <= taken <= 9_000 * 1.001 + 3
