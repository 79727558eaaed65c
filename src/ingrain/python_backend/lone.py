"""Runs a batch that is alone in the engine on all cores, where that proves faster.

Like ``model.py`` this file is copied beside each graph and runs in Triton's stub process too: the standard library is
all that it may import.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

# Both ways are compared by running them in turn, so many times each, when a size is new and again every so many
# batches: other programs may have come or gone.
_LOOK_PAIRS = 3
_LOOK_EVERY = 50
# The latest runs of each way that count: those of five comparisons, for on a busy machine one says little.
_REMEMBERED = 15
# The latest runs on all cores that tell how long the next one may take.
_LATEST = 3
# All cores are used where they take less than this share of the time.
_WORTH_IT = 0.9
# Microseconds that a waiting thread spins: mostly enough until the next operator, and little after the run, when
# tritonserver and the front end need the cores.
_SPIN_US = 50


class LoneSession:
    """A second session of a graph, with more threads than its other sessions, and the same operators.

    Args:
        session: It; any object that runs as ``onnxruntime.InferenceSession`` does.
        clock: Seconds.
    """

    def __init__(self, session: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._session = session
        self._clock = clock
        self._faster = FasterWay()

    def is_surely_short(self, inputs: Mapping[str, Any], seconds: float) -> bool:
        """Tell whether the next batch runs on all cores for certain, and the latest of its size took no longer there.

        Args:
            inputs: Of that batch.
            seconds: The longest that they may have taken. Batches of one size may differ by a factor of two.
        """
        return self._faster.is_surely_short(next(iter(inputs.values())).size, seconds)

    def run(self, other: Any, output_names: list[str], inputs: dict[str, Any], options: Any = None) -> Any:
        """Run a batch that is alone in the engine, on this session or on the other one.

        Args:
            other: A session of the same graph with fewer threads.
            output_names: Which outputs are wanted.
            inputs: Arrays by input name.
            options: ONNX Runtime's options of this run.

        Returns:
            The outputs in the order of their names.
        """
        size = next(iter(inputs.values())).size
        on_all_cores = self._faster.is_on_all_cores(size)
        began = self._clock()
        outputs = (self._session if on_all_cores else other).run(output_names, inputs, options)
        self._faster.learn(size, self._clock() - began, on_all_cores=on_all_cores)
        return outputs


class FasterWay:
    """Measures for batches of each size whether they are faster on all cores.

    Small batches of small models are slower there, and so is any batch while other programs want the cores.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Times] = {}

    def is_on_all_cores(self, size: int) -> bool:
        """Tell whether the next batch runs on all cores.

        Args:
            size: Numbers in one of its inputs.
        """
        return self._times(size).choose()

    def is_surely_short(self, size: int, seconds: float) -> bool:
        """Tell whether the next batch runs on all cores, and the latest of its size took no longer there."""
        return self._times(size).is_surely_short(seconds)

    def learn(self, size: int, seconds: float, *, on_all_cores: bool) -> None:
        """Add the time of a batch."""
        self._times(size).learn(seconds, on_all_cores=on_all_cores)

    def _times(self, size: int) -> _Times:
        # Sizes up to twice as large are of one kind.
        return self._sizes.setdefault(size.bit_length(), _Times())


class _Times:
    """How long batches of one kind took, both ways: by a few threads, and on all cores."""

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
            # A run that failed is not among them.
            self._is_faster = bool(few and all_cores) and _median(all_cores) < _WORTH_IT * _median(few)


def _median(seconds: deque[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def use_all_cores(options: Any, threads: int, *, spin_us: int = _SPIN_US) -> None:
    """Change the options of a graph's sessions to those of its lone session; what the graph becomes stays the same.

    Args:
        options: ``onnxruntime.SessionOptions``.
        threads: Of the session.
        spin_us: Microseconds that a thread that waits keeps its core.
    """
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
