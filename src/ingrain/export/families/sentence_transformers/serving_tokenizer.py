"""Writes the serving tokenizer of a sentence-transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from tokenizers import Tokenizer

from ingrain.export.families.sentence_transformers.modalities import pads_to_limit
from ingrain.export.huggingface import japanese_tokenizer
from ingrain.export.huggingface.tokenizer_files import compare_with_sentencepiece, write_tokenizer
from ingrain.export.model_files import unsupported
from ingrain.repository.manifest import TextPreprocess

# Limit for models that set none: a single text must not use up the memory.
MAX_TOKENS_WITHOUT_LIMIT = 8192
_NO_LIMIT = 1_000_000


def transformer_limit(module: Any) -> int:
    """Return the longest sequence of a ``Transformer`` module, special tokens included.

    This is the source's maximum, limited to the size of the position table. RoBERTa and similar networks count
    positions from the padding id on; if their configuration ignores that, the source itself fails on long texts.
    """
    return min(stated_limit(module), position_limit(module))


def stated_limit(module: Any) -> int:
    """Return the source's maximum of a ``Transformer`` module; a limit of our own if it has none."""
    limit = module.max_seq_length
    return MAX_TOKENS_WITHOUT_LIMIT if limit is None or limit > _NO_LIMIT else int(limit)


def position_limit(module: Any) -> int:
    """Return the longest sequence that the network's position table has room for; a huge number without a table."""
    limit = _NO_LIMIT
    for part in module.model.modules():
        table: Any = getattr(part, "position_embeddings", None)
        offset = getattr(part, "padding_idx", None)
        if type(table).__name__ == "Embedding":
            first = offset + 1 if isinstance(offset, int) else 0
            limit = min(limit, int(table.num_embeddings) - first)
    return limit


def save_transformer_tokenizer(
    model: Any, folder: Path, module: Any = None, name: str = "tokenizer.json"
) -> TextPreprocess:
    """Write the tokenizer of a ``Transformer`` module.

    Args:
        model: A ``SentenceTransformer`` or another model of the library.
        folder: Gets the file, which truncates at the maximum and does not pad.
        module: The module, whose maximum length is set to the one that the graph accepts; None for the model's first.
        name: Name of the file.

    Returns:
        The text preprocessing.

    Raises:
        UnsupportedModelError: The tokenizer has no fast form or no padding token.
    """
    module = model[0] if module is None else module
    limit = transformer_limit(module)
    module.max_seq_length = limit
    return msgspec.structs.replace(
        save_tokenizer(module.tokenizer, folder, limit, name),
        **_prompts(model),
        include_prompt=all(getattr(part, "include_prompt", True) for part in model),
        fixed_length=pads_to_limit(module.processing_kwargs),
    )


def save_weights_tokenizer(model: Any, folder: Path, module: Any, name: str) -> TextPreprocess:
    """Write the tokenizer of a ``SparseStaticEmbedding`` module, which adds no special tokens.

    Args:
        model: A ``SparseEncoder``.
        folder: Gets the file.
        module: The module; its tokenizer's maximum length is set to the one that is served.
        name: Name of the file.
    """
    limit = min(int(module.tokenizer.model_max_length), MAX_TOKENS_WITHOUT_LIMIT)
    module.tokenizer.model_max_length = limit
    return msgspec.structs.replace(
        save_tokenizer(module.tokenizer, folder, limit, name),
        **_prompts(model),
        add_special_tokens=False,
        allow_empty=True,
    )


def save_tokenizer(tokenizer: Any, folder: Path, limit: int, name: str = "tokenizer.json") -> TextPreprocess:
    """Write a tokenizer of transformers.

    Args:
        tokenizer: The tokenizer.
        folder: Gets the file, which truncates at ``limit`` tokens and does not pad.
        limit: Longest sequence.
        name: Name of the file.

    Returns:
        The text preprocessing, without prompts.

    Raises:
        UnsupportedModelError: The tokenizer has no fast form or no padding token.
    """
    backend, words = getattr(tokenizer, "backend_tokenizer", None), None
    if type(tokenizer).__name__ == japanese_tokenizer.CLASS:
        backend, words = japanese_tokenizer.build_japanese_tokenizer(tokenizer), japanese_tokenizer.words_of(tokenizer)
    elif not getattr(tokenizer, "is_fast", False) or not isinstance(backend, Tokenizer):
        raise unsupported(
            f"The tokenizer {type(tokenizer).__name__!r} has no fast form (tokenizer.json), so it cannot be served."
        )
    compare_with_sentencepiece(tokenizer)
    if tokenizer.pad_token_id is None:
        raise unsupported("The tokenizer has no padding token, so texts cannot be batched.")
    if tokenizer.split_special_tokens:
        raise unsupported("The tokenizer has split_special_tokens, which a tokenizer.json cannot express.")
    write_tokenizer(backend, folder, limit, tokenizer.truncation_side, name)
    return TextPreprocess(
        max_tokens=limit,
        tokenizer=name,
        padding_side=cast(Literal["right", "left"], tokenizer.padding_side),
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        words=words,
    )


def save_static_tokenizer(model: Any, folder: Path) -> TextPreprocess:
    """Write the tokenizer of a model whose first module is a ``StaticEmbedding``."""
    backend = model[0].tokenizer
    truncation = backend.truncation
    if truncation is None:
        backend.enable_truncation(MAX_TOKENS_WITHOUT_LIMIT)
        truncation = backend.truncation
    limit = int(truncation["max_length"])
    write_tokenizer(backend, folder, limit, truncation["direction"])
    return TextPreprocess(max_tokens=limit, add_special_tokens=False, allow_empty=True, **_prompts(model))


def _prompts(model: Any) -> dict[str, Any]:
    return {
        "prompts": dict(model.prompts),
        "default_prompt_name": model.default_prompt_name if model.prompts.get(model.default_prompt_name) else None,
    }
