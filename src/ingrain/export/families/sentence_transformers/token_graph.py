"""Builds exportable torch modules that give a vector for each token of a text."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ingrain.export.families.sentence_transformers.modalities import refuse_modalities
from ingrain.export.families.sentence_transformers.text_graph import TransformerEncoder, network_inputs
from ingrain.export.model_files import unsupported

_TOKENS = "token_embeddings"
# Modules that can be exported as they are, and that leave the number of tokens as it is.
_AS_THEY_ARE = ("Dense", "LayerNorm", "Normalize", "Dropout", "WeightedLayerPooling", "CNN")
# The server drops the tokens that this module masks, because a graph's outputs have one number of tokens for a batch.
_LEFT_TO_THE_SERVER = "MultiVectorMask"


class TokenGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """The modules of a sentence-transformers model that compute the vectors of tokens.

    Args:
        encoder: The network.
        tail: The source's modules after it.
    """

    def __init__(self, encoder: TransformerEncoder, tail: list[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.tail = nn.ModuleList(tail)
        self.inputs = encoder.arguments
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute vectors.

        Args:
            *tensors: int64 ``[B, T]`` each, in the order of ``inputs``.

        Returns:
            float32 ``[B, T, D]``.
        """
        features = self.encoder(dict(zip(self.inputs, tensors, strict=True)))
        for module in self.tail:
            features = module(features)
        vectors: Tensor = features[_TOKENS]
        return vectors


def build_token_graph(model: Any, *, stop_at_pooling: bool) -> TokenGraph:
    """Build the graph of a loaded model; it shares the weights.

    Args:
        model: A ``SentenceTransformer`` or a ``MultiVectorEncoder``.
        stop_at_pooling: True to leave out the pooling and all modules after it.

    Raises:
        UnsupportedModelError: A module or option is not supported.
    """
    first, *rest = list(model)
    if type(first).__name__ != "Transformer":
        raise unsupported(f"The model begins with the module {type(first).__name__!r}, which gives no token vectors.")
    refuse_modalities(first.modality_config)
    if first.module_output_name != _TOKENS:
        raise unsupported("The model's network gives one vector for each text, and none for its tokens.")
    encoder = TransformerEncoder(first, "text", network_inputs(first, first.modality_config["text"]["method"]))
    tail = []
    for module in rest:
        kind = type(module).__name__
        if stop_at_pooling and kind == "Pooling":
            break
        if kind == _LEFT_TO_THE_SERVER:
            continue
        if not type(module).__module__.startswith("sentence_transformers.") or kind not in _AS_THEY_ARE:
            raise unsupported(f"The module {kind!r} is not supported.")
        tail.append(module)
    return TokenGraph(encoder, tail)
