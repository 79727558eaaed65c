"""Receives the folder of a sentence-transformers model, hands on its proved graphs: of texts and, if any, pictures."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, UnsupportedModelError, VerificationError
from ingrain.export.families import entry
from ingrain.export.families.sentence_transformers import images as image_tower
from ingrain.export.families.sentence_transformers.checkpoint import inspect
from ingrain.export.families.sentence_transformers.experts import compute_all_experts
from ingrain.export.families.sentence_transformers.longformer import widen_attention
from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
from ingrain.export.families.sentence_transformers.text_graph import build_graph
from ingrain.export.onnx.onnx_file import (
    CannotConvert,
    Recipe,
    describe_inputs,
    describe_outputs,
    open_session,
    write_onnx,
)
from ingrain.export.precision import choose as precision
from ingrain.export.precision.ranges import sample_batches
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.export.proof import compare as verify
from ingrain.export.proof import compare_images as verify_images
from ingrain.export.proof.measured import Floors
from ingrain.preprocess.text import TextPreprocessor, collate
from ingrain.progress import Progress
from ingrain.repository.manifest import Graph, Manifest, Verification
from ingrain.vocabulary import Role

OUTPUT = "embedding"
_ROLE: Role = "text_encoder"
_AXES = ("batch", "tokens")

Report = Callable[[Progress], None]


def export(job: ExportJob, folder: Path, commit: str | None, report: Report) -> Manifest:
    """Export one model.

    Args:
        job: What to export; ``job.output`` gets the result.
        folder: The model's folder.
        commit: The hub's commit, for the manifest.
        report: Called with progress.

    Returns:
        The manifest, not written yet.

    Raises:
        UnsupportedModelError: The model cannot be converted, with the reason.
        VerificationError: The graph differs from the source.
        ExportError: The source library cannot load the model, or its weights are unusable.
    """
    checkpoint = inspect(folder, trust_remote_code=bool(job.trust_remote_code))
    source = SentenceTransformersSource(checkpoint, name=job.name, trust_remote_code=bool(job.trust_remote_code))
    if source.is_static:
        precision.refuse_int8(job.precision, "A static embedding model is a table of vectors")
    image = None if source.is_static else image_tower.geometry_of(source.model)
    similarity = image_tower.similarity_of(source.model) if image is not None else None
    text = source.save_tokenizer(entry.model_folder(job))
    preprocessor = TextPreprocessor(text, entry.model_folder(job))
    references = verify.ask_source(
        source,
        preprocessor,
        build_graph(source.model).inputs,
        tolerance=job.tolerance,
        report=_counter(report, "read", "reference vectors"),
    )
    images = None
    if image is not None:
        report(Progress("read", "reference image vectors"))
        images = verify_images.ask_image_source(source, image)
        if images.width != references.width:
            raise ExportError(f"The towers give vectors of {references.width} and {images.width} dimensions.")
    recipes = list(_recipes(source.model))
    graph, proof = _convert(job, source, recipes, preprocessor, references, report)
    graphs: list[Graph] = [graph]
    verification: dict[Role, Verification] = {_ROLE: proof}
    if image is not None and images is not None:
        graph, verification["image_encoder"] = image_tower.convert(job, source, recipes, image, images, report)
        graphs.append(graph)
    return entry.describe_model(
        job,
        commit=commit,
        architecture=source.architecture,
        embedding_size=references.width,
        graphs=tuple(graphs),
        text=text,
        image=image,
        similarity=similarity,
        verification=verification,
    )


def _convert(
    job: ExportJob,
    source: SentenceTransformersSource,
    recipes: Iterable[Recipe],
    preprocessor: TextPreprocessor,
    references: verify.References,
    report: Report,
) -> tuple[Graph, Verification]:
    """Try one way of exporting after the other until a graph is proved."""
    path = entry.graph_folder(job, _ROLE) / "model.onnx"

    def prove(session: Any, floors: Floors | None = None) -> Verification:
        count = _counter(report, "verify", "vectors")
        return verify.prove(session, references, preprocessor, tolerance=job.tolerance, report=count, floors=floors)

    refusal: VerificationError | None = None
    for recipe in recipes:
        report(Progress("export", str(recipe), 0, 1, "graphs"))
        try:
            _write(source, recipe, preprocessor, path)
            session = open_session(path, export_threads())
            inputs = describe_inputs(session, _AXES)
            verification = prove(session)
            outputs = describe_outputs(session, references.width)
        except (CannotConvert, VerificationError) as error:
            # The next way may manage; the operator's log keeps what was wrong with this one.
            print(f"{recipe} did not work:", file=sys.stderr)  # noqa: T201  # the worker's stderr is its log
            traceback.print_exc()
            refusal = error if isinstance(error, VerificationError) else refusal
            continue
        del session
        if job.precision != "fp32" or job.on_gpu:
            report(Progress("export", f"{job.precision}, for the GPU" if job.on_gpu else job.precision, 0, 1, "graphs"))
        names, count = [value.name for value in inputs], _counter(report, "export", "ranges of values")
        batches = partial(sample_batches, preprocessor, names, count)
        verification = precision.finish(path, job, verification, prove, what="The model", sample=batches)
        only = references.equal_lengths_only
        return entry.describe_graph(job, _ROLE, inputs, outputs, equal_lengths_only=only), verification
    raise refusal or UnsupportedModelError(
        f"The network {source.architecture!r} cannot be converted to ONNX: no exporter can express it.", param="name"
    )


def _recipes(model: Any) -> Iterator[Recipe]:
    """Yield the ways to try: the plainest attention first, the deprecated tracer last."""
    network = getattr(model[0], "model", None)
    if network is None:
        yield from (Recipe("dynamo", None), Recipe("torchscript", None))
        return
    yield Recipe("dynamo", "eager")
    if getattr(network, "_supports_sdpa", False):
        yield Recipe("dynamo", "sdpa")
    yield Recipe("torchscript", "eager")


def _write(source: SentenceTransformersSource, recipe: Recipe, preprocessor: TextPreprocessor, path: Path) -> None:
    """Write the graph, and let go of the source's weights: ONNX Runtime will hold a copy of its own."""
    for leftover in path.parent.iterdir():
        leftover.unlink()
    source.load()
    network = getattr(source.model[0], "model", None)
    if network is not None:
        if recipe.attention is not None:
            network.set_attn_implementation(recipe.attention)
        compute_all_experts(network)
        widen_attention(network)
    graph = build_graph(source.model)
    write_onnx(graph, _sample(preprocessor, graph.inputs), OUTPUT, path, recipe, _AXES)
    del graph
    source.release()
    gc.collect()


def _sample(preprocessor: TextPreprocessor, inputs: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Return two texts of different lengths with padding: what an exporter follows must be the general case."""
    return collate(preprocessor.encode(["a river runs to the sea, slowly", "stone"]), preprocessor.config, inputs)


def _counter(report: Report, phase: Any, detail: str) -> Callable[[int, int], None]:
    def count(done: int, total: int) -> None:
        report(Progress(phase, detail, done, total, "cases"))

    return count
