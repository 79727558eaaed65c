"""The names that the first generation of clients had for methods."""

from __future__ import annotations

from ingrain.api import types
from ingrain.client.aio.embed_both import EmbedBoth
from ingrain.client.aio.embed_image import EmbedImage
from ingrain.client.aio.embed_text import EmbedText
from ingrain.client.aio.model import AsyncModel
from ingrain.client.aio.models import Models
from ingrain.client.answers import BothEmbeddings, Embeddings
from ingrain.client.first_generation import PyCURLEngine
from ingrain.client.pictures import AsyncPictures
from ingrain.client.requests import ModelName
from ingrain.client.texts import AsyncTexts


class FirstGeneration(EmbedText, EmbedImage, EmbedBoth, Models):
    """Other names of methods, for older programs."""

    @property
    def requestor(self) -> PyCURLEngine:
        """A new engine of the first generation of clients, with this client's options."""
        options, headers = self._options, self._options.planes["inference"].headers
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return PyCURLEngine(options.timeout_s, options.connect_timeout_s, lines, headers["User-Agent"])

    async def infer_text(
        self,
        name: str,
        pretrained: str | None = None,
        text: AsyncTexts = (),
        normalize: bool = True,
        retries: int | None = None,
    ) -> Embeddings:
        """Embed texts, as ``embed_text`` does."""
        return await self.embed_text(name, text, normalize, retries=retries, pretrained=pretrained)

    async def infer_image(
        self,
        name: str,
        pretrained: str | None = None,
        image: AsyncPictures = (),
        normalize: bool = True,
        retries: int | None = None,
    ) -> Embeddings:
        """Embed images, as ``embed_image`` does."""
        return await self.embed_image(name, image, normalize, retries=retries, pretrained=pretrained)

    async def infer(
        self,
        name: str,
        pretrained: str | None = None,
        text: AsyncTexts | None = None,
        image: AsyncPictures | None = None,
        normalize: bool = True,
        retries: int | None = None,
    ) -> BothEmbeddings:
        """Embed texts and images, as ``embed`` does."""
        return await self.embed(name, text, image, normalize, retries=retries, pretrained=pretrained)

    async def model_embedding_dims(self, name: str, retries: int | None = None) -> types.EmbeddingSizeAnswer:
        """Ask for the width of a model's vectors, as ``model_embedding_size`` does."""
        return await self.model_embedding_size(name, retries)

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
