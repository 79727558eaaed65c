"""Runs a batch that is alone in the engine on all cores, if measurements show that this is faster.

Like ``model.py`` this file is copied next to each graph and also runs in Triton's stub process, so it only imports the
standard library.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

# All cores are used if they take less than this share of the other session's time.
_WORTH_IT = 0.9
# To compare the sessions, two batches in a row run on the one that is not used: the first only brings its weights into
# the processors' caches. Comparisons may cost this share of the time.
_LOOK_RUNS = 2
_LOOK_SHARE = 0.01
# Number of latest comparisons that count, since a single one is noisy.
_REMEMBERED = 5
# Runs between two comparisons: few at first and after a comparison that contradicts the choice, then four times as many
# each time, up to what may be lost, within limits. Few threads are often faster only while other programs run, so that
# the choice of few is checked sooner.
_FIRST_GAP = 2
_GROWTH = 4
_LEAST_FULL_GAP = 50
_LONGEST_GAP_OF_FEW, _LONGEST_GAP_OF_ALL = 150, 500
# After so many runs in a row that were slow enough to contradict the choice, the sessions are compared at once.
_SLOW_RUNS = 3
# Number of latest runs on all cores that predict the time of the next one.
_LATEST = 3


class LoneSession:
    """A session of a graph with more threads than its other sessions, but the same operators.

    Args:
        session: The session; any object with the ``run`` of ``onnxruntime.InferenceSession``.
        clock: Returns seconds.
    """

    def __init__(self, session: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._session = session
        self._clock = clock
        self._faster = FasterWay()

    def is_surely_short(self, inputs: Mapping[str, Any], seconds: float) -> bool:
        """Return whether the next batch will run on all cores, and the latest ones of its size were short.

        Args:
            inputs: Inputs of the batch.
            seconds: Maximum time of the latest runs. Batches that count as one size differ by up to a factor of two.
        """
        return self._faster.is_surely_short(next(iter(inputs.values())).size, seconds)

    def run(self, other: Any, output_names: list[str], inputs: dict[str, Any], options: Any = None) -> Any:
        """Run a batch that is alone in the engine, on this session or on another one.

        Args:
            other: Session of the same graph with fewer threads.
            output_names: Names of the outputs to return.
            inputs: Arrays by input name.
            options: ``onnxruntime.RunOptions``.

        Returns:
            The outputs in the order of ``output_names``.
        """
        size = next(iter(inputs.values())).size
        on_all_cores = self._faster.is_on_all_cores(size)
        began = self._clock()
        outputs = (self._session if on_all_cores else other).run(output_names, inputs, options)
        self._faster.learn(size, self._clock() - began, on_all_cores=on_all_cores)
        return outputs


class FasterWay:
    """Measures for each batch size whether batches are faster on all cores.

    Small batches of small models are slower on all cores, and so is any batch while other programs use the cores.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Times] = {}

    def is_on_all_cores(self, size: int) -> bool:
        """Return whether the next batch runs on all cores.

        Args:
            size: Number of elements in one input of the batch.
        """
        return self._times(size).choose()

    def is_surely_short(self, size: int, seconds: float) -> bool:
        """Return whether the next batch will run on all cores, and is expected to take at most ``seconds``."""
        return self._times(size).is_surely_short(seconds / max(1, size))

    def learn(self, size: int, seconds: float, *, on_all_cores: bool) -> None:
        """Record the time of a batch."""
        self._times(size).learn(seconds / max(1, size), on_all_cores=on_all_cores)

    def _times(self, size: int) -> _Times:
        # Sizes between two powers of two count as one; their times are compared by element.
        return self._sizes.setdefault(size.bit_length(), _Times())


class _Times:
    """Compares seconds per element of batches of about one size, with few threads and on all cores."""

    __slots__ = ("_gap", "_latest", "_left", "_looks", "_seconds", "_shares", "_slow", "_uses_all_cores")

    def __init__(self) -> None:
        self._uses_all_cores = True
        self._gap = self._left = _FIRST_GAP  # runs between comparisons, and until the next one
        self._looks = self._slow = 0
        self._seconds = [0.0, 0.0]  # of the latest run with few threads, and of that on all cores
        self._shares: deque[float] = deque(maxlen=_REMEMBERED)
        self._latest: deque[float] = deque(maxlen=_LATEST)

    def choose(self) -> bool:
        return self._uses_all_cores if self._left > 0 else not self._uses_all_cores

    def is_surely_short(self, seconds: float) -> bool:
        is_known = len(self._latest) == _LATEST
        return self._uses_all_cores and self._left > 0 and is_known and max(self._latest) <= seconds

    def learn(self, seconds: float, *, on_all_cores: bool) -> None:
        self._seconds[on_all_cores] = seconds
        if on_all_cores:
            self._latest.append(seconds)
        is_look = on_all_cores != self._uses_all_cores
        self._looks += is_look
        self._left -= not is_look
        few, all_cores = self._seconds
        if not few or not all_cores:
            return
        share = all_cores / few
        contradicts = (share < _WORTH_IT) != self._uses_all_cores
        if self._looks >= _LOOK_RUNS:
            self._compare(share, contradicts=contradicts)
        elif not is_look:
            self._slow = self._slow + 1 if contradicts else 0
            if self._slow >= _SLOW_RUNS:
                self._left = 0

    def _compare(self, share: float, *, contradicts: bool) -> None:
        self._shares.append(share)
        if contradicts:
            self._gap = _FIRST_GAP
        else:
            lost = _LOOK_RUNS * ((1 / share if self._uses_all_cores else share) - 1)  # in runs
            longest = _LONGEST_GAP_OF_ALL if self._uses_all_cores else _LONGEST_GAP_OF_FEW
            self._gap = min(_GROWTH * self._gap, longest, max(_LEAST_FULL_GAP, round(lost / _LOOK_SHARE)))
        self._left, self._looks, self._slow = self._gap, 0, 0
        self._uses_all_cores = _median(self._shares) < _WORTH_IT


def _median(values: deque[float]) -> float:
    return sorted(values)[len(values) // 2]
