# Written by `make docs` from aio/models.py; change that one.
"""Methods of the model plane: load, unload and delete models, and list them."""

from __future__ import annotations

from collections.abc import Mapping

from ingrain.api import types
from ingrain.client.requests import ModelName, route_call
from ingrain.client.sync.caller import Caller
from ingrain.client.sync.model import Model
from ingrain.vocabulary import Library, Precision, Task


class Models(Caller):
    """Manages the models of the server."""

    def model(self, name: str, library: Library | None = None, pretrained: str | None = None) -> Model:
        """Return an object for a model, loaded or not, without sending a request."""
        return Model(self, name, library, pretrained)  # type: ignore[arg-type]  # every client has all methods

    def load_model(
        self,
        name: str,
        library: Library,
        pretrained: str | None = None,
        *,
        revision: str | None = None,
        precision: Precision | None = None,
        task: Task | None = None,
        pin: bool | None = None,
        keep_alive: float | str | None = None,
    ) -> Model:
        """Load a model; one that is not in the repository is first fetched, converted and verified.

        Args:
            name: The source library's name of the model.
            library: ``sentence_transformers``, ``open_clip`` or ``timm``.
            pretrained: Weight tag of an OpenCLIP model.
            revision: Branch, tag or commit on the hub.
            precision: ``fp32``, ``fp16``, ``int8`` or ``int8-safe``; a model stored in another is converted again.
            task: What the model is for, if its files leave a choice; None: found out from them. For timm, ``embed``
                leaves out a classifier's head and ``classify`` requires a classifier. A model stored for another task
                is converted again.
            pin: True to keep the model loaded until a command unloads it, false to end that.
            keep_alive: Seconds, or a duration such as ``10m``, after which the model is unloaded if it was not used.

        Returns:
            The model, ready.

        Raises:
            IngrainError: The server's error, as the same class.
        """
        fields = {"revision": revision, "precision": precision, "task": task, "pin": pin, "keep_alive": keep_alive}
        self._load("load_model", ModelName(name, library, pretrained), fields)
        return self.model(name, library, pretrained)

    def download_custom_model(
        self, library: Library, name: str, safetensors_url: str, **fields: object
    ) -> types.MessageAnswer:
        """Have the server fetch a model from URLs; ``load_model`` with its name and library then loads it.

        Args:
            library: Source library.
            name: Name for the model.
            safetensors_url: URL of the weights.
            fields: The other fields of ``POST /download_custom_model``, in snake_case or as on the wire.
        """
        body = {"library": library, "name": name, "safetensorsUrl": safetensors_url, **fields}
        return self._load("download_custom_model", None, body)

    def unload_model(
        self, name: str, pretrained: str | None = None, *, library: Library | None = None
    ) -> types.MessageAnswer:
        """Unload a model; it stays in the repository."""
        call = route_call(
            "unload_model", types.MessageAnswer, ModelName(name, library, pretrained), repeatable=False, plane="model"
        )
        return self._send(call)

    def delete_model(
        self, name: str, pretrained: str | None = None, *, library: Library | None = None
    ) -> types.MessageAnswer:
        """Unload a model and remove it from the repository."""
        model = ModelName(name, library, pretrained)
        self._geometries.pop(model, None)
        return self._send(
            route_call("delete_model", types.MessageAnswer, model, repeatable=False, method="DELETE", plane="model")
        )

    def loaded_models(self) -> types.LoadedModelsAnswer:
        """List the models that can be inferred."""
        return self._send(route_call("loaded_models", types.LoadedModelsAnswer, method="GET", plane="model"))

    def repository_models(self) -> types.RepositoryModelsAnswer:
        """List all models of the repository with their state."""
        return self._send(route_call("repository_models", types.RepositoryModelsAnswer, method="GET", plane="model"))

    def model_embedding_size(
        self,
        name: str,
        retries: int | None = None,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
    ) -> types.EmbeddingSizeAnswer:
        """Ask for the width of a model's vectors."""
        call = route_call(
            "model_embedding_size",
            types.EmbeddingSizeAnswer,
            ModelName(name, library, pretrained),
            method="GET",
            plane="model",
            retries=retries,
        )
        return self._send(call)

    def model_classification_labels(
        self,
        name: str,
        retries: int | None = None,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
    ) -> types.LabelsAnswer:
        """Ask for the names of a classifier's classes."""
        call = route_call(
            "model_classification_labels",
            types.LabelsAnswer,
            ModelName(name, library, pretrained),
            method="GET",
            plane="model",
            retries=retries,
        )
        return self._send(call)

    def _load(
        self, route: str, model: ModelName | None, fields: Mapping[str, object] | None = None
    ) -> types.MessageAnswer:
        """Send a request with the timeout for loading a model."""
        timeout_s = self._options.load_timeout_s
        return self._send(route_call(route, types.MessageAnswer, model, fields, timeout_s=timeout_s, plane="model"))
