"""The bodies of requests, as programs for the first generation of clients build them."""

from __future__ import annotations

from typing import Any

import msgspec


class _Body(msgspec.Struct, kw_only=True):
    name: str

    def model_dump(self) -> dict[str, Any]:
        """Return the fields by name."""
        return msgspec.structs.asdict(self)


class EmbeddingRequest(_Body, kw_only=True):
    """Texts and images to embed."""

    pretrained: str | None = None
    text: str | list[str] | None = None
    image: str | list[str] | None = None
    normalize: bool | None = True
    n_dims: int | None = None
    image_download_headers: dict[str, str] | None = None


class TextEmbeddingRequest(_Body, kw_only=True):
    """Texts to embed."""

    text: str | list[str]
    pretrained: str | None = None
    normalize: bool | None = True
    n_dims: int | None = None


class ImageEmbeddingRequest(_Body, kw_only=True):
    """Images to embed."""

    image: str | list[str]
    pretrained: str | None = None
    normalize: bool | None = True
    n_dims: int | None = None
    image_download_headers: dict[str, str] | None = None


class ImageClassificationRequest(_Body, kw_only=True):
    """Images to classify."""

    image: str | list[str]
    image_download_headers: dict[str, str] | None = None


class LoadModelRequest(_Body, kw_only=True):
    """The model to load."""

    library: str


class GenericModelRequest(_Body, kw_only=True):
    """The model that a request is about."""

    pretrained: str | None = None


InferenceRequest, TextInferenceRequest, ImageInferenceRequest = (
    EmbeddingRequest,
    TextEmbeddingRequest,
    ImageEmbeddingRequest,
)
UnloadModelRequest = UnLoadModelRequest = ModelMetadataRequest = GenericModelRequest
OpenCLIPModelRequest = SentenceTransformerModelRequest = TimmModelRequest = GenericModelRequest
