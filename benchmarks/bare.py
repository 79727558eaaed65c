"""The yardstick: the published graph on bare ONNX Runtime, nothing around it, at its best setting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
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
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if sessions > 1 else "1")
        self.sessions = [
            ort.InferenceSession(
                str(repository.locate_graph(graph)),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],
            )
            for _ in range(sessions)
        ]

    def items_per_s(self, items: Sequence[TokenizedText], batch: int, seconds: float) -> float:
        """Run batches of texts of one length, as the best use of the graph would, until the time is up.

        The batches themselves are shuffled: a run is shorter than a walk through all texts, and in order it would see
        only the short ones.
        """
        ordered = sorted(items, key=len)
        batches = [collate(ordered[i : i + batch], self.config, self.inputs) for i in range(0, len(ordered), batch)]
        random.Random(7).shuffle(batches)
        done = [0] * len(self.sessions)
        until = time.perf_counter() + seconds

        def work(number: int) -> None:
            position = number * len(batches) // len(self.sessions)
            while time.perf_counter() < until:
                arrays = batches[position % len(batches)]
                self.sessions[number].run(None, arrays)
                done[number] += len(next(iter(arrays.values())))
                position += 1

        started = time.perf_counter()
        workers = [threading.Thread(target=work, args=(n,)) for n in range(len(self.sessions))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(done) / (time.perf_counter() - started)


def tokenize(entry: Entry, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenize with the model's own tokenizer."""
    return TextPreprocessor(entry.manifest.text, Path(entry.folder)).encode(texts)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(values))
