"""Baseline of the benchmarks: the published graph on ONNX Runtime without a server, in its fastest setting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime as ort

from ingrain.cores import usable_cores
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.store import Entry, Repository

AS_THE_SERVER = ("SkipLayerNormFusion",)
"""Graph optimizations that the server disables for text encoders, because they are slower on a CPU."""

_FINALISTS = 4
_LOOKS = 3

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Rate:
    """Throughput and CPU time of a measurement.

    Attributes:
        items_per_s: Items per second of wall time.
        tokens_per_s: Tokens per second without padding; 0 for images.
        cpu_ms_per_item: CPU time of the process per item; nearly independent of other load on the machine.
    """

    items_per_s: float
    tokens_per_s: float
    cpu_ms_per_item: float


@dataclass(frozen=True)
class TextSetting:
    """Number of sessions (each called by its own thread), threads per session, and batch size of ONNX Runtime."""

    sessions: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.sessions} sessions × {self.threads} threads, batches of {self.batch}"


class BareGraph:
    """Sessions on one graph that run batches of texts of similar length, which is the most efficient use of the graph.

    Args:
        entry: The published model.
        repository: The repository that has the model.
        setting: Sessions, threads and batch size.
        items: Tokenized texts in any order.
        spinning: Whether threads spin while they wait; None for the best choice under full load.
        disabled_optimizers: Graph optimizations to disable.
        sort: Whether batches are made of texts of similar length; otherwise of those that follow each other.
    """

    def __init__(
        self,
        entry: Entry,
        repository: Repository,
        setting: TextSetting,
        items: Sequence[TokenizedText],
        *,
        spinning: bool | None = None,
        disabled_optimizers: Sequence[str] = AS_THE_SERVER,
        sort: bool = True,
    ) -> None:
        graph = entry.manifest.graphs[0]
        inputs = [tensor.name for tensor in graph.inputs]
        self.setting = setting
        self.sessions = open_sessions(
            repository.locate_graph(graph),
            sessions=setting.sessions,
            threads=setting.threads,
            spinning=setting.sessions == 1 if spinning is None else spinning,
            disabled_optimizers=disabled_optimizers,
        )
        ordered = sorted(items, key=len) if sort else items
        chunks = [ordered[i : i + setting.batch] for i in range(0, len(ordered), setting.batch)]
        self._batches = [
            (collate(chunk, entry.manifest.text, inputs), len(chunk), sum(map(len, chunk))) for chunk in chunks
        ]
        # A run is too short for all batches. In sorted order, it would always get the same short texts.
        self._shuffled = list(self._batches)
        random.Random(7).shuffle(self._shuffled)
        self._next = 0

    def rate(self, seconds: float) -> Rate:
        """Run batches for ``seconds``, starting after the last batch of the previous call."""

        def run_next(number: int) -> tuple[int, int]:
            batch = self._shuffled[self._next % len(self._shuffled)]
            self._next += 1
            return self._run(number, batch)

        return side_by_side(run_next, len(self.sessions), seconds)

    def latencies_s(self, seconds: float) -> list[float]:
        """Run one batch after another on the first session, and return the latency of each."""
        found, until = [], time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            self._run(0, self._shuffled[self._next % len(self._shuffled)])
            self._next += 1
            found.append(time.perf_counter() - started)
        return found

    def rate_of_whole_passes(self, seconds: float) -> Rate:
        """Run all texts repeatedly for ``seconds``, and finish the last pass.

        Use this for few texts of very different lengths, where the rate of a part would not represent the whole. The
        longest texts run first, so that all sessions end together.
        """
        started, cpu = time.perf_counter(), time.process_time()
        items = tokens = 0
        while time.perf_counter() < started + seconds:
            left = list(self._batches)

            def drain(number: int, left: list = left) -> list[tuple[int, int]]:
                done = []
                while left:
                    try:
                        batch = left.pop()
                    except IndexError:  # another session took the last batch
                        break
                    done.append(self._run(number, batch))
                return done

            with ThreadPoolExecutor(len(self.sessions)) as pool:
                counted = [one for done in pool.map(drain, range(len(self.sessions))) for one in done]
            items += sum(count for count, _ in counted)
            tokens += sum(count for _, count in counted)
        return _rate(items, tokens, started, cpu)

    def _run(self, number: int, batch: tuple[dict, int, int]) -> tuple[int, int]:
        arrays, items, tokens = batch
        self.sessions[number].run(None, arrays)
        return items, tokens


def best_setting(settings: Iterable[Setting], measure: Callable[[Setting], float], unit: str = "tokens/s") -> Setting:
    """Measure all settings once and the best few again in turn, because single measurements are noisy."""

    def look(setting: Setting) -> float:
        found = measure(setting)
        print(f"bare, {setting}: {found:7.1f} {unit}", flush=True)
        return found

    first = {setting: look(setting) for setting in dict.fromkeys(settings)}
    finalists = sorted(first, key=lambda setting: first[setting], reverse=True)[:_FINALISTS]
    again = [{setting: look(setting) for setting in finalists} for _ in range(_LOOKS)]
    return max(finalists, key=lambda setting: median([rates[setting] for rates in again]))


def best_bare_graph(
    entry: Entry,
    repository: Repository,
    items: Sequence[TokenizedText],
    batches: Sequence[int] = (4, 8, 16, 32),
    *,
    disabled_optimizers: Sequence[str] = (),
) -> BareGraph:
    """Find the fastest combination of sessions, threads and batch size.

    Settings are compared by tokens per second, so that it matters little which texts each measurement used.
    """
    cores = usable_cores()
    layouts = dict.fromkeys([(1, cores), (cores, 1), (1, 1)])

    def measure(setting: TextSetting) -> float:
        graph = BareGraph(entry, repository, setting, items, disabled_optimizers=disabled_optimizers)
        graph.rate(0.3)
        return graph.rate(1.5).tokens_per_s

    found = best_setting((TextSetting(*layout, batch) for layout in layouts for batch in batches), measure)
    return BareGraph(entry, repository, found, items, disabled_optimizers=disabled_optimizers)


def open_sessions(
    path: Path,
    *,
    sessions: int,
    threads: int,
    spinning: bool = False,
    disabled_optimizers: Sequence[str] = AS_THE_SERVER,
) -> list[ort.InferenceSession]:
    """Open several sessions on a graph, by default with the server's options for text encoders."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return [
        ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
        )
        for _ in range(sessions)
    ]


def side_by_side(run_next: Callable[[int], tuple[int, int]], workers: int, seconds: float) -> Rate:
    """Call ``run_next`` repeatedly in several threads for ``seconds``.

    Args:
        run_next: Runs the next batch of a worker, given its number; returns the number of items and tokens.
        workers: Number of threads.
        seconds: Duration.
    """
    done: list[tuple[int, int]] = []
    started, cpu = time.perf_counter(), time.process_time()

    def work(number: int) -> None:
        while time.perf_counter() < started + seconds:
            done.append(run_next(number))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return _rate(sum(items for items, _ in done), sum(tokens for _, tokens in done), started, cpu)


def _rate(items: int, tokens: int, started: float, cpu: float) -> Rate:
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return Rate(items / seconds, tokens / seconds, 1e3 * cpu_s / max(1, items))


def tokenize(entry: Entry, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenize with the model's own tokenizer."""
    return TextPreprocessor(entry.manifest.text, Path(entry.folder)).encode(texts)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(values))
