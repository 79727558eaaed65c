"""Loads a sentence-transformers model and computes its reference outputs with the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingrain.export.families.protocol import Candidate, Description, Preparation, Source
from ingrain.export.families.sentence_transformers.checkpoint import (
    Checkpoint,
    inspect,
    model_arguments,
    modules_of,
    transformer_options,
)
from ingrain.export.families.sentence_transformers.images import image_preprocess_of, image_processor_of, similarity_of
from ingrain.export.families.sentence_transformers.named_rules import apply_named_rules
from ingrain.export.families.sentence_transformers.serving_tokenizer import (
    save_static_tokenizer,
    save_transformer_tokenizer,
)
from ingrain.export.families.sentence_transformers.text_graph import build_graph, build_image_graph
from ingrain.export.families.towers import PIXELS, PLAIN_RECIPES, image_tower, text_tower, transformer_recipes
from ingrain.export.huggingface.experts import compute_all_experts
from ingrain.export.huggingface.longformer import widen_attention
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.onnx.onnx_file import Recipe
from ingrain.export.precision.choose import refuse_int8
from ingrain.export.process.job import ExportJob
from ingrain.export.weights.independent_load import PROBES
from ingrain.export.weights.load_report import Loaded
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.manifest import TextPreprocess


class SentenceTransformersSource(Source):
    """A loaded sentence-transformers model."""

    library = "sentence-transformers"

    def __init__(self, checkpoint: Checkpoint, *, name: str, trust_remote_code: bool) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._trust_remote_code = trust_remote_code
        super().__init__()
        first = self.model[0]
        self.is_static = _is_static(self.model)
        self.parameters: int = sum(parameter.numel() for parameter in self.model.parameters())
        self.special_tokens: list[str] = (
            [token.content for token in first.tokenizer.get_added_tokens_decoder().values()]
            if self.is_static
            else list(first.tokenizer.all_special_tokens)
        )

    def read_model(self, networks: list[Any]) -> Any:
        """Have the library load the model in float32, whatever the type of the stored weights."""
        from sentence_transformers import SentenceTransformer

        model = load_in_float32(SentenceTransformer, self._checkpoint.folder, trusted=self._trust_remote_code)
        apply_named_rules(model, self._name)
        if _is_static(model):
            networks.append(Loaded(model[0]))  # it reads its tensors from the file without load_state_dict
        return model

    def probe(self) -> list[NDArray[np.float32]]:
        """Return vectors of two texts and, if the model takes images, of an image, and the similarity's constants."""
        texts = self.embed(PROBES, batch_size=len(PROBES))
        if image_processor_of(self.model) is None:
            return [texts]
        similarity = similarity_of(self.model)
        scale_and_bias = (similarity.scale, similarity.bias) if similarity is not None else ()
        image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
        return [texts, self.embed_pixels(self.pixels([image])), np.array(scale_and_bias, np.float32)]

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe the text tower and the image tower, if there is one.

        Raises:
            UnsupportedModelError: A module, the tokenizer or the image processor is not supported.
        """
        image = None if self.is_static else image_preprocess_of(self.model)
        text = self.save_tokenizer(folder)
        network = getattr(self.model[0], "model", None)
        recipes = PLAIN_RECIPES if network is None else transformer_recipes(network)
        inputs = build_graph(self.model).inputs
        candidates = [
            Candidate(recipe=recipe, build=partial(with_attention, recipe, build_graph)) for recipe in recipes
        ]
        towers = [text_tower(self, inputs, candidates, title="The model", int8=not self.is_static)]
        if image is not None:
            images = [Candidate(recipe=recipe, build=partial(_image_graph, recipe, image)) for recipe in recipes]
            towers.append(image_tower(self, images))
        return Description(
            architecture=type(self.model[0] if network is None else network).__name__,
            towers=tuple(towers),
            preparation=Preparation(folder=folder, text=text, image=image),
            similarity=similarity_of(self.model) if image is not None else None,
        )

    def save_tokenizer(self, folder: Path) -> TextPreprocess:
        """Write the serving tokenizer, and set the source's maximum length to the tokenizer's."""
        save = save_static_tokenizer if self.is_static else save_transformer_tokenizer
        return save(self.model, folder)

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the network's inputs, int64 ``[B, T]`` by name."""
        features = self.model[0].preprocess(list(texts))
        if not self.is_static:
            return {name: value.numpy() for name, value in features.items() if hasattr(value, "numpy")}
        bounds = [*features["offsets"].tolist(), len(features["input_ids"])]
        lengths = np.diff(bounds)
        mask = (np.arange(max(1, lengths.max())) < lengths[:, None]).astype(np.int64)
        ids = np.zeros_like(mask)
        ids[mask == 1] = features["input_ids"].numpy()
        return {"input_ids": ids, "attention_mask": mask}

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> NDArray[np.float32]:
        """Return the vectors of ``encode``, float32 ``[B, D]``; ``prompt`` None is the model's default."""
        vectors: NDArray[np.float32] = self.model.encode(
            list(texts), prompt=prompt, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors

    def pixels(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Prepare Pillow images as ``encode`` does: float32 ``[B, 3, H, W]``."""
        pixels: NDArray[np.float32] = self.model[0].preprocess(list(images))[PIXELS].numpy()
        return pixels

    def run_image_tower(self, pixels: Any) -> Any:
        """Return the vectors of ``encode`` for prepared images, float32 ``[B, D]``."""
        vectors = self.model({PIXELS: pixels, "modality": "image"})["sentence_embedding"]
        return vectors[:, : self.model.truncate_dim]


def open_source(job: ExportJob, folder: Path) -> SentenceTransformersSource:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted, or not in the job's precision.
    """
    trusted = bool(job.trust_remote_code)
    source = SentenceTransformersSource(
        inspect(folder, trust_remote_code=trusted), name=job.name, trust_remote_code=trusted
    )
    if source.is_static:
        refuse_int8(job.precision, "A static embedding model is a table of vectors")
    return source


def load_in_float32(library_class: Any, folder: Path, *, trusted: bool) -> Any:
    """Have one of the library's classes load a folder, whatever the type of the stored weights.

    Args:
        library_class: ``SentenceTransformer``, ``CrossEncoder`` and the like.
        folder: The model's folder.
        trusted: True: code that comes with the model may run.
    """
    import torch

    arguments: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
    given = [model_arguments(transformer_options(part)) for _, part in modules_of(folder)]
    if any("flash" in str(each.get("attn_implementation")) for each in given):
        arguments["attn_implementation"] = "sdpa"  # the same numbers without a GPU
    return library_class(
        str(folder), device="cpu", trust_remote_code=trusted, local_files_only=True, model_kwargs=arguments
    )


def _is_static(model: Any) -> bool:
    return type(model[0]).__name__ == "StaticEmbedding"


def with_attention(recipe: Recipe, build: Callable[[Any], Any], model: Any) -> Any:
    """Switch a loaded model to a recipe's attention, and return the graph that ``build`` makes of it."""
    network = getattr(model[0], "model", None)
    if network is not None:
        prepare_network(network, recipe)
    return build(model)


def prepare_network(network: Any, recipe: Recipe) -> None:
    """Change a network of transformers into a form that can be exported, which computes the same."""
    if recipe.attention is not None:
        network.set_attn_implementation(recipe.attention)
    compute_all_experts(network)
    widen_attention(network)


def _image_graph(recipe: Recipe, image: ImagePreprocess, model: Any) -> Any:
    if recipe.attention is not None:
        model[0].model.set_attn_implementation(recipe.attention)
    return ImageGraph(build_image_graph(model), image.mean, image.std)
