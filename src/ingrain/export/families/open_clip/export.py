"""Receives the folder of an OpenCLIP model, hands on two proved graphs: one of texts and one of pictures."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ingrain.errors import ExportError
from ingrain.export.families import entry
from ingrain.export.families.attempts import first_proved
from ingrain.export.families.image_geometry import preprocess_config_from_open_clip
from ingrain.export.families.open_clip.checkpoint import inspect_clip
from ingrain.export.families.open_clip.source import ClipSource
from ingrain.export.families.open_clip.text_graph import TextPlan, text_plans
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.onnx.onnx_file import Recipe, describe_inputs, describe_outputs, open_session, write_onnx
from ingrain.export.precision import choose as precision
from ingrain.export.precision.ranges import sample_batches
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.export.proof import compare as verify
from ingrain.export.proof import compare_images as verify_images
from ingrain.export.proof.measured import Floors
from ingrain.preprocess.text import TextPreprocessor, collate
from ingrain.progress import Phase, Progress
from ingrain.repository.manifest import Graph, ImagePreprocess, Manifest, TextPreprocess, Verification

TEXT_INPUT, IMAGE_INPUT, OUTPUT = "input_ids", "pixel_values", "embedding"
_IMAGE_RECIPES = (Recipe("dynamo", None), Recipe("torchscript", None))

Report = Callable[[Progress], None]


def export(job: ExportJob, folder: Path, commit: str | None, report: Report, *, brief: bool = False) -> Manifest:
    """Export one model.

    Args:
        job: What to export; ``job.output`` gets the result.
        folder: The model's folder, with ``open_clip_config.json``.
        commit: The hub's commit, for the manifest.
        report: Called with progress.
        brief: True to prove with few texts and pictures, where hundreds of models are compared.

    Returns:
        The manifest, not written yet.

    Raises:
        UnsupportedModelError: The model cannot be converted, with the reason.
        VerificationError: A graph differs from the source.
        ExportError: The source library cannot load the model, or its weights are unusable.
    """
    source = ClipSource(inspect_clip(folder))
    plans = text_plans(source.model)
    text = source.save_tokenizer(entry.model_folder(job))
    image = preprocess_config_from_open_clip(source.preprocess)
    texts = verify.ask_source(
        source,
        TextPreprocessor(text, entry.model_folder(job)),
        (TEXT_INPUT,),
        tolerance=job.tolerance,
        report=_counter(report, "read", "reference text vectors"),
        brief=brief,
    )
    report(Progress("read", "reference image vectors"))
    images = verify_images.ask_image_source(source, image, brief=brief)
    if texts.width != images.width:
        raise ExportError(f"The towers give vectors of {texts.width} and {images.width} dimensions.")
    text_graph, text, text_proof = _convert_text(job, source, plans, text, texts, report)
    image_graph, image_proof = _convert_image(job, source, image, images, report)
    return entry.describe_model(
        job,
        commit=commit,
        architecture=source.architecture,
        embedding_size=texts.width,
        graphs=(text_graph, image_graph),
        text=text,
        image=image,
        similarity=source.similarity,
        verification={"text_encoder": text_proof, "image_encoder": image_proof},
    )


def _convert_text(
    job: ExportJob,
    source: ClipSource,
    plans: tuple[TextPlan, ...],
    text: TextPreprocess,
    references: verify.References,
    report: Report,
) -> tuple[Graph, TextPreprocess, Verification]:
    path = entry.graph_folder(job, "text_encoder") / "model.onnx"

    def attempt(plan: TextPlan) -> tuple[Graph, TextPreprocess, Verification]:
        report(Progress("export", f"text, {plan}", 0, 2, "graphs"))
        serving = msgspec.structs.replace(text, fixed_length=plan.fixed_length)
        preprocessor = TextPreprocessor(serving, entry.model_folder(job))
        source.load()
        sample = collate(preprocessor.encode(["a river runs to the sea, slowly", "stone"]), serving, [TEXT_INPUT])
        axes = ("batch",) if plan.fixed_length else ("batch", "tokens")
        _write(plan.build(source.model), sample, path, plan.recipe, axes)
        source.release()
        gc.collect()
        session = open_session(path, export_threads())
        inputs = describe_inputs(session, axes)
        outputs = describe_outputs(session, references.width)

        def prove(session: Any, floors: Floors | None = None) -> Verification:
            count = _counter(report, "verify", "text vectors")
            return verify.prove(session, references, preprocessor, tolerance=job.tolerance, report=count, floors=floors)

        proof = prove(session)
        del session
        batches = partial(sample_batches, preprocessor, [TEXT_INPUT], _counter(report, "export", "ranges of values"))
        proof = precision.finish(path, job, proof, prove, what="The text tower", sample=batches)
        return entry.describe_graph(job, "text_encoder", inputs, outputs), serving, proof

    return first_proved(plans, attempt, what="The text tower")


def _convert_image(
    job: ExportJob,
    source: ClipSource,
    image: ImagePreprocess,
    references: verify_images.ImageReferences,
    report: Report,
) -> tuple[Graph, Verification]:
    path = entry.graph_folder(job, "image_encoder") / "model.onnx"

    def attempt(recipe: Recipe) -> tuple[Graph, Verification]:
        report(Progress("export", f"image, {recipe}", 1, 2, "graphs"))
        source.load()
        _write(
            ImageGraph(source.model.visual, image.mean, image.std),
            {IMAGE_INPUT: np.ascontiguousarray(references.pixels[:2])},
            path,
            recipe,
            ("batch",),
        )
        source.release()
        gc.collect()
        session = open_session(path, export_threads())
        inputs = describe_inputs(session, ("batch",))
        outputs = describe_outputs(session, references.width)

        def prove(session: Any, floors: Floors | None = None) -> Verification:
            count = _counter(report, "verify", "image vectors")
            return verify_images.prove_images(session, references, tolerance=job.tolerance, report=count, floors=floors)

        proof = prove(session)
        del session
        if job.precision not in precision.INT8:
            proof = precision.finish(path, job, proof, prove, what="The image tower")
        return entry.describe_graph(job, "image_encoder", inputs, outputs), proof

    return first_proved(_IMAGE_RECIPES, attempt, what="The image tower")


def _write(graph: Any, sample: dict[str, Any], path: Path, recipe: Recipe, axes: tuple[str, ...]) -> None:
    for leftover in path.parent.iterdir():
        leftover.unlink()
    write_onnx(graph, sample, OUTPUT, path, recipe, axes)


def _counter(report: Report, phase: Phase, detail: str) -> Callable[[int, int], None]:
    def count(done: int, total: int) -> None:
        report(Progress(phase, detail, done, total, "cases"))

    return count
