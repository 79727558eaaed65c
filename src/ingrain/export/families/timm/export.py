"""Receives the folder of a timm model, hands on one proved graph: of logits, or of vectors where it has no head."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ingrain.errors import UnsupportedModelError
from ingrain.export.families import entry
from ingrain.export.families.attempts import first_proved
from ingrain.export.families.image_geometry import preprocess_config_from_timm
from ingrain.export.families.timm.checkpoint import inspect_timm
from ingrain.export.families.timm.source import TimmSource
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.onnx.onnx_file import Recipe, describe_inputs, describe_outputs, open_session, write_onnx
from ingrain.export.precision import choose as precision
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.export.proof import compare_images as verify_images
from ingrain.export.proof.compare import compare
from ingrain.export.proof.measured import Floors
from ingrain.progress import Progress
from ingrain.repository.manifest import Graph, ImagePreprocess, Manifest, Verification
from ingrain.vocabulary import Role

IMAGE_INPUT, VECTORS, LOGITS = "pixel_values", "embedding", "logits"
_RECIPES = (Recipe("dynamo", None), Recipe("torchscript", None))


def export(
    job: ExportJob, folder: Path, commit: str | None, report: Callable[[Progress], None], *, brief: bool = False
) -> Manifest:
    """Export one model.

    Args:
        job: What to export; ``job.output`` gets the result.
        folder: The model's folder, with ``config.json`` and ``model.safetensors``.
        commit: The hub's commit, for the manifest.
        report: Called with progress.
        brief: True to prove with few pictures, where hundreds of models are compared.

    Returns:
        The manifest, not written yet; ``embedding_size`` is the number of classes for a classifier.

    Raises:
        UnsupportedModelError: The model cannot be converted, with the reason.
        VerificationError: The graph differs from the source.
        ExportError: The source library cannot load the model, or its weights are unusable.
    """
    precision.refuse_int8(job.precision, "A timm model takes pictures")
    checkpoint = inspect_timm(folder)
    source = TimmSource(checkpoint, headless=job.task == "embed")
    if job.task == "classify" and not source.is_classifier:
        raise UnsupportedModelError(
            "The model has no head, so it classifies nothing. Load it with `task` embed.", param="task"
        )
    image = preprocess_config_from_timm(source.data_config)
    entry.model_folder(job)
    report(Progress("read", "reference image vectors"))
    references = verify_images.ask_image_source(source, image, brief=brief)
    role: Role = "classifier" if source.is_classifier else "image_encoder"
    graph, proof = _convert(job, source, role, image, references, report)
    return entry.describe_model(
        job,
        commit=commit,
        architecture=checkpoint.architecture,
        embedding_size=references.width,
        graphs=(graph,),
        image=image,
        labels=source.labels,
        verification={role: proof},
    )


def _convert(
    job: ExportJob,
    source: TimmSource,
    role: Role,
    image: ImagePreprocess,
    references: verify_images.ImageReferences,
    report: Callable[[Progress], None],
) -> tuple[Graph, Verification]:
    path = entry.graph_folder(job, role) / "model.onnx"

    def count(done: int, total: int) -> None:
        report(Progress("verify", "pictures", done, total, "cases"))

    def attempt(recipe: Recipe) -> tuple[Graph, Verification]:
        report(Progress("export", f"image, {recipe}", 0, 1, "graphs"))
        source.load()
        for leftover in path.parent.iterdir():
            leftover.unlink()
        write_onnx(
            ImageGraph(source.model, image.mean, image.std),
            {IMAGE_INPUT: np.ascontiguousarray(references.pixels[:2])},
            LOGITS if source.is_classifier else VECTORS,
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
            return verify_images.prove_images(
                session,
                references,
                tolerance=job.tolerance,
                report=count,
                measure=verify_images.compare_logits if source.is_classifier else compare,
                floors=floors,
            )

        proof = prove(session)
        del session
        proof = precision.finish(path, job, proof, prove, what="The model")
        return entry.describe_graph(job, role, inputs, outputs), proof

    return first_proved(_RECIPES, attempt, what="The network")
