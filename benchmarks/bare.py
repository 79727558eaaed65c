"""The yardstick: the published graph on ONNX Runtime without a server, at its fastest setting."""

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
from ingrain.preprocess.text import TextPreprocessor, TokenizedText, collate
from ingrain.repository.store import Entry, Repository

AS_THE_SERVER = ("SkipLayerNormFusion",)
"""The fusions that the server leaves out of text encoders, which is faster on a CPU; ONNX Runtime itself does them."""

_FINALISTS = 4
_LOOKS = 3

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Rate:
    """What a piece of work came to.

    Attributes:
        items_per_s: Items by second of wall time.
        tokens_per_s: Their tokens, padding not counted; 0 for pictures.
        cpu_ms_per_item: CPU time of the whole process, which does not depend on what else the machine does.
    """

    items_per_s: float
    tokens_per_s: float
    cpu_ms_per_item: float


@dataclass(frozen=True)
class TextSetting:
    """How bare ONNX Runtime uses the cores: sessions, each run by a thread of its own, their threads, the batch."""

    sessions: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.sessions} sessions × {self.threads} threads, batches of {self.batch}"


class BareGraph:
    """Sessions on one graph that run batches of texts of one length, as the best use of the graph would.

    Args:
        entry: The published model.
        repository: Where it is.
        setting: How the cores are used.
        items: The texts; sorted by length here.
        spinning: Whether threads keep the cores while they wait; None for what is best under full load.
        disabled_optimizers: What ONNX Runtime is told to leave out.
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
        ordered = sorted(items, key=len)
        chunks = [ordered[i : i + setting.batch] for i in range(0, len(ordered), setting.batch)]
        self._batches = [
            (collate(chunk, entry.manifest.text, inputs), len(chunk), sum(map(len, chunk))) for chunk in chunks
        ]
        # A run is too short for all texts: in sorted order it would get only short ones, and always the same ones.
        self._shuffled = list(self._batches)
        random.Random(7).shuffle(self._shuffled)
        self._next = 0

    def rate(self, seconds: float) -> Rate:
        """Run batches, going on where the last call ended, until the time is up."""

        def run_next(number: int) -> tuple[int, int]:
            batch = self._shuffled[self._next % len(self._shuffled)]
            self._next += 1
            return self._run(number, batch)

        return side_by_side(run_next, len(self.sessions), seconds)

    def latencies_s(self, seconds: float) -> list[float]:
        """Run one batch after another on the first session, and return how long each took."""
        found, until = [], time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            self._run(0, self._shuffled[self._next % len(self._shuffled)])
            self._next += 1
            found.append(time.perf_counter() - started)
        return found

    def rate_of_whole_passes(self, seconds: float) -> Rate:
        """Run all texts, again and again until the time is up, the last time to the end too.

        For few texts of very different lengths: the rate of some of them would say nothing about the others. The
        longest go first, so that all sessions end together.
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
                    except IndexError:  # another session took the last one
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
    """Try all settings once, and the best few again in turn: on a noisy machine one look finds a lucky one."""

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
    """Look for the best of sessions × threads × batch size.

    Settings are compared by tokens, not by items, so that it matters little which texts each of them met.
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
    """Open a graph several times, by default as the server opens a text encoder."""
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
    """Have each of some threads do its next piece of work until the time is up.

    Args:
        run_next: Does the next piece of the worker whose number it gets, and returns how many items and tokens it had.
        workers: How many threads.
        seconds: How long.
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
