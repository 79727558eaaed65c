"""Small sentence-transformers folders with random weights, built on the spot; nothing comes from a hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES, Family
from tiny_tokenizers import VOCABULARY_SIZE, build_tokenizer

# Large enough that a wrong mask, window or position shows in the vectors.
STANDARD_DEVIATION = 0.15
WIDTH = 32
MAX_TOKENS = 80


def prepare_libraries() -> None:
    """Make the source libraries importable beside any build of torchvision, and quiet.

    Every builder here calls it; call it before importing sentence_transformers in a test of your own.
    """
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    import transformers.utils.logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def build_family(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Build the small model of one of ``FAMILIES`` with its pooling.

    Args:
        name: Key of ``FAMILIES``.
        folder: Where it goes; made if missing.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    family = FAMILIES[name]
    return build_pipeline(folder, family=family, modules=[("Pooling", {"pooling_mode": family.pooling})], seed=seed)


def build_pipeline(
    folder: Path,
    *,
    modules: Sequence[tuple[str, dict[str, Any]]],
    family: Family | None = None,
    prompts: dict[str, str] | None = None,
    default_prompt_name: str | None = None,
    dtype: str = "float32",
    seed: int = 0,
    **transformer: Any,
) -> Path:
    """Build a sentence-transformers folder: a small transformer and modules on top.

    Args:
        folder: Where it goes.
        modules: Class names of ``sentence_transformers.sentence_transformer.modules`` and their arguments; the width
            that a module takes from the one before is filled in.
        family: The transformer; BERT if None.
        prompts: The model's prompts.
        default_prompt_name: The prompt used when none is named.
        dtype: Data type that the transformer's weights are stored in.
        seed: Seed of the weights.
        **transformer: Further arguments of the ``Transformer`` module (``do_lower_case``, ``config_kwargs``).

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import sentence_transformers.sentence_transformer.modules as library
    import torch
    from sentence_transformers import SentenceTransformer

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        plain = build_network(folder.with_name(f"{folder.name}.network"), family or FAMILIES["BERT"], dtype=dtype)
        parts: list[Any] = [library.Transformer(str(plain), **transformer)]
        width = parts[0].get_embedding_dimension()
        for kind, arguments in modules:
            part = getattr(library, kind)(**_with_width(kind, dict(arguments), width))
            randomize(part)
            width = part.get_embedding_dimension() if hasattr(part, "get_embedding_dimension") else width
            parts.append(part)
    model = SentenceTransformer(modules=parts, device="cpu", prompts=prompts, default_prompt_name=default_prompt_name)
    model.save(str(folder), create_model_card=False)
    return folder


def build_network(folder: Path, family: Family, *, dtype: str = "float32") -> Path:
    """Build a plain transformers folder without ``modules.json``.

    Args:
        folder: Where it goes.
        family: The architecture.
        dtype: Data type that the weights are stored in.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch
    from transformers import AutoModel

    tokenizer = build_tokenizer(
        family.tokenizer,
        family.template,
        padding_side=family.padding_side,
        token_type_ids=family.token_type_ids,
        max_tokens=MAX_TOKENS,
    )
    network = AutoModel.from_config(small_config(family, tokenizer))
    randomize(network)
    network.to(getattr(torch, dtype)).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def build_static(folder: Path, *, normalize: bool = True, seed: int = 0) -> Path:
    """Build a model of one stored vector a token.

    Args:
        folder: Where it goes.
        normalize: True to bring vectors to unit length.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = torch.randn(VOCABULARY_SIZE, WIDTH)
    tokenizer = build_tokenizer("wordpiece", "cls_sep")
    weights = weights[: len(tokenizer)]
    parts: list[Any] = [StaticEmbedding(tokenizer, embedding_weights=weights)]
    SentenceTransformer(modules=parts + ([Normalize()] if normalize else []), device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder


def small_config(family: Family, tokenizer: Any) -> Any:
    """Return the transformers configuration of a family at its small size."""
    from transformers import CONFIG_MAPPING

    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    kind = CONFIG_MAPPING[family.model_type]
    known = _known_arguments(kind)
    return kind(**({name: value for name, value in sizes.items() if name in known} | family.config))


def _known_arguments(kind: Any) -> set[str]:
    import inspect

    declared = {name for parent in kind.__mro__ for name in getattr(parent, "__annotations__", {})}
    return declared | set(inspect.signature(kind.__init__).parameters) | set(kind.attribute_map)


def _with_width(kind: str, arguments: dict[str, Any], width: int) -> dict[str, Any]:
    names = {
        "Pooling": "embedding_dimension",
        "Dense": "in_features",
        "LayerNorm": "dimension",
        "WeightedLayerPooling": "embedding_dimension",
        "CNN": "in_embedding_dimension",
        "LSTM": "embedding_dimension",
    }
    return {names[kind]: width, **arguments} if kind in names else arguments


def randomize(module: Any) -> None:
    """Give every parameter a value that shows: weights wide, norms around 1, biases around 0."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, STANDARD_DEVIATION)
            elif "bias" in name:
                parameter.normal_(0.0, 0.1)
            else:
                parameter.normal_(1.0, 0.1)
