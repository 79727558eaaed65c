"""Embeds the calibration sample; the ranges of int8 vectors are computed from its vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from ingrain.export.onnx.onnx_file import open_session
from ingrain.export.precision.calibration_texts import SAMPLE, calibration_texts
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import Floats
from ingrain.export.proof.side_by_side import session_threads, side_by_side
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.progress import Progress
from ingrain.repository.checksums import describe_file
from ingrain.repository.manifest import Calibration, Manifest

_BATCH = 16


def calibrate(job: ExportJob, manifest: Manifest, report: Callable[[Progress], None]) -> Manifest:
    """Embed the sample with a model's exported text graph, and store the vectors.

    Returns:
        The manifest with the calibration; unchanged for a model without a text encoder.
    """
    graph = next((graph for graph in manifest.graphs if graph.role == "text_encoder"), None)
    if manifest.text is None or graph is None:
        return manifest
    folder = Path(job.output) / "model"
    path = Path(job.output) / graph.name / "1" / "model.onnx"
    session = open_session(path, session_threads(), precision=manifest.precision, on_gpu=job.on_gpu)
    texts = calibration_texts()
    # Sorted by length. If padding changes the vectors, a batch has texts of exactly one length.
    items = sorted(enumerate(TextPreprocessor(manifest.text, folder).encode(texts)), key=lambda item: len(item[1]))
    names = [tensor.name for tensor in graph.inputs]
    vectors = np.zeros((len(texts), manifest.embedding_size), np.float32)

    def embed(batch: list[tuple[int, TokenizedText]]) -> Floats:
        assert manifest.text is not None
        rows: Floats = session.run(None, collate([item for _, item in batch], manifest.text, names))[0]
        return rows

    done = 0
    for batch, rows in side_by_side(embed, _batches(items, equal_lengths_only=graph.equal_lengths_only)):
        report(Progress("verify", "vectors of the calibration sample", done, len(items), "cases"))
        vectors[[place for place, _ in batch]] = rows
        done += len(batch)
    calibration = Calibration(sample=SAMPLE, texts=len(texts))
    np.save(folder / calibration.file, vectors, allow_pickle=False)
    return msgspec.structs.replace(
        manifest, calibration=calibration, files=(*manifest.files, describe_file(folder, calibration.file))
    )


def _batches(
    items: Sequence[tuple[int, TokenizedText]], *, equal_lengths_only: bool
) -> Iterator[list[tuple[int, TokenizedText]]]:
    """Cut the items, sorted by length, into batches."""
    start = 0
    while start < len(items):
        end = min(start + _BATCH, len(items))
        if equal_lengths_only:
            length = len(items[start][1])
            end = next((place for place in range(start, end) if len(items[place][1]) != length), end)
        yield list(items[start:end])
        start = end
