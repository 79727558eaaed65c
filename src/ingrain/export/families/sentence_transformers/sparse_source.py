"""Loads a sparse encoder of sentence-transformers and computes its reference outputs with the library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.protocol import Candidate, Description, Preparation, Source, Tower
from ingrain.export.families.sentence_transformers.serving_tokenizer import (
    save_transformer_tokenizer,
    save_weights_tokenizer,
)
from ingrain.export.families.sentence_transformers.source import load_in_float32, prepare_network
from ingrain.export.families.sentence_transformers.sparse_checkpoint import inspect_sparse
from ingrain.export.families.sentence_transformers.sparse_graph import build_sparse_graph, can_split_head
from ingrain.export.families.towers import PLAIN_RECIPES, sparse_tower, transformer_recipes
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.onnx_file import Recipe
from ingrain.export.precision.choose import refuse_int8
from ingrain.export.process.job import ExportJob
from ingrain.export.weights.independent_load import PROBES
from ingrain.repository.manifest import TextPreprocess
from ingrain.vocabulary import InputType

_QUERY_TOKENIZER = "query_tokenizer.json"


class SparseEncoderSource(Source):
    """A loaded ``SparseEncoder``.

    A model with a router may have two encoders, one for queries and one for documents.
    """

    library = "sentence-transformers"

    def __init__(self, folder: Path, *, trust_remote_code: bool) -> None:
        self._folder = folder
        self._trust_remote_code = trust_remote_code
        super().__init__()
        self.parameters: int = sum(parameter.numel() for parameter in self.model.parameters())

    def read_model(self, networks: list[Any]) -> Any:
        """Have the library load the model in float32, whatever the type of the stored weights."""
        from sentence_transformers import SparseEncoder

        del networks  # all of them are recorded automatically
        return load_in_float32(SparseEncoder, self._folder, trusted=self._trust_remote_code)

    def probe(self) -> list[NDArray[np.float32]]:
        """Return the weights of two texts, as queries and as documents."""
        return [self.weights(PROBES, task, batch_size=len(PROBES)) for task in ("query", "document")]

    def weights(
        self, texts: Sequence[str], task: InputType, *, prompt: str | None = None, batch_size: int = 1
    ) -> NDArray[np.float32]:
        """Return the weights of ``encode``, float32 ``[B, V]``; ``prompt`` None is the model's default."""
        rows: NDArray[np.float32] = self.model.encode(
            list(texts),
            task=task,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=False,
            convert_to_sparse_tensor=False,
        ).numpy()
        return rows

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizers, and describe the encoder, or the encoders of documents and of queries.

        Raises:
            UnsupportedModelError: A module or a tokenizer is not supported.
        """
        documents, queries = modules_for(self.model, "document"), modules_for(self.model, "query")
        text = self._save_tokenizer(folder, documents, "tokenizer.json")
        towers, query_text = [self._tower("document", documents)], None
        if not _are_same(documents, queries):
            query_text = self._save_tokenizer(folder, queries, _QUERY_TOKENIZER)
            towers.append(self._tower("query", queries))
        network = getattr(documents[0], "model", documents[0])
        return Description(
            architecture=type(network).__name__,
            towers=tuple(towers),
            preparation=Preparation(folder=folder, text=text, query_text=query_text),
            default_input_type=default_input_type(self.model) if query_text is not None else None,
            has_token_dimensions=not any(type(module).__name__ == "SparseAutoEncoder" for module in documents),
        )

    def _save_tokenizer(self, folder: Path, modules: list[Any], name: str) -> TextPreprocess:
        if type(modules[0]).__name__ == "SparseStaticEmbedding":
            return save_weights_tokenizer(self.model, folder, modules[0], name)
        text = save_transformer_tokenizer(self.model, folder, modules[0], name)
        include_prompt = all(getattr(part, "include_prompt", True) for part in modules)
        return msgspec.structs.replace(text, include_prompt=include_prompt)

    def _tower(self, task: InputType, modules: list[Any]) -> Tower:
        first, limit = modules[0], self.model.max_active_dims
        network = getattr(first, "model", None)
        recipes = PLAIN_RECIPES if network is None else transformer_recipes(network)
        is_splade = any(type(module).__name__ == "SpladePooling" for module in modules)
        ways = (True, False) if is_splade and can_split_head(first) else (False,)
        return sparse_tower(
            SideSource(self, task),
            build_sparse_graph(modules, limit).inputs,
            [
                Candidate(recipe=recipe, build=partial(_graph, task, recipe, split_head))
                for split_head in ways
                for recipe in recipes
            ],
            of_queries=task == "query",
            title="The query encoder" if task == "query" else "The model",
            limit=limit,
            int8=network is not None,
        )


class SideSource:
    """The encoder of queries or of documents, for a proof; see ``TextSource``."""

    def __init__(self, source: SparseEncoderSource, task: InputType) -> None:
        self._source = source
        self._task: InputType = task
        self.parameters = source.parameters
        self.special_tokens: list[str] = list(self._first().tokenizer.all_special_tokens)

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the encoder's inputs, int64 ``[B, T]`` by name."""
        features = self._first().preprocess(list(texts))
        return {name: value.numpy() for name, value in features.items() if hasattr(value, "numpy")}

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> NDArray[np.float32]:
        """Return the weights of ``encode``, float32 ``[B, V]``."""
        return self._source.weights(texts, self._task, prompt=prompt, batch_size=batch_size)

    def _first(self) -> Any:
        return modules_for(self._source.model, self._task)[0]


def open_source(job: ExportJob, folder: Path) -> SparseEncoderSource:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted, or not in the job's precision.
    """
    trusted = bool(job.trust_remote_code)
    inspect_sparse(folder, trust_remote_code=trusted)
    source = SparseEncoderSource(folder, trust_remote_code=trusted)
    tasks: tuple[InputType, ...] = ("query", "document")
    if not any(hasattr(modules_for(source.model, task)[0], "model") for task in tasks):
        refuse_int8(job.precision, "A model that only weights tokens has no network")
    return source


def modules_for(model: Any, task: InputType) -> list[Any]:
    """Return the modules that queries or documents pass through.

    Raises:
        UnsupportedModelError: The model's router has no route for them.
    """
    first, *rest = list(model)
    return [*first.sub_modules[_route(first, task)], *rest] if type(first).__name__ == "Router" else [first, *rest]


def default_input_type(model: Any) -> InputType | None:
    """Return what the router takes a text for if the caller does not say; None if it then refuses the text."""
    router = model[0]
    if router.default_route is None and not router.route_mappings:
        return None
    route = _route(router, None)
    tasks: tuple[InputType, ...] = ("document", "query")
    found = next((task for task in tasks if _route(router, task) == route), None)
    if found is None:
        raise unsupported(f"The model's router has the default route {route!r}, which is for neither side of a search.")
    return found


def _route(router: Any, task: InputType | None) -> str:
    try:
        route: str = router._resolve_route(task=task, modality="text")  # encode's own choice has no public name
    except ValueError as error:
        raise unsupported(f"The model's router has no route for texts of the kind {task!r}.") from error
    return route


def _are_same(ours: list[Any], others: list[Any]) -> bool:
    return len(ours) == len(others) and all(a is b for a, b in zip(ours, others, strict=True))


def _graph(task: InputType, recipe: Recipe, split_head: bool, model: Any) -> Any:
    modules = modules_for(model, task)
    network = getattr(modules[0], "model", None)
    if network is not None:
        prepare_network(network, recipe)
    return build_sparse_graph(modules, model.max_active_dims, split_head=split_head)
