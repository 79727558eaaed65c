"""The parts of ``gpu.py``: the bare graphs, single texts, bulk requests and images."""

from __future__ import annotations

import argparse
import base64
import itertools
import multiprocessing
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import uvloop
from PIL import Image

from bare import median, side_by_side, tokenize
from gpu_busy import GpuBusy
from gpu_graphs import VARIANTS, write_variant
from ingrain.bench.load import LoadResult, Target, closed_loop, embedding_request
from ingrain.bench.texts import make_texts
from ingrain.cores import usable_cores
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.tokenized import collate
from ingrain.python_backend import cuda
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from server import running_server

if TYPE_CHECKING:
    from gpu import Report, Row, Sizes

_MODEL, _IMAGE_MODEL = "all-MiniLM-L6-v2", "tf_efficientnet_lite0"
_IN_FLIGHT = (1, 2)
_IMAGES = 64
_GOAL_BULK = "≥ 0.90 of bare, with a front end of 100,000 texts/s"
_GOAL_BUSY = "GPU busy ≥ 90 %"


def facts(options: argparse.Namespace) -> Row:
    """Return facts about the machine; end the program if graphs cannot run on its GPU."""
    if options.device == "cuda" and (problem := cuda.why_unusable()):
        raise SystemExit(f"{problem}; --device=cpu tries the script on a machine without a GPU")
    return {
        "device": ", ".join(cuda.gpu_names()) if options.device == "cuda" else "cpu, tiny sizes: no measurement",
        "cores": usable_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }


def run_all(report: Report, options: argparse.Namespace, sizes: Sizes) -> None:
    """Run all parts, those with a goal first."""
    parts = Parts(options, sizes)
    for variant in VARIANTS:
        report.part(f"graph {variant}, bare", lambda variant=variant: parts.bare(variant), needs_s=sizes.needs_s / 2)
    for variant in sorted(VARIANTS, key=lambda one: parts.bare_rates.get(one, 0.0), reverse=True):
        report.part(f"bulk {variant}", lambda variant=variant: parts.bulk(variant), needs_s=sizes.needs_s)
        if variant == parts.best:
            for workers in sizes.workers:
                name = f"single texts {variant}, {workers} workers"
                report.part(name, lambda workers=workers: parts.singles(workers), needs_s=sizes.needs_s)
            report.part("images", parts.images, needs_s=sizes.needs_s)


class Parts:
    """Runs the parts and remembers what later ones are compared with.

    Attributes:
        bare_rates: Texts per second of the bare graph, by variant.
    """

    def __init__(self, options: argparse.Namespace, sizes: Sizes) -> None:
        self._options, self._sizes = options, sizes
        self._repository = Repository(options.repository.resolve())
        self._entry = self._find(_MODEL, "sentence_transformers")
        self._texts = make_texts("query", sizes.texts)
        self._single_rates: dict[tuple[int, int], float] = {}
        self._folders: dict[str, Path] = {}
        self.bare_rates: dict[str, float] = {}

    @property
    def best(self) -> str:
        """The variant whose bare graph is fastest, among those that the server takes on this device."""
        taken = {name: rate for name, rate in self.bare_rates.items() if self._is_served(name)}
        return max(taken, key=lambda name: taken[name], default=VARIANTS[0])

    def bare(self, variant: str) -> list[Row]:
        """Measure a variant's graph alone, at its best batch size and number of batches in flight."""
        folder = write_variant(
            self._options.repository.resolve(), self._entry, variant, self._options.scratch.resolve()
        )
        self._folders[variant] = folder
        graph = self._entry.manifest.graphs[0]
        session = self._open(Repository(folder).locate_graph(graph))
        items = sorted(tokenize(self._entry, self._texts), key=len)
        inputs = [tensor.name for tensor in graph.inputs]
        found: list[Row] = []
        for size in self._sizes.batches:
            chunks = [items[start : start + size] for start in range(0, len(items), size)]
            batches = [(collate(chunk, self._entry.manifest.text, inputs), len(chunk)) for chunk in chunks]
            for workers in _IN_FLIGHT:
                rate, busy = self._measure_bare(session, batches, workers)
                row = {"part": f"graph {variant}, bare", "itemsPerS": rate, "batch": size, "inFlight": workers}
                found.append({**row, "gpuBusy": busy})
        best = max(found, key=lambda row: row["itemsPerS"])
        self.bare_rates[variant] = best["itemsPerS"]
        return [best]

    def bulk(self, variant: str) -> list[Row]:
        """Measure requests of many texts with raw answers, with one front end."""
        count = self._sizes.bulk_texts
        chunks = [self._texts[start : start + count] for start in range(0, len(self._texts) - count + 1, count)]
        requests = [embedding_request("/embed_text", {"name": _MODEL, "text": chunk}, "raw") for chunk in chunks]
        with self._server(variant, workers=1) as port:
            row = self._load(f"bulk {variant}, 1 worker", port, requests, self._sizes.bulk_clients, items=count)
        if self.bare_rates.get(variant):
            row["ratioToBare"] = round(row["itemsPerS"] / self.bare_rates[variant], 3)
        return [{**row, "goal": f"{_GOAL_BULK}; {_GOAL_BUSY}"}]

    def singles(self, workers: int) -> list[Row]:
        """Measure requests of one short text, for each number of clients."""
        variant = self.best
        requests = [embedding_request("/embed_text", {"name": _MODEL, "text": text}, "json") for text in self._texts]
        rows = []
        with self._server(variant, workers=workers) as port:
            for clients in self._sizes.clients:
                name = f"single texts {variant}, {workers} workers, {clients} clients"
                row = self._load(name, port, requests, clients)
                self._single_rates[workers, clients] = row["itemsPerS"]
                one = self._single_rates.get((1, clients))
                if workers > 1 and one:
                    row["timesOneWorker"] = round(row["itemsPerS"] / one, 2)
                    row["goal"] = f"{row['timesOneWorker']} times one worker, to reach 6 at 8 workers"
                rows.append(row)
        return rows

    def images(self) -> list[Row]:
        """Measure requests of one JPEG, and the same images decoded and run in one process."""
        entry = self._find(_IMAGE_MODEL, "timm")
        files = _jpegs()
        bare = self._bare_images(entry, files)
        body = [{"name": _IMAGE_MODEL, "image": base64.b64encode(file).decode()} for file in files]
        requests = [embedding_request("/classify_image", one, "json") for one in body]
        with self._server(None, workers=max(self._sizes.workers), model=f"timm:{_IMAGE_MODEL}") as port:
            row = self._load("images, served", port, requests, self._sizes.image_clients)
        return [bare, {**row, "ratioToBare": round(row["itemsPerS"] / bare["itemsPerS"], 3)}]

    def _bare_images(self, entry: Entry, files: Sequence[bytes]) -> Row:
        session = self._open(self._repository.locate_graph(entry.manifest.graphs[0]))
        assert entry.manifest.image is not None
        prepare, name = ImagePreprocessor(entry.manifest.image).prepare, session.get_inputs()[0].name
        feed = itertools.cycle([files[start : start + 16] for start in range(0, len(files), 16)])

        def run_next(_: int) -> tuple[int, int]:
            chunk = next(feed)
            session.run(None, {name: np.stack([prepare(file) for file in chunk])})
            return len(chunk), 0

        with GpuBusy() as busy:
            rate = side_by_side(run_next, usable_cores(), self._sizes.seconds)
        return {"part": "images, bare", "itemsPerS": rate.items_per_s, "gpuBusy": busy.share}

    def _find(self, name: str, library: str) -> Entry:
        entry = self._repository.find(model_key(name, library))
        if entry is None:
            raise SystemExit(f"{name} is not in {self._options.repository}")
        return entry

    def _is_served(self, variant: str) -> bool:
        return self._options.device == "cuda" or "fp16" not in variant

    def _open(self, path: Path) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self._options.device == "cuda":
            return cuda.open_session(path, options)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def _measure_bare(self, session: Any, batches: list[tuple[dict, int]], workers: int) -> tuple[float, float | None]:
        # In sorted order, a run that is too short for all batches would only get short texts.
        np.random.default_rng(7).shuffle(batches)
        feed = itertools.cycle(batches)

        def run_next(_: int) -> tuple[int, int]:
            arrays, count = next(feed)
            session.run(None, arrays)
            return count, 0

        side_by_side(run_next, workers, self._sizes.warm_up_s / 2)
        with GpuBusy() as busy:
            rate = side_by_side(run_next, workers, self._sizes.seconds / 4)
        return rate.items_per_s, busy.share

    @contextmanager
    def _server(self, variant: str | None, *, workers: int, model: str = _MODEL) -> Iterator[int]:
        """Start a server and yield its port; ``variant`` is None for the repository as it is."""
        if variant is not None and not self._is_served(variant):
            raise RuntimeError("the server takes half precision on a GPU only")
        options = self._options
        repository = options.repository if variant is None else self._folders[variant]
        kind = "KIND_GPU" if options.device == "cuda" else "KIND_CPU"
        environment = {"INGRAIN_WORKERS": str(workers), "INSTANCE_KIND": kind}
        with running_server(repository, options.scratch, model, **environment) as server:
            yield server.inference_port

    def _load(self, name: str, port: int, requests: list[bytes], clients: int, *, items: int = 1) -> Row:
        """Load the server from several processes, and return rate and latency; ``items`` is the number per request."""
        sizes = self._sizes
        generators = min(sizes.generators, clients)
        share = [requests[number::generators] for number in range(generators)]
        jobs = [(port, own, clients // generators, sizes.warm_up_s + sizes.seconds) for own in share]
        with multiprocessing.get_context("spawn").Pool(generators) as pool, GpuBusy() as busy:
            results = pool.starmap(_generate, jobs)
        statuses = {status for result in results for status in result.statuses}
        if statuses != {200}:
            raise RuntimeError(f"the server answered {sorted(statuses)}")
        latencies = [latency for result in results for latency in result.latencies_s]
        return {
            "part": name,
            "itemsPerS": items * sum(result.steady_requests_per_s(sizes.warm_up_s) for result in results),
            "p50Ms": 1e3 * median(latencies),
            "p99Ms": 1e3 * float(np.quantile(latencies, 0.99)),
            "gpuBusy": busy.share,
        }


def _generate(port: int, requests: list[bytes], clients: int, seconds: float) -> LoadResult:
    return uvloop.run(closed_loop(Target("127.0.0.1", port), requests, clients=clients, seconds=seconds))


def _jpegs() -> list[bytes]:
    """Return distinct smooth images of 640 × 480 with some noise, as JPEG."""
    numbers, files = np.random.default_rng(7), []
    for _ in range(_IMAGES):
        small = Image.fromarray(numbers.integers(0, 256, (12, 16, 3), np.uint8))
        large = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(large + numbers.integers(-12, 13, large.shape), 0, 255).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files
