"""Compares a CLIP text tower on texts of 12 tokens with the same texts padded to 77 tokens.

OpenCLIP pads every text to the context length. Ingrain's graph does not need padding if the text tower is causal,
because tokens after the end of a text cannot change its vector. The model is ``ViT-B-32`` at full size with random
weights, which take the same time as the published weights. The first run exports it, which takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort

from bare import median, open_sessions
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import Manifest, TextPreprocess

_ARCHITECTURE = "ViT-B-32"
_TOKENS = 12
_WORDS = (
    "a",
    "the",
    "dog",
    "cat",
    "house",
    "river",
    "red",
    "green",
    "old",
    "small",
    "boat",
    "street",
    "under",
    "photo",
)


def main() -> None:
    options = _options()
    if not options.folder.exists():
        _export_into(options.folder)
    manifest = msgspec.json.decode((options.folder / "model" / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.text is not None
    graph = next(graph for graph in manifest.graphs if graph.role == "text_encoder")
    (session,) = open_sessions(options.folder / graph.name / "1" / "model.onnx", sessions=1, threads=options.threads)
    texts = _texts_of_12_tokens(TextPreprocessor(manifest.text, options.folder / "model"), max(options.batches))
    report = [_compare(session, manifest.text, texts[:batch], options.rounds) for batch in options.batches]
    for row in report:
        print(
            f"batch {row['batch']}: {row['shortMs']:.1f} ms at {_TOKENS} tokens, {row['paddedMs']:.1f} ms padded to "
            f"{manifest.text.max_tokens}: {row['ratio']:.2f} times; vectors differ by {row['maxAbsDiff']:.1e} at most"
        )
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".run/text-length"), help="folder of the exported tower")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser.parse_args()


def _compare(
    session: ort.InferenceSession, config: TextPreprocess, texts: list[TokenizedText], rounds: int
) -> dict[str, float]:
    """Time both forms of the same batch in turn, and compare the normalized vectors."""
    names = [tensor.name for tensor in session.get_inputs()]
    short = collate(texts, config, names)
    padded = collate(texts, config, names, config.max_tokens)
    assert short[names[0]].shape == (len(texts), _TOKENS)
    assert padded[names[0]].shape == (len(texts), config.max_tokens)
    times: dict[str, list[float]] = {"short": [], "padded": []}
    vectors: dict[str, np.ndarray] = {}
    for number in range(rounds + 2):
        for form, arrays in (("short", short), ("padded", padded)):
            started = time.perf_counter()
            (vectors[form],) = session.run(None, arrays)
            if number >= 2:  # warm-up: the first runs allocate memory
                times[form].append(time.perf_counter() - started)
    # Different texts must have different vectors, or the comparison of the two forms would mean nothing.
    assert len(np.unique(vectors["short"].round(3), axis=0)) == len(texts)
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in vectors.values()]
    return {
        "batch": len(texts),
        "shortMs": 1e3 * median(times["short"]),
        "paddedMs": 1e3 * median(times["padded"]),
        "ratio": median(times["padded"]) / median(times["short"]),
        "maxAbsDiff": float(np.abs(units[0] - units[1]).max()),
    }


def _texts_of_12_tokens(preprocessor: TextPreprocessor, count: int) -> list[TokenizedText]:
    words = random.Random(7)
    candidates = (" ".join(words.choices(_WORDS, k=_TOKENS - 2)) for _ in range(100 * count))
    found = [item for text in dict.fromkeys(candidates) for item in preprocessor.encode([text]) if len(item) == _TOKENS]
    assert len(found) >= count
    return found[:count]


def _export_into(folder: Path) -> None:
    """Export in a separate process, so that its memory and threads are gone before the measurement."""
    print(f"exporting {_ARCHITECTURE} with random weights ...", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            output = pool.submit(_export, Path(scratch)).result()
        shutil.move(output, folder)


def _export(scratch: Path) -> Path:
    """Build, export and prove the model; return the folder with manifest, tokenizer and text graph."""
    from compat.clip_models import place, subject
    from compat.forked import warm_up
    from compat.towers import convert_briefly, job_in
    from ingrain.export.families.output import graph_folder, model_folder

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # OpenCLIP warns that the weights are not loaded yet
    warm_up()
    job = job_in(scratch, _ARCHITECTURE, "open_clip")
    manifest = convert_briefly(job, place(subject(_ARCHITECTURE), scratch / "source"), lambda _: None)
    (model_folder(job) / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    shutil.rmtree(graph_folder(job, "image_encoder").parent)  # 350 MB, not needed here
    return Path(job.output)


if __name__ == "__main__":
    main()
