"""Conversion of request fields that several routes share into inputs of the tasks."""

from __future__ import annotations

from typing import Protocol

from ingrain.api import types
from ingrain.api.embed_sparse import EmbedSparseRequest
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.tasks.images import Images
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm
from ingrain.vocabulary import Library

BodyWithImages = types.EmbedImageRequest | types.EmbedRequest | types.ClassifyImageRequest | types.ZeroShotRequest


class NamesModel(Protocol):
    """A body that names a model."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def library(self) -> Library | None:
        """Its library, if given."""

    @property
    def pretrained(self) -> str | None:
        """Its weight tag, if given."""


class HasPrompt(Protocol):
    """A body with fields for the prompt."""

    @property
    def prompt(self) -> str | None:
        """The prompt itself, if given."""

    @property
    def prompt_name(self) -> str | None:
        """Name of one of the model's prompts, if given."""


def model_name(body: NamesModel) -> ModelName:
    """Return the name of the requested model."""
    return ModelName(name=body.name, library=body.library, pretrained=body.pretrained)


def vector_form(body: types.EmbedTextRequest | types.EmbedImageRequest | types.EmbedRequest) -> VectorForm:
    """Return the requested form of the vectors."""
    return VectorForm(normalize=body.normalize is not False, dimensions=body.n_dims, dtype=body.output_dtype or "float")


def texts_of(
    body: types.EmbedTextRequest | types.EmbedRequest | EmbedSparseRequest,
    given: str | list[str],
    cache_group: int | None,
) -> Texts:
    """Return the texts of a body with their prompt and truncation, and the group that shares their cached rows."""
    prompt = None
    if body.prompt is not None or body.prompt_name is not None or body.input_type is not None:
        prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=body.input_type)
    return Texts(texts=list_of(given), prompt=prompt, truncate=body.truncate is not False, cache_group=cache_group)


def prompt_of(body: HasPrompt) -> PromptChoice | None:
    """Return the choice of the prompt of a body without ``input_type``; None for the model's default."""
    if body.prompt is None and body.prompt_name is None:
        return None
    return PromptChoice(text=body.prompt, name=body.prompt_name)


def images_of(body: BodyWithImages, files: list[bytes], given: str | list[str]) -> Images:
    """Return the images of a body: the uploaded files, or else the values of the field."""
    return Images(images=files or list_of(given), headers=body.image_download_headers)


def list_of(given: str | list[str]) -> list[str]:
    """Return one text or image as a list."""
    return [given] if isinstance(given, str) else given
