"""Refuses modules of sentence-transformers that cannot be converted, and states the reason."""

from __future__ import annotations

from ingrain.export.model_files import unsupported

_WORDS = (
    "it splits texts into words by its own rules, which the serving tokenizer does not have, so its vectors cannot be "
    "reproduced"
)
_ROUTES = (
    "it holds several encoders and chooses one by the task that the caller names; save each route as a separate model, "
    "as the documentation shows, and send queries to one and documents to the other"
)
_MODULES = {
    "BoW": _WORDS,
    "WordEmbeddings": _WORDS,
    "WordWeights": "it weights word embeddings, whose word splitting cannot be reproduced",
    "LSTM": "it runs on word embeddings, whose word splitting cannot be reproduced",
    "HierarchicalTokenPooling": "it merges the vectors of tokens by clustering, which is not supported",
    "Router": _ROUTES,
    "Asym": _ROUTES,
}


def refuse_module(kind: str) -> None:
    """Raise if modules of this class cannot be converted."""
    if kind in _MODULES:
        raise unsupported(f"The module {kind!r} cannot be served: {_MODULES[kind]}.")
