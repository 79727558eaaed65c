"""Runs batches of one graph on several threads, which share its weights, and merges waiting batches of equal shape.

Like ``model.py`` this file is copied next to each graph and also runs in Triton's stub process, so it only imports the
standard library and numpy.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Arrays, Sequence[str]], Arrays]
"""Runs a batch. Arguments: its inputs, the names of the wanted outputs."""

# Asking Triton whether a caller has given up takes as long as a short batch, so only those that waited long are asked.
_LONG_NS = 1_000_000_000
# A run hangs if it takes so many times as long as the longest one before, and so many seconds. They are counted by a
# thread of this process, so that a pause of the whole process does not count.
_HANGS_AFTER_S = 30.0
_HANGS_AFTER_TIMES = 50
_FIRST_HANGS_AFTER_S = 300.0
_TICK_S = 1.0


class GivenUpError(Exception):
    """The caller cancelled the batch, or its deadline passed, before the batch ran."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A batch that waits for a thread.

    Attributes:
        inputs: Arrays by input name; axis 0 is the batch.
        finish: Called once with the outputs or with the error, in any thread.
        outputs: Names of the wanted outputs; only batches that want the same ones are merged.
        alone: Runs the batch instead of the graph's usual session, if no other batch waits or runs; None for the usual.
        is_given_up: Returns whether nobody waits for the outputs any more.
    """

    inputs: Arrays
    finish: Callable[[Arrays | Exception], None]
    outputs: tuple[str, ...] = ()
    alone: Run | None = None
    is_given_up: Callable[[], bool] = lambda: False
    arrived_ns: int = field(default_factory=time.perf_counter_ns)

    @property
    def items(self) -> int:
        """Number of items in the batch."""
        return len(next(iter(self.inputs.values())))

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs without their batch axis."""
        return tuple(array.shape[1:] for array in self.inputs.values())


class ConcurrentRuns:
    """Runs jobs on as many threads as there are functions in ``runs``.

    A thread that becomes free takes the job that waits longest, and all other waiting jobs of its shape that fit in one
    batch. If the merged batch fails, its jobs run one by one, so that only bad ones fail.

    A run that hangs can only be ended with this process, so that is what happens. The server notices and heals it.

    Args:
        runs: For each thread the function that runs a batch; it may raise any exception.
        max_items: Largest number of items in a merged batch.
        end: Ends this process.
    """

    def __init__(self, runs: Sequence[Run], *, max_items: int, end: Callable[[], None] = lambda: os._exit(1)) -> None:
        self._max_items = max_items
        self._waiting: deque[Job] = deque()
        self._running: set[int] = set()
        self._numbers = itertools.count()
        self._longest_s = 0.0
        self._end = end
        self._closed = False
        self._counts = Counts()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, args=(run,), name=f"run-{number}", daemon=True)
            for number, run in enumerate(runs)
        ]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._watch, name="watch-runs", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def statistics(self) -> dict[str, Any]:
        """Return the counts so far; see ``Counts``."""
        with self._changed:
            return self._counts.to_json()

    def close(self) -> None:
        """Wait until all jobs are finished, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, run: Run) -> None:
        while self._run_next(run):
            pass

    def _run_next(self, run: Run) -> bool:
        """Wait for jobs and run a batch of them; return False if there are none and the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return False
            jobs = self._take()
            is_alone = len(jobs) == 1 and not self._running and not self._waiting
            number = next(self._numbers)
            self._running.add(number)
        alone = jobs[0].alone if is_alone else None
        self._run(jobs, alone or run, number)
        return True

    def _watch(self) -> None:
        """End this process if a run hangs."""
        ticks: dict[int, int] = {}
        while not self._closed:
            time.sleep(_TICK_S)
            with self._changed:
                ticks = {number: ticks.get(number, 0) + 1 for number in self._running}
                longest_s = self._longest_s
            patience_s = max(_HANGS_AFTER_S, _HANGS_AFTER_TIMES * longest_s) if longest_s else _FIRST_HANGS_AFTER_S
            if max(ticks.values(), default=0) * _TICK_S > patience_s:
                sys.stderr.write(f"A run has not ended within {patience_s:.0f} s.\n")
                sys.stderr.flush()
                self._end()

    def _take(self) -> list[Job]:
        """Remove and return the first job and those that are merged with it."""
        first = self._waiting.popleft()
        jobs, items = [first], first.items
        for job in list(self._waiting):
            is_alike = job.shape == first.shape and job.outputs == first.outputs
            if is_alike and items + job.items <= self._max_items:
                self._waiting.remove(job)
                jobs.append(job)
                items += job.items
        return jobs

    def _run(self, jobs: list[Job], run: Run, number: int) -> None:
        begun_ns = time.perf_counter_ns()
        wanted = [job for job in jobs if begun_ns - job.arrived_ns < _LONG_NS or not job.is_given_up()]
        executed: list[tuple[int, int]] = []

        def timed(inputs: Arrays) -> Arrays:
            started_ns = time.perf_counter_ns()
            outputs = run(inputs, jobs[0].outputs)
            executed.append((len(next(iter(inputs.values()))), time.perf_counter_ns() - started_ns))
            return outputs

        results = dict(zip(wanted, run_together(timed, [job.inputs for job in wanted]), strict=True))
        compute_ns = time.perf_counter_ns() - begun_ns
        # Count before the answers, because a caller may send its next batch at once.
        with self._changed:
            self._running.discard(number)
            self._longest_s = max(self._longest_s, compute_ns / 1e9)
            for items, ns in executed:
                self._counts.executed(items, ns)
            for job in jobs:
                queue_ns = begun_ns - job.arrived_ns
                if isinstance(results.get(job, GivenUpError()), Exception):
                    self._counts.failed(queue_ns + compute_ns)
                else:
                    self._counts.succeeded(job.items, queue_ns, compute_ns)
        for job in jobs:
            job.finish(results.get(job, GivenUpError("nobody waits for this batch any more")))


class Counts:
    """Statistics of a graph, as Triton counts them: durations by request, executions by size of the merged batch."""

    def __init__(self) -> None:
        self._items = 0
        self._last_ms = 0
        self._durations = {key: [0, 0] for key in ("success", "fail", "queue", "compute")}
        self._batches: dict[int, list[int]] = {}

    def executed(self, items: int, ns: int) -> None:
        """Count one run of the graph."""
        _add(self._batches.setdefault(items, [0, 0]), ns)

    def succeeded(self, items: int, queue_ns: int, compute_ns: int) -> None:
        """Count a request that was answered with outputs."""
        self._items += items
        self._last_ms = time.time_ns() // 1_000_000
        _add(self._durations["success"], queue_ns + compute_ns)
        _add(self._durations["queue"], queue_ns)
        _add(self._durations["compute"], compute_ns)

    def failed(self, ns: int) -> None:
        """Count a request that was answered with an error."""
        _add(self._durations["fail"], ns)

    def to_json(self) -> dict[str, Any]:
        """Return the counts; each duration is a list of a count and its nanoseconds."""
        return {
            "items": self._items,
            "last_ms": self._last_ms,
            **{key: list(value) for key, value in self._durations.items()},
            "batches": [[items, *value] for items, value in sorted(self._batches.items())],
        }


def _add(duration: list[int], ns: int) -> None:
    duration[0] += 1
    duration[1] += ns


def run_together(run: Callable[[Arrays], Arrays], group: Sequence[Arrays]) -> list[Arrays | Exception]:
    """Run batches of equal shape as one batch; if that fails, run them one by one.

    Args:
        run: Runs a batch; it may raise any exception.
        group: Inputs of each batch, by name.

    Returns:
        For each batch its outputs or its error.
    """
    if len(group) < 2:
        return [_attempt(run, inputs) for inputs in group]
    merged = {name: np.concatenate([inputs[name] for inputs in group]) for name in group[0]}
    outputs = _attempt(run, merged)
    if isinstance(outputs, Exception):
        return [_attempt(run, inputs) for inputs in group]
    ends = np.cumsum([len(next(iter(inputs.values()))) for inputs in group])[:-1]
    parts = {name: np.split(output, ends) for name, output in outputs.items()}
    return [{name: part[position] for name, part in parts.items()} for position in range(len(group))]


def _attempt(run: Callable[[Arrays], Arrays], inputs: Arrays) -> Arrays | Exception:
    try:
        return run(inputs)
    except Exception as error:  # ONNX Runtime's exceptions have no common base.
        return error
