"""Measures each precision on bare ONNX Runtime: items per second, cosine similarity to fp32, WordSim-353.

Each precision is exported and proved once, as by the server, and kept. Then one thread runs the same batches with all
graphs in turn. Times are CPU times of this thread, so that other load on the machine matters little. ONNX Runtime's
dynamic quantization (per channel, reduced range) is measured for comparison; Ingrain does not publish it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import importlib.metadata
import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort

from bare import open_sessions
from ingrain.bench.texts import make_texts
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Precision

_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-safe")
_OTHER = "ONNX Runtime's int8"
_SENTENCES = 600


class Graph:
    """A published graph with its tokenizer."""

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self.manifest = msgspec.json.decode((folder / "model" / "manifest.json").read_bytes(), type=Manifest)
        (graph,) = self.manifest.graphs
        assert self.manifest.text is not None
        self.file = file or folder / graph.name / "1" / "model.onnx"
        self.preprocessor = TextPreprocessor(self.manifest.text, folder / "model")
        (self.session,) = open_sessions(self.file, sessions=1, threads=1)

    def arrays(self, items: Sequence[TokenizedText]) -> dict[str, np.ndarray]:
        return collate(items, self.preprocessor.config, [value.name for value in self.session.get_inputs()])

    def embed(self, texts: Sequence[str], batch: int = 32) -> np.ndarray:
        """Return unit vectors of texts; a batch has texts of similar length."""
        items = self.preprocessor.encode(list(texts))
        order = sorted(range(len(items)), key=lambda index: len(items[index]))
        rows = np.empty((len(items), self.manifest.embedding_size), np.float32)
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            (rows[places],) = self.session.run(None, self.arrays([items[place] for place in places]))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    options = _options()
    graphs = {precision: Graph(_exported(options, precision)) for precision in _PRECISIONS}
    graphs[_OTHER] = Graph(options.folder / options.model / "fp32", _quantized_by_onnxruntime(graphs["fp32"].file))
    report = {"model": options.model, "quality": _quality(graphs), "speed": _speed(graphs, options.rounds)}
    for name, row in report["quality"].items():
        print(
            f"{name:20} cosine to fp32: mean {row['meanCosine']:.4f}, least {row['minCosine']:.4f}; of a text alone to "
            f"itself in a batch: least {row['ownCosine']:.6f}; WordSim-353 {row['wordSim']:.4f}; "
            f"{row['megabytes']:.0f} MB"
        )
    for row in report["speed"]:
        ratios = ", ".join(f"{name} {row['ratio'][name]:.2f}" for name in graphs if name != "fp32")
        print(f"{row['texts']:32} fp32 {row['itemsPerS']['fp32']:7.1f} items/s; times fp32: {ratios}")
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="folder in the directory of models")
    parser.add_argument("--folder", type=Path, default=Path(".run/precision"), help="folder of the exports")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser.parse_args()


def _exported(options: argparse.Namespace, precision: Precision) -> Path:
    """Return the folder of an export; if missing, export in a separate process first."""
    target: Path = options.folder / options.model / precision
    if not target.exists():
        print(f"exporting {options.model} in {precision} ...", flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            output = Path(scratch) / "output"
            output.mkdir()
            job = ExportJob(
                name=options.model,
                library="sentence_transformers",
                output=str(output.resolve()),
                local_models_dir=str(options.models_dir.resolve()),
                precision=precision,
            )
            asyncio.run(run_export(job, timeout_s=1800, on_progress=lambda _: None))
            shutil.move(output, target)
    return target


def _quantized_by_onnxruntime(source: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    target = source.with_name("by-onnxruntime.onnx")
    if not target.exists():
        quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True)
    return target


def _quality(graphs: dict[str, Graph]) -> dict[str, dict[str, float]]:
    texts, pairs = _sentences(), _word_pairs()
    truth = graphs["fp32"].embed(texts)
    report = {}
    for name, graph in graphs.items():
        rows = graph.embed(texts)
        cosines = (rows * truth).sum(axis=1)
        own = (rows[::8] * graph.embed(texts[::8], batch=1)).sum(axis=1)
        report[name] = {
            "meanCosine": float(cosines.mean()),
            "minCosine": float(cosines.min()),
            "ownCosine": float(own.min()),
            "wordSim": _word_similarity(graph, pairs),
            "megabytes": graph.file.stat().st_size / 1e6,
        }
    return report


def _speed(graphs: dict[str, Graph], rounds: int) -> list[dict]:
    queries, passages = make_texts("query", 256), make_texts("lognormal", 96)
    return [
        _race(graphs, "4 to 9 words, alone", queries[:24], 1, rounds),
        _race(graphs, "4 to 9 words, batches of 8", queries[:96], 8, rounds),
        _race(graphs, "4 to 9 words, batches of 32", queries, 32, rounds),
        _race(graphs, "passages, batches of 8", passages[:32], 8, max(3, rounds // 3)),
    ]


def _race(graphs: dict[str, Graph], what: str, texts: Sequence[str], batch: int, rounds: int) -> dict:
    """Time each batch with all graphs in turn; a ratio is the median over batches of the ratios of median times."""
    items = sorted(graphs["fp32"].preprocessor.encode(list(texts)), key=len)
    batches = [graphs["fp32"].arrays(items[start : start + batch]) for start in range(0, len(items), batch)]
    times = {name: np.empty((rounds, len(batches))) for name in graphs}
    for number in range(-1, rounds):  # warm-up: the first round allocates memory
        for place, arrays in enumerate(batches):
            for name, graph in graphs.items():
                taken = _thread_time(graph.session, arrays)
                if number >= 0:
                    times[name][number, place] = taken
    medians = {name: np.median(taken, axis=0) for name, taken in times.items()}
    return {
        "texts": what,
        "itemsPerS": {name: len(items) / float(taken.sum()) for name, taken in medians.items()},
        "ratio": {name: float(np.median(medians["fp32"] / taken)) for name, taken in medians.items()},
    }


def _thread_time(session: ort.InferenceSession, arrays: dict[str, np.ndarray]) -> float:
    started = time.thread_time()
    session.run(None, arrays)
    return time.thread_time() - started


def _gensim_data() -> Path:
    """Return the folder of texts in the package gensim, without importing the package."""
    try:
        return Path(str(importlib.metadata.distribution("gensim").locate_file("gensim/test/test_data")))
    except importlib.metadata.PackageNotFoundError as error:
        raise SystemExit("The sentences and word pairs come from the package gensim: run `make install`") from error


def _sentences() -> list[str]:
    articles = (_gensim_data() / "lee_background.cor").read_text("utf-8").splitlines()
    parts = (part.strip() for article in articles for part in re.split(r"(?<=[.!?])\s+", article))
    return [part for part in parts if part][::3][:_SENTENCES]


def _word_pairs() -> list[tuple[str, str, float]]:
    with (_gensim_data() / "wordsim353.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if not row[0].startswith("#")]
    return [(first, second, float(score)) for first, second, score in rows]


def _word_similarity(graph: Graph, pairs: Sequence[tuple[str, str, float]]) -> float:
    """Return Spearman's correlation of cosine similarities with human ratings."""
    from scipy.stats import spearmanr

    words = sorted({word for first, second, _ in pairs for word in (first, second)})
    vectors = dict(zip(words, graph.embed(words), strict=True))
    cosines = [float(vectors[first] @ vectors[second]) for first, second, _ in pairs]
    return float(spearmanr(cosines, [score for *_, score in pairs]).statistic)


if __name__ == "__main__":
    main()
