"""Bulk jobs on Ray against two processes without Ray and against bare ONNX Runtime, and what a dead node leaves.

``rates`` measures all three in turn on the same two cores, ``kill`` runs a whole job on two nodes and kills one half
way, ``check`` looks at its output: complete, each row once, and a sample of the vectors as sentence-transformers
gives them. Short texts are generated, articles are made from the sentences of the news in the package gensim. Needs
Ray, and a repository with the model. Each of ``rates`` and ``kill`` is made to take a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

from bare import BareGraph, TextSetting, tokenize
from ingrain.bench.texts import make_texts
from ingrain.bulk.here import PARTS_AT_ONCE
from ingrain.bulk.job import Job, Options, make_part, open_job
from ingrain.bulk.local_model import LocalModel
from ingrain.bulk.on_ray import Actors, connected, run_on_ray
from ingrain.bulk.opened import Place
from ingrain.bulk.wanted import Wanted
from ingrain.registry.stored import StoredModels
from ingrain.repository.store import Entry, Repository

PROCESSES = 2
SAMPLE = 10_000
# Ray takes 127.0.0.1 for the machine's own address in the network.
_ADDRESS = "127.0.0.2"
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
# Not counted at the start, while processes warm up.
_WARM_UP_SHARE = 0.15
_BARE_SECONDS = 8.0
_BARE_TEXTS = 4_096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("rates", "kill", "check"))
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--model", default="bert-2x128")
    parser.add_argument("--source", type=Path, help="check: the model's folder for sentence-transformers")
    parser.add_argument("--folder", type=Path, default=Path(".run/ray-bulk"), help="inputs and outputs")
    parser.add_argument("--texts", choices=("short", "articles"), default="short")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rate-count", type=int, default=200_000, help="rates: texts of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", type=int, default=40)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stage = {"rates": rates, "kill": kill, "check": check}[options.stage]
    print(json.dumps({"stage": options.stage, "model": options.model, "texts": options.texts} | stage(options)))


def rates(options: argparse.Namespace) -> dict[str, Any]:
    """Measure two processes, Ray, and ONNX Runtime in turn."""
    found: dict[str, list[Any]] = {"processes": [], "ray": [], "onnxruntime": []}
    for _ in range(options.rounds):
        for name, measure in (("processes", with_processes), ("ray", with_ray), ("onnxruntime", bare_onnxruntime)):
            found[name].append(measure(options))
            print(f"{name}: {found[name][-1]}", flush=True)
    report: dict[str, Any] = {"found": found}
    for place, what in enumerate(("rate", "cpu")):
        median = {name: float(np.median([one[place] for one in values])) for name, values in found.items()}
        for name in ("ray", "processes"):
            ratio = median[name] / median["onnxruntime"]
            report[f"{what}: {name} to onnxruntime"] = ratio if what == "rate" else 1 / ratio
        ratio = median["ray"] / median["processes"]
        report[f"{what}: ray to processes"] = ratio if what == "rate" else 1 / ratio
    return report


class Clock:
    """Takes wall time and the CPU time of all processes below this one, from the first parts to the last one."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._made: list[tuple[float, float, int]] = []
        self._rows = 0

    def tell(self, rows: int) -> None:
        self._rows += rows
        self._made.append((time.monotonic(), cpu_s_below(), self._rows))

    def watch(self, workers: list[Any]) -> None:
        """Tell the parts that processes make, until all of them have ended."""
        count = len(self._job.missing())
        while any(worker.is_alive() for worker in workers):
            left = len(self._job.missing())
            if left < count:
                self.tell(self._job.options.rows_a_part * (count - left))
                count = left
            time.sleep(0.05)

    def rate(self) -> tuple[float, float]:
        """Return texts per second, and milliseconds of CPU time for each text."""
        warm = next(place for place, made in enumerate(self._made) if made[2] >= _WARM_UP_SHARE * self._made[-1][2])
        (started, cpu, before), (ended, cpu_end, rows) = self._made[warm], self._made[-1]
        return (rows - before) / (ended - started), 1e3 * (cpu_end - cpu) / (rows - before)


def cpu_s_below() -> float:
    """Return the CPU seconds of all processes that this one has started and that live."""
    found = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found += times.user + times.system
    return found


def with_processes(options: argparse.Namespace) -> tuple[float, float]:
    """Return the rate of processes with the same code and without Ray."""
    job = begin(options, "processes", options.rate_count)
    numbers = job.missing()
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=make_parts, args=(job.output, job.note, numbers[first::PROCESSES], options.repository))
        for first in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    clock = Clock(job)
    clock.watch(workers)
    assert not job.missing()
    return clock.rate()


def make_parts(output: str, note: Any, numbers: list[int], repository: Path) -> None:
    """Make parts in a process of its own, on one core."""
    job = Job(output, note)
    model = LocalModel(job.options.wanted, repository=repository, threads=1)
    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        making = [
            pool.submit(make_part, job.options, job.note.splits[number], job.part(number), model.embed)
            for number in numbers
        ]
        for one in making:
            one.result()
    model.close()


def with_ray(options: argparse.Namespace) -> tuple[float, float]:
    """Return the rate on a cluster of two nodes with a core each."""
    job = begin(options, "ray", options.rate_count)
    clock = Clock(job)
    with cluster() as (address, _), connected(address):
        run_on_ray(job, Place(repository=str(options.repository)), Actors(), clock.tell)
    return clock.rate()


def bare_onnxruntime(options: argparse.Namespace) -> tuple[float, float]:
    """Return the rate of ONNX Runtime alone, on texts that are tokenized and sorted by length beforehand."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        texts = make_input_texts(options.texts, _BARE_TEXTS if options.texts == "short" else _BARE_TEXTS // 8)
        arguments = [(options.repository, options.model, texts)] * PROCESSES
        found = pool.starmap(bare_rate, arguments)
    return sum(rate for rate, _ in found), float(np.mean([cpu for _, cpu in found]))


def bare_rate(repository: Path, model: str, texts: list[str]) -> tuple[float, float]:
    """Return the texts per second of one session on one thread, and milliseconds of CPU time for each."""
    root = Repository(repository.resolve())
    entry = root.find(StoredModels(root).key(model, None, None, besides=set()))
    assert isinstance(entry, Entry)
    graph = BareGraph(entry, root, TextSetting(1, 1, 32), tokenize(entry, texts), spinning=False)
    graph.rate_of_whole_passes(1.0)
    found = graph.rate_of_whole_passes(_BARE_SECONDS)
    return found.items_per_s, found.cpu_ms_per_item


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """Run a whole job on two nodes, and kill one when half of the parts are there."""
    job = begin(options, "kill", options.count)
    done, killed_at = 0, 0.0
    started = time.monotonic()
    with cluster() as (address, kill_node), connected(address):

        def tell(rows: int) -> None:
            nonlocal done, killed_at
            done += rows
            if not killed_at and done >= options.count / 2:
                killed_at = time.monotonic() - started
                kill_node()
                print(f"killed a node after {done} rows and {killed_at:.1f} s", flush=True)

        run_on_ray(job, Place(repository=str(options.repository)), Actors(), tell)
    seconds = time.monotonic() - started
    assert killed_at
    return {"rows": done, "parts": len(job.note.splits), "seconds": round(seconds, 1), "killedAfterS": killed_at}


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the output of ``kill`` with its input, and a sample of the vectors with sentence-transformers."""
    written = input_file(options, options.count)
    given = pyarrow.parquet.read_table(written)
    found = pyarrow.dataset.dataset(options.folder / f"kill-{options.texts}", format="parquet").to_table()
    order = np.argsort(found["id"].to_numpy(), kind="stable")
    assert found.num_rows == options.count, found.num_rows
    assert (found["id"].to_numpy()[order] == np.arange(options.count)).all(), "not every row is there once"
    assert found["text"].take(order).to_pylist() == given["text"].to_pylist()
    from tiny_models import prepare_libraries

    prepare_libraries()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    sample = np.sort(np.random.default_rng(7).choice(options.count, SAMPLE, replace=False))
    rows = found.take(order[sample])
    ours = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(SAMPLE, -1)
    source = SentenceTransformer(str(options.source), device="cpu")
    theirs = source.encode(rows["text"].to_pylist(), batch_size=64, normalize_embeddings=True)
    return {"rows": found.num_rows, "sample": SAMPLE, "largestDifference": float(np.abs(ours - theirs).max())}


def begin(options: argparse.Namespace, name: str, count: int) -> Job:
    """Begin a job on ``count`` texts, in an empty folder."""
    output = options.folder / f"{name}-{options.texts}"
    shutil.rmtree(output, ignore_errors=True)
    wanted = Options(wanted=Wanted(model=options.model), rows_a_part=-(-count // options.parts))
    return open_job([str(input_file(options, count))], str(output), wanted)


def input_file(options: argparse.Namespace, count: int) -> Path:
    """Return a Parquet file with ids and texts, written on the first call."""
    file = options.folder / f"{options.texts}-{count}.parquet"
    if not file.exists():
        texts = make_input_texts(options.texts, count)
        table = pyarrow.table({"id": np.arange(count), "text": texts})
        pyarrow.parquet.write_table(table, file, row_group_size=max(1, count // 100))
    return file


def make_input_texts(kind: str, count: int) -> list[str]:
    """Return distinct short texts of 4 to 9 words, or articles of as many sentences as real ones, of one another."""
    if kind == "short":
        return make_texts("query", count)
    articles = [re.split(r"(?<=[.!?])\s+", text) for text in make_texts("news", 300)]
    sentences = [sentence for article in articles for sentence in article]
    numbers = random.Random(7)
    return [" ".join(numbers.sample(sentences, len(numbers.choice(articles)))) for _ in range(count)]


class cluster:  # noqa: N801 - used like a function
    """Two nodes on loopback with a core each; gives the address, and a function that kills the second one."""

    def __enter__(self) -> tuple[str, Any]:
        # Otherwise Ray has its workers run at the niceness 15, and other work on the machine comes first.
        os.environ.setdefault("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        alike = {"num_cpus": 1, "object_store_memory": _OBJECT_STORE_BYTES, "node_ip_address": _ADDRESS}
        self._cluster = Cluster(initialize_head=True, head_node_args={**alike, "include_dashboard": False})
        second = self._cluster.add_node(**alike)
        return self._cluster.address, lambda: self._cluster.remove_node(second, allow_graceful=False)

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()


if __name__ == "__main__":
    main()
