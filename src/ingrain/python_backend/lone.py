"""Runs a batch that is alone in the engine on all cores, if measurements show that this is faster.

Like ``model.py`` this file is copied next to each graph and also runs in Triton's stub process, so it only imports the
standard library.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

# Both sessions are compared by alternating them, this many times each, for the first batches of a size and then again
# every so many batches, because the load of other programs changes.
_LOOK_PAIRS = 3
_LOOK_EVERY = 50
# Number of latest runs per session that are compared: those of five comparisons, since one is noisy.
_REMEMBERED = 15
# Number of latest runs on all cores that predict the time of the next one.
_LATEST = 3
# All cores are used if they take less than this share of the other session's time.
_WORTH_IT = 0.9


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
        """Return whether the next batch will run on all cores, where the latest took at most ``seconds``."""
        return self._times(size).is_surely_short(seconds)

    def learn(self, size: int, seconds: float, *, on_all_cores: bool) -> None:
        """Record the time of a batch."""
        self._times(size).learn(seconds, on_all_cores=on_all_cores)

    def _times(self, size: int) -> _Times:
        # Sizes between two powers of two count as one.
        return self._sizes.setdefault(size.bit_length(), _Times())


class _Times:
    """Times of batches of one size, with few threads and on all cores."""

    __slots__ = ("_count", "_is_faster", "_is_look", "_latest", "_seconds")

    def __init__(self) -> None:
        self._count = 0
        self._is_look = self._is_faster = False
        self._seconds: tuple[deque[float], deque[float]] = deque(maxlen=_REMEMBERED), deque(maxlen=_REMEMBERED)
        self._latest: deque[float] = deque(maxlen=_LATEST)

    def choose(self) -> bool:
        place = self._count % _LOOK_EVERY
        self._count += 1
        self._is_look = place < 2 * _LOOK_PAIRS
        return place % 2 == 0 if self._is_look else self._is_faster

    def is_surely_short(self, seconds: float) -> bool:
        is_look = self._count % _LOOK_EVERY < 2 * _LOOK_PAIRS
        return self._is_faster and not is_look and len(self._latest) == _LATEST and max(self._latest) <= seconds

    def learn(self, seconds: float, *, on_all_cores: bool) -> None:
        if on_all_cores:
            self._latest.append(seconds)
        if self._is_look:
            self._seconds[on_all_cores].append(seconds)
            few, all_cores = self._seconds
            # Either may be empty, because failed runs are not recorded.
            self._is_faster = bool(few and all_cores) and _median(all_cores) < _WORTH_IT * _median(few)


def _median(seconds: deque[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
