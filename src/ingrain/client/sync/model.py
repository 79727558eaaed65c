# Written by `make docs` from aio/model.py; change that one.
"""One model of a server, with the methods of the client that are about a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ingrain.api import types
from ingrain.client.first_generation import PyCURLEngine
from ingrain.client.requests import ModelName
from ingrain.client.sync.caller import Caller
from ingrain.client.sync.classify_image import ClassifyImage
from ingrain.client.sync.embed_both import EmbedBoth
from ingrain.client.sync.embed_image import EmbedImage
from ingrain.client.sync.embed_sparse import EmbedSparse
from ingrain.client.sync.embed_text import EmbedText
from ingrain.client.sync.embed_tokens import EmbedTokens
from ingrain.client.sync.score_text import ScoreText
from ingrain.client.sync.zero_shot import ClassifyImageZeroShot
from ingrain.vocabulary import Library

if TYPE_CHECKING:
    from ingrain.client.sync.client import Client

P = ParamSpec("P")
R = TypeVar("R")

_NAMING = ("name", "library", "pretrained")


def _of_model(
    method: Callable[Concatenate[Any, str, P], R],
) -> Callable[Concatenate[Model, P], R]:
    """Return a client's method as a method of a model, without the parameters that name the model."""
    signature = inspect.signature(method)
    gives_vectors = "return_numpy" in signature.parameters

    def call(self: Model, /, *args: P.args, **options: P.kwargs) -> R:
        if gives_vectors:
            options.setdefault("return_numpy", self.return_numpy)
        return method(self._client, self.name, *args, **self._named(), **options)

    kept = [parameter for name, parameter in signature.parameters.items() if name not in _NAMING]
    call.__name__, call.__doc__ = method.__name__, method.__doc__
    call.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]  # what `help` shows
    return call


def _connect(given: Any, requestor: Any = None, **options: Any) -> Client:
    """Return a client for a model that the caller made of a ``PyCURLEngine`` and the arguments of a client."""
    from ingrain.client.sync.client import Client

    engine = given or requestor
    if engine is not None:
        options |= {name: getattr(engine, name) for name in ("timeout", "connect_timeout", "header", "user_agent")}
    return Client(**options)


class Model:
    """One model of a server; its methods call those of the client that created it.

    Attributes:
        name: The source library's name of the model.
        library: Source library; None if not given.
        pretrained: Weight tag of an OpenCLIP model.
        return_numpy: True for vectors as arrays; at first as the client's.
    """

    def __init__(
        self,
        client: Client | None = None,
        name: str = "",
        library: Library | None = None,
        pretrained: str | None = None,
        **connection: Any,
    ) -> None:
        # The first generation of clients made models of an engine and of addresses.
        self._client = client if isinstance(client, Caller) and not connection else _connect(client, **connection)
        self.name = name
        self.library = library
        self.pretrained = pretrained
        self.return_numpy = self._client.return_numpy

    @property
    def inference_server_url(self) -> str:
        """Address of the inference plane."""
        return self._client.inference_server_url

    @property
    def model_server_url(self) -> str:
        """Address of the model plane."""
        return self._client.model_server_url

    @property
    def requestor(self) -> PyCURLEngine:
        """An engine of the first generation of clients, with the client's options."""
        return self._client.requestor

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.library!r}, {self.pretrained!r})"

    embed_text = _of_model(EmbedText.embed_text)
    embed_sparse = _of_model(EmbedSparse.embed_sparse)
    embed_multi_vector = _of_model(EmbedTokens.embed_multi_vector)
    embed_tokens = _of_model(EmbedTokens.embed_tokens)
    embed_image = _of_model(EmbedImage.embed_image)
    embed = _of_model(EmbedBoth.embed)
    classify_image = _of_model(ClassifyImage.classify_image)
    classify_image_zero_shot = _of_model(ClassifyImageZeroShot.classify_image_zero_shot)
    rerank = _of_model(ScoreText.rerank)
    score = _of_model(ScoreText.score)
    classify_text = _of_model(ScoreText.classify_text)
    classify_text_zero_shot = _of_model(ScoreText.classify_text_zero_shot)
    infer_text, infer_image, infer = embed_text, embed_image, embed  # names of the first generation of clients

    def load(self) -> types.MessageAnswer:
        """Load the model, again after an ``unload``; without a library it is taken for a sentence-transformers one."""
        model = ModelName(self.name, self.library or "sentence_transformers", self.pretrained)
        return self._client._load("load_model", model)

    def unload(self) -> types.MessageAnswer:
        """Unload the model; it stays in the repository."""
        return self._client.unload_model(self.name, **self._named())

    def delete(self) -> types.MessageAnswer:
        """Unload the model and remove it from the repository."""
        return self._client.delete_model(self.name, **self._named())

    def embedding_size(self) -> int:
        """Ask for the width of the model's vectors."""
        return (self._client.model_embedding_size(self.name, **self._named())).embedding_size

    def classification_labels(self) -> list[str]:
        """Ask for the names of the classifier's classes."""
        return (self._client.model_classification_labels(self.name, **self._named())).labels

    def _named(self) -> dict[str, Any]:
        return {"library": self.library, "pretrained": self.pretrained}
