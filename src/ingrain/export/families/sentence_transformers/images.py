"""Receives a loaded sentence-transformers model that takes pictures, hands on the proved graph of its image tower."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingrain.errors import UnsupportedModelError
from ingrain.export.families import entry
from ingrain.export.families.attempts import first_proved
from ingrain.export.families.sentence_transformers.text_graph import PIXELS, build_image_graph
from ingrain.export.families.sentence_transformers.transformers_geometry import preprocess_config_from_transformers
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.onnx.onnx_file import Recipe, describe_inputs, describe_outputs, open_session, write_onnx
from ingrain.export.precision import choose as precision
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.export.proof import compare_images as verify_images
from ingrain.export.proof.measured import Floors
from ingrain.progress import Progress
from ingrain.repository.manifest import Graph, ImagePreprocess, Similarity, Verification

_PICTURES_AT_ONCE = 4


def geometry_of(model: Any) -> ImagePreprocess | None:
    """Return how pictures are prepared; None where the model takes none.

    Args:
        model: A ``SentenceTransformer``; a ``CLIPModel`` or ``Transformer`` comes first where it takes pictures.

    Raises:
        UnsupportedModelError: It takes pictures in a way that is not modelled.
    """
    processor = _image_processor(model)
    if processor is None:
        return None
    config = preprocess_config_from_transformers(processor)
    made = set(model[0].preprocess([Image.new("RGB", (40, 30))])) - {"modality"}
    if made != {PIXELS}:
        raise UnsupportedModelError(
            f"The image tower takes {min(made - {PIXELS}, default='nothing')!r} beside pixels, for pictures of many "
            "shapes at once, which Ingrain does not model.",
            param="name",
        )
    return config


def probe(model: Any) -> list[NDArray[np.float32]]:
    """Return what depends on the image tower: a vector, and how it is compared; nothing where there is none."""
    if _image_processor(model) is None:
        return []
    similarity = similarity_of(model)
    compared = (similarity.scale, similarity.bias) if similarity is not None else ()
    picture = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    return [embed(model, prepare(model, [picture])), np.array(compared, np.float32)]


def _image_processor(model: Any) -> Any:
    first = model[0]
    processor = getattr(getattr(first, "processor", None), "image_processor", None)
    return processor if processor is not None and "image" in first.modality_config else None


def similarity_of(model: Any) -> Similarity | None:
    """Return how the network itself compares text and image; None where it has learned no scale.

    CLIP and SigLIP of transformers hold a logarithm (``logit_scale``), the latter a shift beside it: as OpenCLIP's,
    that is learned only together with the sigmoid loss, by which each label stands alone.
    """
    network = model[0].model
    scale, bias = getattr(network, "logit_scale", None), getattr(network, "logit_bias", None)
    if scale is None or scale.numel() != 1:
        return None
    factor = float(scale.exp().reshape(()))
    if bias is None:
        return Similarity(scale=factor)
    return Similarity(scale=factor, bias=float(bias.reshape(())), activation="sigmoid")


def prepare(model: Any, pictures: Sequence[Any]) -> NDArray[np.float32]:
    """Return what the network gets of Pillow pictures, as ``encode`` prepares them: float32 ``[B, 3, H, W]``."""
    pixels: NDArray[np.float32] = model[0].preprocess(list(pictures))[PIXELS].numpy()
    return pixels


def embed(model: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors of prepared pictures, as ``encode`` makes them: float32 ``[B, D]``."""
    import torch

    rows = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _PICTURES_AT_ONCE):
            batch = torch.from_numpy(pixels[start : start + _PICTURES_AT_ONCE])
            rows.append(model({PIXELS: batch, "modality": "image"})["sentence_embedding"].numpy())
    vectors: NDArray[np.float32] = np.concatenate(rows)[:, : model.truncate_dim].astype(np.float32)
    return vectors


def convert(
    job: ExportJob,
    source: Any,
    recipes: Iterable[Recipe],
    image: ImagePreprocess,
    references: verify_images.ImageReferences,
    report: Callable[[Progress], None],
) -> tuple[Graph, Verification]:
    """Try one way of exporting the image tower after the other until a graph is proved.

    Args:
        job: What to export.
        source: A ``SentenceTransformersSource``, which lets go of its weights once the graph is written.
        recipes: The ways, best first.
        image: The exported geometry.
        references: What the source makes of the pictures of the proof.
        report: Called with progress.

    Raises:
        UnsupportedModelError: No exporter can express it.
        VerificationError: Every graph differs from the source.
    """
    path = entry.graph_folder(job, "image_encoder") / "model.onnx"

    def count(done: int, total: int) -> None:
        report(Progress("verify", "image vectors", done, total, "cases"))

    def prove(session: Any, floors: Floors | None = None) -> Verification:
        return verify_images.prove_images(session, references, tolerance=job.tolerance, report=count, floors=floors)

    def attempt(recipe: Recipe) -> tuple[Graph, Verification]:
        report(Progress("export", f"image, {recipe}", 1, 2, "graphs"))
        for leftover in path.parent.iterdir():
            leftover.unlink()
        source.load()
        if recipe.attention is not None:
            source.model[0].model.set_attn_implementation(recipe.attention)
        graph = ImageGraph(build_image_graph(source.model), image.mean, image.std)
        sample = {PIXELS: np.ascontiguousarray(references.pixels[:2])}
        write_onnx(graph, sample, "embedding", path, recipe, ("batch",))
        del graph
        source.release()
        gc.collect()
        session = open_session(path, export_threads())
        inputs = describe_inputs(session, ("batch",))
        outputs = describe_outputs(session, references.width)
        proof = prove(session)
        del session
        if job.precision not in precision.INT8:
            proof = precision.finish(path, job, proof, prove, what="The image tower")
        return entry.describe_graph(job, "image_encoder", inputs, outputs), proof

    return first_proved(recipes, attempt, what="The image tower")
