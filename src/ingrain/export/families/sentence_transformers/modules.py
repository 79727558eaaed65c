"""Refuses modules of sentence-transformers that cannot be converted, with the reasons that a user is told."""

from __future__ import annotations

from ingrain.export.model_files import unsupported

_WORDS = (
    "it splits texts into words with rules of its own that the serving tokenizer does not have, so its vectors cannot "
    "be reproduced"
)
_ROUTES = (
    "it holds several encoders, and which one a text meets depends on the task that the caller names; save each route "
    "as a model of its own, as the documentation shows, and send queries to the one and documents to the other"
)
_MODULES = {
    "BoW": _WORDS,
    "WordEmbeddings": _WORDS,
    "WordWeights": "it weighs the words of word embeddings, whose word splitting cannot be reproduced",
    "LSTM": "it runs only on top of word embeddings, whose word splitting cannot be reproduced",
    "Router": _ROUTES,
    "Asym": _ROUTES,
}


def refuse_module(kind: str) -> None:
    """Raise where a module of this class is known and cannot be converted."""
    if kind in _MODULES:
        raise unsupported(f"The module {kind!r} cannot be served: {_MODULES[kind]}.")
