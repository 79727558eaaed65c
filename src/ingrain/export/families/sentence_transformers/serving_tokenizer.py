"""Writes the serving tokenizer of a sentence-transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

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
    limit = module.max_seq_length
    limit = MAX_TOKENS_WITHOUT_LIMIT if limit is None or limit > _NO_LIMIT else int(limit)
    for part in module.model.modules():
        table: Any = getattr(part, "position_embeddings", None)
        offset = getattr(part, "padding_idx", None)
        if type(table).__name__ == "Embedding":
            first = offset + 1 if isinstance(offset, int) else 0
            limit = min(limit, int(table.num_embeddings) - first)
    return limit


def save_transformer_tokenizer(model: Any, folder: Path) -> TextPreprocess:
    """Write the tokenizer of a model whose first module is a ``Transformer``.

    Args:
        model: A ``SentenceTransformer``; its maximum length is set to the one that the graph accepts.
        folder: Gets ``tokenizer.json``, which truncates at the maximum and does not pad.

    Returns:
        The text preprocessing.

    Raises:
        UnsupportedModelError: The tokenizer has no fast form or no padding token.
    """
    module = model[0]
    tokenizer = module.tokenizer
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
    limit = transformer_limit(module)
    module.max_seq_length = limit
    write_tokenizer(backend, folder, limit, tokenizer.truncation_side)
    return TextPreprocess(
        max_tokens=limit,
        padding_side=cast(Literal["right", "left"], tokenizer.padding_side),
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        **_prompts(model),
        include_prompt=all(getattr(part, "include_prompt", True) for part in model),
        words=words,
        fixed_length=pads_to_limit(module.processing_kwargs),
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
