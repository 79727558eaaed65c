"""Embeds the calibration sample; the ranges of int8 vectors are computed from its vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from ingrain.export.onnx.onnx_file import open_session
from ingrain.export.precision.calibration_texts import SAMPLE, calibration_texts
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import collate
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
    session = open_session(path, export_threads(), precision=manifest.precision, on_gpu=job.on_gpu)
    texts = calibration_texts()
    # Sorted by length. If padding changes the vectors, a batch has texts of exactly one length.
    items = sorted(enumerate(TextPreprocessor(manifest.text, folder).encode(texts)), key=lambda item: len(item[1]))
    names = [tensor.name for tensor in graph.inputs]
    vectors = np.zeros((len(texts), manifest.embedding_size), np.float32)
    start = 0
    while start < len(items):
        end = min(start + _BATCH, len(items))
        if graph.equal_lengths_only:
            length = len(items[start][1])
            end = next((place for place in range(start, end) if len(items[place][1]) != length), end)
        report(Progress("verify", "vectors of the calibration sample", start, len(items), "cases"))
        places = [place for place, _ in items[start:end]]
        arrays = collate([item for _, item in items[start:end]], manifest.text, names)
        vectors[places] = session.run(None, arrays)[0]
        start = end
    calibration = Calibration(sample=SAMPLE, texts=len(texts))
    np.save(folder / calibration.file, vectors, allow_pickle=False)
    return msgspec.structs.replace(
        manifest, calibration=calibration, files=(*manifest.files, describe_file(folder, calibration.file))
    )
