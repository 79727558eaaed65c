"""The names that the first generation of clients had for methods."""

from __future__ import annotations

from ingrain.client.aio.embed_both import EmbedBoth
from ingrain.client.aio.embed_image import EmbedImage
from ingrain.client.aio.embed_text import EmbedText
from ingrain.client.aio.model import AsyncModel
from ingrain.client.aio.models import Models
from ingrain.client.requests import ModelName


class FirstGeneration(EmbedText, EmbedImage, EmbedBoth, Models):
    """Other names of methods, for older programs."""

    infer_text = EmbedText.embed_text
    infer_image = EmbedImage.embed_image
    infer = EmbedBoth.embed

    async def load_sentence_transformer_model(self, name: str) -> AsyncModel:
        """Load a sentence-transformers model, as ``load_model`` does."""
        await self._load("load_sentence_transformer_model", ModelName(name, "sentence_transformers"))
        return self.model(name, "sentence_transformers")

    async def load_clip_model(self, name: str, pretrained: str | None = None) -> AsyncModel:
        """Load an OpenCLIP model, as ``load_model`` does."""
        await self._load("load_clip_model", ModelName(name, "open_clip", pretrained))
        return self.model(name, "open_clip", pretrained)

    async def load_timm_model(self, name: str, pretrained: str | None = None) -> AsyncModel:
        """Load a timm model, as ``load_model`` does."""
        await self._load("load_timm_model", ModelName(name, "timm", pretrained))
        return self.model(name, "timm", pretrained)
