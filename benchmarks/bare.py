"""The yardstick: the published graph on bare ONNX Runtime, nothing around it, at its best setting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ingrain.preprocess.text import TextPreprocessor, TokenizedText, collate
from ingrain.repository.store import Entry, Repository


class BareGraph:
    """Sessions on one graph, each run by its own thread with its own texts."""

    def __init__(self, entry: Entry, repository: Repository, *, sessions: int, threads: int) -> None:
        graph = entry.manifest.graphs[0]
        self.config = entry.manifest.text
        self.inputs = [tensor.name for tensor in graph.inputs]
        path = repository.locate_graph(graph)
        self.sessions = open_sessions(path, sessions=sessions, threads=threads, spinning=sessions == 1)

    def items_per_s(self, items: Sequence[TokenizedText], batch: int, seconds: float) -> float:
        """Run batches of texts of one length, as the best use of the graph would, until the time is up.

        The batches themselves are shuffled: a run is shorter than a walk through all texts, and in order it would see
        only the short ones.
        """
        ordered = sorted(items, key=len)
        batches = [collate(ordered[i : i + batch], self.config, self.inputs) for i in range(0, len(ordered), batch)]
        random.Random(7).shuffle(batches)
        position = [number * len(batches) // len(self.sessions) for number in range(len(self.sessions))]

        def run_next(number: int) -> int:
            arrays = batches[position[number] % len(batches)]
            self.sessions[number].run(None, arrays)
            position[number] += 1
            return len(next(iter(arrays.values())))

        return side_by_side(run_next, len(self.sessions), seconds)


def open_sessions(
    path: Path,
    *,
    sessions: int,
    threads: int,
    spinning: bool = False,
    disabled_optimizers: Sequence[str] = ("SkipLayerNormFusion",),
) -> list[ort.InferenceSession]:
    """Open a graph several times; what is disabled for text is what the server disables."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return [
        ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
        )
        for _ in range(sessions)
    ]


def side_by_side(run_next: Callable[[int], int], workers: int, seconds: float) -> float:
    """Have each of some threads do its next piece of work until the time is up.

    Args:
        run_next: Does the next piece of the worker whose number it gets, and returns how many items that was.
        workers: How many threads.
        seconds: How long.

    Returns:
        Items by second of wall time.
    """
    done = [0] * workers
    started = time.perf_counter()

    def work(number: int) -> None:
        while time.perf_counter() < started + seconds:
            done[number] += run_next(number)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return sum(done) / (time.perf_counter() - started)


def tokenize(entry: Entry, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenize with the model's own tokenizer."""
    return TextPreprocessor(entry.manifest.text, Path(entry.folder)).encode(texts)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(values))
