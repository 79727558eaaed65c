"""Loads, describes and proves late-interaction models: sentence-transformers' ``MultiVectorEncoder``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.protocol import Description, Preparation
from ingrain.export.families.sentence_transformers.checkpoint import Accepted, inspect
from ingrain.export.families.sentence_transformers.serving_tokenizer import (
    position_limit,
    save_tokenizer,
    stated_limit,
)
from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource, load_in_float32
from ingrain.export.families.sentence_transformers.token_graph import TokenGraph, build_token_graph
from ingrain.export.families.sentence_transformers.token_tower import token_candidates, token_tower
from ingrain.export.huggingface.unseeing_tokens import attend_with_zeros, window_of
from ingrain.export.model_files import unsupported
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import Count, compare
from ingrain.export.proof.token_references import Side, TokenReferences, ask_token_source
from ingrain.export.weights.independent_load import PROBES
from ingrain.export.weights.load_report import Loaded
from ingrain.preprocess.token_vectors import TokenVectorPreprocessor
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.token_rules import LateInteraction, TokenRules

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SIDES = ("document", "query")


class MultiVectorSource(SentenceTransformersSource):
    """A loaded late-interaction model."""

    def read_model(self, networks: list[Any]) -> Any:
        """Have the library load the model in float32."""
        from sentence_transformers import MultiVectorEncoder

        model = load_in_float32(MultiVectorEncoder, self._checkpoint.folder, trusted=self._trust_remote_code)
        for module in model:
            if type(module).__name__ == "Dense":
                networks.append(Loaded(module))  # ColBERT's own layout has its weight set without load_state_dict
        return model

    def probe(self) -> list[NDArray[np.float32]]:
        """Return the vectors of two texts as queries and as documents."""
        return [vectors for side in _SIDES for vectors in self.embed_tokens(PROBES, side)]

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe the tower that embeds tokens.

        Raises:
            UnsupportedModelError: A module or the tokenizer is not supported.
        """
        document, query = self._text_rules(folder)
        build = partial(_build_graph, query.token_rules)
        tower = token_tower(
            role="multi_vector_encoder",
            title="The model",
            inputs=build_token_graph(self.model, stop_at_pooling=False).inputs,
            candidates=token_candidates(self.model, build),
            ask=self._asked,
        )
        return Description(
            architecture=type(self.model[0].model).__name__,
            towers=(tower,),
            preparation=Preparation(folder=folder, text=document, query_text=query),
            late_interaction=cast(LateInteraction, self.model.similarity_fn_name),
        )

    def embed_tokens(
        self, texts: Sequence[str], side: str, *, prompt: str | None = None, batch_size: int = 1
    ) -> list[NDArray[np.float32]]:
        """Return the vectors of ``encode_query`` or ``encode_document``, float32 ``[t, D]`` for each text."""
        encode = self.model.encode_query if side == "query" else self.model.encode_document
        found: list[NDArray[np.float32]] = encode(
            list(texts), prompt=prompt, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return found

    def tokenize_side(self, texts: Sequence[str], side: str) -> dict[str, NDArray[np.int64]]:
        """Return the network's inputs for queries or documents without a prompt, int64 ``[B, T]`` by name."""
        features = self.model[0].preprocess(list(texts), task=side)
        return {name: value.numpy() for name, value in features.items() if name in _INPUTS}

    def padding_diff(self) -> float:
        """Return how much padding changes the source's vectors of documents."""
        texts = [*PROBES, " ".join(PROBES * 4)]
        together = self.embed_tokens(texts, "document", batch_size=len(texts))
        alone = self.embed_tokens(texts, "document")
        pairs = (pair for rows in zip(together, alone, strict=True) for pair in zip(*rows, strict=True))
        return max(compare(*pair).absolute for pair in pairs)

    def _text_rules(self, folder: Path) -> tuple[TextPreprocess, TextPreprocess]:
        """Write the serving tokenizer; return the text rules of documents and of queries.

        The source's maximum lengths are set to those that the graph accepts.
        """
        module = self.model[0]
        for prompt in ("query", "document"):
            self.model.prompts[prompt] = self.model.prompts.get(prompt) or ""
        limits, expansion = self._limits(), module.query_expansion
        text = msgspec.structs.replace(
            save_tokenizer(module.tokenizer, folder, max(limits.values())), prompts=dict(self.model.prompts)
        )
        if expansion is not None and text.padding_side != "right":
            raise unsupported("The model fills up its queries on the left, which is not supported.")
        mask = next((part for part in self.model if type(part).__name__ == "MultiVectorMask"), None)
        rules = {side: _token_rules(mask, side) for side in _SIDES}
        if expansion is not None and mask is not None:
            rules["query"] = msgspec.structs.replace(
                rules["query"],
                expand_to=expansion["length"],
                expansion_id=self._expansion_id(expansion["token"]),
                attends_to_expansion=expansion["attend"],
            )
        elif expansion is not None:
            raise unsupported("The model expands its queries, but has no module that scores the expansion.")
        document, query = (
            msgspec.structs.replace(text, max_tokens=limits[side], token_rules=rules[side]) for side in _SIDES
        )
        return document, query

    def _limits(self) -> dict[str, int]:
        """Return the longest sequence of queries and of documents, and have the source use the same."""
        module, expansion = self.model[0], self.model[0].query_expansion
        longest = position_limit(module)
        usual = stated_limit(module)
        module.document_length = min(module.document_length or usual, longest)
        query = module.query_length or usual
        if expansion is not None:
            query = expansion["length"] if expansion["strategy"] == "fixed" else max(query, expansion["length"])
            if expansion["length"] > longest:
                raise unsupported(
                    f"The model fills up its queries to {expansion['length']} tokens, but its network takes {longest}."
                )
        query = min(query, longest)
        if expansion is None or expansion["strategy"] == "min":
            module.query_length = query
        return {"document": module.document_length, "query": query}

    def _expansion_id(self, token: str | None) -> int:
        tokenizer = self.model.tokenizer
        if token is not None:
            return int(tokenizer.convert_tokens_to_ids(token))
        found = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.eos_token_id
        if found is None:
            raise unsupported("The model expands its queries, but its tokenizer has neither a mask nor an end token.")
        return int(found)

    def _asked(
        self, prepared: Preparation, inputs: Sequence[str], tolerance: float, brief: bool, report: Count
    ) -> TokenReferences:
        assert prepared.text is not None
        assert prepared.query_text is not None
        sides = [
            Side(
                preprocessor=TokenVectorPreprocessor(rules, prepared.folder),
                default_prompt=rules.prompts[side],
                embed=partial(self.embed_tokens, side=side),
                tokenize=partial(self.tokenize_side, side=side),
            )
            for side, rules in (("document", prepared.text), ("query", prepared.query_text))
        ]
        return ask_token_source(
            self, sides, inputs, tolerance=tolerance, padding_diff=self.padding_diff(), report=report, brief=brief
        )


def open_source(job: ExportJob, folder: Path) -> MultiVectorSource:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted.
    """
    trusted = bool(job.trust_remote_code)
    checkpoint = inspect(folder, trust_remote_code=trusted, accepted=Accepted(late_interaction=True))
    return MultiVectorSource(checkpoint, name=job.name, trust_remote_code=trusted)


def _build_graph(query: TokenRules | None, model: Any) -> TokenGraph:
    """Return the graph of queries and documents; the model then has an attention that can be exported."""
    network = model[0].model
    window = window_of(network)
    if query is not None and window is not None and query.expand_to > window and not query.attends_to_expansion:
        attend_with_zeros(network)
    return build_token_graph(model, stop_at_pooling=False)


def _token_rules(mask: Any, side: str) -> TokenRules:
    """Return which tokens of a side have a vector in the result, by the source's ``MultiVectorMask``."""
    if mask is None:
        return TokenRules()
    dropped = mask._skiplist_ids if side in mask.skiplist_tasks else None
    kept = mask.keep_only_token_ids if side != "query" else None
    return TokenRules(
        dropped_ids=() if dropped is None else tuple(dropped.tolist()), kept_ids=tuple(kept) if kept else None
    )
