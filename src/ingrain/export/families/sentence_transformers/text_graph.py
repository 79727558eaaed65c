"""Builds exportable torch modules for sentence-transformers models: token ids or pixels in, one vector out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ingrain.export.families.sentence_transformers.modalities import refuse_modalities
from ingrain.export.families.towers import PIXELS
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.pooling import MODES, pool

# Modules that can be exported as they are.
_AS_THEY_ARE = ("Dense", "LayerNorm", "Normalize", "Dropout", "WeightedLayerPooling", "CNN")
_READ_MASK = ("Pooling", "LogitScore")
_TENSORS = {"input_ids", "attention_mask", "token_type_ids"}


class PipelineGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """The whole pipeline of a sentence-transformers model as one function of tensors.

    Args:
        encoder: Computes features from the inputs (``TransformerEncoder`` or ``StaticEncoder``).
        tail: The source's modules after the encoder.
        inputs: Names of the inputs, in order.
        truncate_dim: Width that the source truncates its vectors to; None for the full width.
        feature: Name of the feature that is the output.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tail: list[nn.Module],
        inputs: tuple[str, ...],
        truncate_dim: int | None,
        feature: str = "sentence_embedding",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tail = nn.ModuleList(tail)
        self.inputs = inputs
        self.truncate_dim = truncate_dim
        self.feature = feature
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute vectors.

        Args:
            *tensors: int64 ``[B, T]`` each, in the order of ``inputs``; for images float32 ``[B, 3, H, W]``.

        Returns:
            float32 ``[B, D]``.
        """
        return self.vector(self.features(*tensors))

    def features(self, *tensors: Tensor) -> dict[str, Any]:
        """Compute all features, those of single tokens too, from the tensors that ``forward`` takes."""
        features = self.encoder(dict(zip(self.inputs, tensors, strict=True)))
        for module in self.tail:
            features = module(features)
        result: dict[str, Any] = features
        return result

    def vector(self, features: dict[str, Any]) -> Tensor:
        """Return the output among the features."""
        vector = features[self.feature]
        return vector if self.truncate_dim is None else vector[:, : self.truncate_dim]


class TransformerEncoder(nn.Module):  # type: ignore[misc]  # as above
    """A transformers model, called as the source's ``Transformer`` module calls it.

    Args:
        module: The source's module.
        modality: Key into the module's ``modality_config``: ``text``, ``message`` or ``image``.
        arguments: Names of the inputs that the network takes.
    """

    def __init__(self, module: Any, modality: str, arguments: tuple[str, ...]) -> None:
        super().__init__()
        rules = module.modality_config[modality]
        output = rules["method_output_name"]
        self.network = module.model
        self.method = rules["method"]
        self.path = () if output is None else (output,) if isinstance(output, str) else tuple(output)
        self.feature = module.module_output_name
        self.all_layers = bool(getattr(module.model.config, "output_hidden_states", False))
        self.arguments = arguments

    def forward(self, given: dict[str, Tensor]) -> dict[str, Any]:
        """Compute the features that the following modules read."""
        arguments = {name: given[name] for name in self.arguments}
        if _ends_in_eos_head(self.network):
            return {**given, self.feature: _eos_logits(self.network, arguments)}
        result = getattr(self.network, self.method)(**arguments, return_dict=True)
        tensor = result
        for key in self.path:
            tensor = getattr(tensor, key) if isinstance(key, str) else tensor[key]
        if tensor.ndim == 4:  # a convolutional network's [B, H, Y, X], as tokens
            tensor = tensor.flatten(2).transpose(1, 2)
        features = {**given, self.feature: tensor}
        if self.all_layers:
            features["all_layer_embeddings"] = result["hidden_states"]
        return features


def _ends_in_eos_head(network: Any) -> bool:
    """Return True for BART's and T5's classifiers, which select end tokens by a mask; in a graph its size is fixed."""
    return hasattr(network, "classification_head") and network.config.is_encoder_decoder


def _eos_logits(network: Any, arguments: dict[str, Tensor]) -> Tensor:
    """Return the logits of BART's and T5's classifiers: of the decoder's state at the last end token."""
    encoder_decoder = network.model if hasattr(network, "model") else network.transformer
    ids = arguments["input_ids"]
    shift = getattr(network, "_shift_right", None)  # BART's decoder shifts the ids itself
    decoder_ids = None if shift is None else shift(ids)
    states = encoder_decoder(**arguments, decoder_input_ids=decoder_ids, use_cache=False, return_dict=True)[0]
    places = torch.arange(ids.shape[1]) * (ids == network.config.eos_token_id)
    last = places.argmax(dim=1)[:, None, None].expand(-1, 1, states.shape[2])
    return network.classification_head(states.gather(1, last)[:, 0])


class StaticEncoder(nn.Module):  # type: ignore[misc]  # as above
    """The mean of the tokens' stored vectors; zeros for a text without tokens, as in the source's EmbeddingBag."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sentence embedding of padded ids."""
        mask = given["attention_mask"]
        tokens = nn.functional.embedding(given["input_ids"], self.weight)
        return {**given, "sentence_embedding": pool(tokens, mask, mask, ("mean",))}


class PoolingStep(nn.Module):  # type: ignore[misc]  # as above
    """The source's ``Pooling``, written for export."""

    def __init__(self, modes: tuple[str, ...]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add the sentence embedding."""
        tokens = features["token_embeddings"]
        attention_mask = features.get("attention_mask")
        if attention_mask is None:  # images: all tokens count
            attention_mask = torch.ones(tokens.shape[:2], dtype=torch.int64)
        pooling_mask = features.get("pooling_mask", attention_mask)
        return {**features, "sentence_embedding": pool(tokens, attention_mask, pooling_mask, self.modes)}


def build_graph(model: Any) -> PipelineGraph:
    """Build the graph of a loaded ``SentenceTransformer``; it shares the weights.

    Raises:
        UnsupportedModelError: A module or option is not supported.
    """
    return build_pipeline(list(model), step_of, model.truncate_dim)


def build_pipeline(
    modules: list[Any],
    step: Callable[[Any], nn.Module],
    truncate_dim: int | None,
    feature: str = "sentence_embedding",
    *,
    takes_messages: bool = False,
) -> PipelineGraph:
    """Build the graph of modules that begin with an encoder.

    Args:
        modules: The loaded modules.
        step: Returns the exportable form of a module after the first.
        truncate_dim: As in ``PipelineGraph``.
        feature: Name of the feature that is the output.
        takes_messages: True for a model that may make a chat message of a pair of texts.

    Raises:
        UnsupportedModelError: A module or option is not supported.
    """
    first, *rest = modules
    kind = type(first).__name__
    include_prompt = all(getattr(module, "include_prompt", True) for module in rest)
    if kind == "StaticEmbedding":
        inputs: tuple[str, ...] = ("input_ids", "attention_mask")
        encoder: nn.Module = StaticEncoder(first.embedding.weight)
    elif kind in ("Transformer", "CLIPModel"):
        refuse_modalities(first.modality_config, takes_messages=takes_messages)
        encoder = text_encoder(first)
        inputs = encoder.arguments
        if "attention_mask" not in inputs and any(type(module).__name__ in _READ_MASK for module in rest):
            inputs = (*inputs, "attention_mask")
        if not include_prompt:
            inputs = (*inputs, "pooling_mask")
    else:
        raise unsupported(f"The model begins with the module {kind!r}, which is not supported.")
    return PipelineGraph(encoder, [step(module) for module in rest], inputs, truncate_dim, feature)


def text_encoder(module: Any) -> TransformerEncoder:
    """Return the exportable form of a ``Transformer`` for texts, or for texts that are sent as chat messages."""
    modality = "message" if "message" in module.modality_config else "text"
    return TransformerEncoder(module, modality, network_inputs(module, module.modality_config[modality]["method"]))


def build_image_graph(model: Any) -> PipelineGraph:
    """Build the graph for normalized pixels of a loaded ``SentenceTransformer`` that takes images."""
    first, *rest = list(model)
    encoder = TransformerEncoder(first, "image", (PIXELS,))
    return PipelineGraph(encoder, [step_of(module) for module in rest], (PIXELS,), model.truncate_dim)


def network_inputs(module: Any, method: str) -> tuple[str, ...]:
    """Return the inputs that the source's tokenizer produces and the network's method accepts.

    Raises:
        UnsupportedModelError: The network needs an input that the server does not provide.
    """
    # A chat template may have no place for a single text.
    sample: Any = ("text", "text") if "message" in module.modality_config else "text"
    made = set(module.preprocess([sample])) - {"modality", "prompt_length", "logits_to_keep"}
    taken = set(inspect.signature(getattr(module.model, method)).parameters)
    if unknown := (made & taken) - _TENSORS:
        raise unsupported(f"The network needs the input {min(unknown)!r}, which is not supported.")
    return tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in made & taken)


def step_of(module: Any) -> nn.Module:
    """Return the exportable form of a module after the encoder.

    Raises:
        UnsupportedModelError: The module or an option is not supported.
    """
    kind = type(module).__name__
    ours = type(module).__module__.startswith("sentence_transformers.")
    if ours and kind == "Pooling":
        modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else tuple(module.pooling_mode)
        if unknown := set(modes) - set(MODES):
            raise unsupported(f"The pooling mode {min(unknown)!r} is not supported.")
        return PoolingStep(modes)
    if ours and kind in _AS_THEY_ARE:
        return module
    raise unsupported(f"The module {kind!r} is not supported.")
