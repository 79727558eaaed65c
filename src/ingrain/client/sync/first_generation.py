# Written by `make docs` from aio/first_generation.py; change that one.
"""The names that the first generation of clients had for methods."""

from __future__ import annotations

from ingrain.api import types
from ingrain.client.answers import BothEmbeddings, Embeddings
from ingrain.client.first_generation import PyCURLEngine
from ingrain.client.pictures import Pictures
from ingrain.client.requests import ModelName
from ingrain.client.sync.embed_both import EmbedBoth
from ingrain.client.sync.embed_image import EmbedImage
from ingrain.client.sync.embed_text import EmbedText
from ingrain.client.sync.model import Model
from ingrain.client.sync.models import Models
from ingrain.client.texts import Texts


class FirstGeneration(EmbedText, EmbedImage, EmbedBoth, Models):
    """Other names of methods, for older programs."""

    @property
    def requestor(self) -> PyCURLEngine:
        """A new engine of the first generation of clients, with this client's options."""
        options, headers = self._options, self._options.planes["inference"].headers
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return PyCURLEngine(options.timeout_s, options.connect_timeout_s, lines, headers["User-Agent"])

    def infer_text(
        self,
        name: str,
        pretrained: str | None = None,
        text: Texts = (),
        normalize: bool = True,
        retries: int | None = None,
    ) -> Embeddings:
        """Embed texts, as ``embed_text`` does."""
        return self.embed_text(name, text, normalize, retries=retries, pretrained=pretrained)

    def infer_image(
        self,
        name: str,
        pretrained: str | None = None,
        image: Pictures = (),
        normalize: bool = True,
        retries: int | None = None,
    ) -> Embeddings:
        """Embed images, as ``embed_image`` does."""
        return self.embed_image(name, image, normalize, retries=retries, pretrained=pretrained)

    def infer(
        self,
        name: str,
        pretrained: str | None = None,
        text: Texts | None = None,
        image: Pictures | None = None,
        normalize: bool = True,
        retries: int | None = None,
    ) -> BothEmbeddings:
        """Embed texts and images, as ``embed`` does."""
        return self.embed(name, text, image, normalize, retries=retries, pretrained=pretrained)

    def model_embedding_dims(self, name: str, retries: int | None = None) -> types.EmbeddingSizeAnswer:
        """Ask for the width of a model's vectors, as ``model_embedding_size`` does."""
        return self.model_embedding_size(name, retries)

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
