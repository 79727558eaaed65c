"""A batch that has the machine to itself is computed on all cores, where that proves faster.

Like ``model.py`` this file is copied beside each graph and runs in Triton's stub process too: the standard library is
all that it may import.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

# How many of the latest runs tell how long a way takes, how many it takes to tell, and how often the way that was
# slower is tried again, for the machine may be less busy by then, or more.
_REMEMBERED = 7
_ENOUGH = 3
_TRIED_AGAIN_EVERY = 25
# All cores are taken for no less than this share of the time.
_WORTH_IT = 0.95
# Microseconds that a waiting thread keeps its core: it sleeps between two runs, and not between two operators of one.
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

    def run(self, other: Any, output_names: list[str], inputs: dict[str, Any], options: Any = None) -> Any:
        """Run a batch that has the machine to itself, on this session or on the other one.

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
    """Learns for batches of each size whether they are faster on all cores.

    Small batches of small models are slower there, and so is any batch while other programs want the cores.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Times] = {}

    def is_on_all_cores(self, size: int) -> bool:
        """Tell which way the next batch goes.

        Args:
            size: Numbers in one of its inputs.
        """
        return self._times(size).choose()

    def learn(self, size: int, seconds: float, *, on_all_cores: bool) -> None:
        """Take in how long a batch took."""
        self._times(size).seconds[on_all_cores].append(seconds)

    def _times(self, size: int) -> _Times:
        # Sizes up to twice as large are of one kind.
        return self._sizes.setdefault(size.bit_length(), _Times())


class _Times:
    """How long batches of one kind took, both ways: by a few threads, and on all cores."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds: tuple[deque[float], deque[float]] = deque(maxlen=_REMEMBERED), deque(maxlen=_REMEMBERED)

    def choose(self) -> bool:
        self.count += 1
        few, all_cores = self.seconds
        if min(len(few), len(all_cores)) < _ENOUGH:
            return len(all_cores) <= len(few)
        is_faster = _median(all_cores) < _WORTH_IT * _median(few)
        return is_faster != (self.count % _TRIED_AGAIN_EVERY == 0)


def _median(seconds: deque[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def use_all_cores(options: Any, threads: int) -> None:
    """Change the options of a graph's sessions to those of its lone session; what the graph becomes stays the same.

    Args:
        options: ``onnxruntime.SessionOptions``.
        threads: Of the session.
    """
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
