# Written by `make docs` from aio/first_generation.py; change that one.
"""The names that the first generation of clients had for methods."""

from __future__ import annotations

from ingrain.client.requests import ModelName
from ingrain.client.sync.embed_both import EmbedBoth
from ingrain.client.sync.embed_image import EmbedImage
from ingrain.client.sync.embed_text import EmbedText
from ingrain.client.sync.model import Model
from ingrain.client.sync.models import Models


class FirstGeneration(EmbedText, EmbedImage, EmbedBoth, Models):
    """Other names of methods, for older programs."""

    infer_text = EmbedText.embed_text
    infer_image = EmbedImage.embed_image
    infer = EmbedBoth.embed

    def load_sentence_transformer_model(self, name: str) -> Model:
        """Load a sentence-transformers model, as ``load_model`` does."""
        self._load("load_sentence_transformer_model", ModelName(name, "sentence_transformers"))
        return self.model(name, "sentence_transformers")

    def load_clip_model(self, name: str, pretrained: str | None = None) -> Model:
        """Load an OpenCLIP model, as ``load_model`` does."""
        self._load("load_clip_model", ModelName(name, "open_clip", pretrained))
        return self.model(name, "open_clip", pretrained)

    def load_timm_model(self, name: str, pretrained: str | None = None) -> Model:
        """Load a timm model, as ``load_model`` does."""
        self._load("load_timm_model", ModelName(name, "timm", pretrained))
        return self.model(name, "timm", pretrained)
