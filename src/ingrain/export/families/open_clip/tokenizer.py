"""Writes the serving tokenizer of an OpenCLIP model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from tokenizers import Tokenizer

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.open_clip.bpe import build_bpe_tokenizer
from ingrain.export.huggingface.tokenizer_files import compare_with_sentencepiece, write_tokenizer
from ingrain.export.model_files import unsupported
from ingrain.preprocess.text_cleaning import Clean
from ingrain.repository.manifest import TextPreprocess

_CLEAN: dict[str, Clean] = {
    "lower": "clip_lower",
    "whitespace": "clip_whitespace",
    "canonicalize": "clip_canonicalize",
}


def save_clip_tokenizer(tokenizer: Any, folder: Path) -> TextPreprocess:
    """Write a tokenizer.

    Args:
        tokenizer: The result of ``open_clip.get_tokenizer``.
        folder: Gets ``tokenizer.json``, which truncates at the context length, keeps the end token and does not pad.

    Returns:
        The text preprocessing; the caller sets ``fixed_length`` to suit the graph.

    Raises:
        UnsupportedModelError: The kind of tokenizer or one of its options is not supported.
    """
    kind = type(tokenizer).__name__
    if kind == "SimpleTokenizer":
        if tokenizer.reduction_fn is not None:
            raise _unsupported("drops tokens of long texts at random or by grammar (reduction_mask)")
        backend, pad_id, side = build_bpe_tokenizer(tokenizer), 0, "right"
    elif kind == "HFTokenizer":
        backend, pad_id, side = _hugging_face(tokenizer)
    else:
        raise _unsupported(f"is a {kind!r}, which is not supported")
    limit = tokenizer.context_length
    if not isinstance(limit, int) or limit < 1:
        raise _unsupported("has no context length")
    truncation_side = "right" if kind == "SimpleTokenizer" else tokenizer.tokenizer.truncation_side
    write_tokenizer(backend, folder, limit, truncation_side)
    return TextPreprocess(
        max_tokens=limit,
        padding_side=cast(Literal["right", "left"], side),
        pad_id=pad_id,
        clean=_clean(tokenizer),
        zeroed_id=_separator(tokenizer),
    )


def special_tokens(tokenizer: Any) -> list[str]:
    """Return the tokenizer's special tokens; a user may type them in a text."""
    inner = getattr(tokenizer, "tokenizer", None)
    return ["<start_of_text>", "<end_of_text>"] if inner is None else list(inner.all_special_tokens)


def _hugging_face(tokenizer: Any) -> tuple[Tokenizer, int, str]:
    inner = tokenizer.tokenizer
    backend = getattr(inner, "backend_tokenizer", None)
    if tokenizer.tokenizer_mode:
        raise _unsupported(f"has the mode {tokenizer.tokenizer_mode!r}, which is not supported")
    if not getattr(inner, "is_fast", False) or not isinstance(backend, Tokenizer):
        raise _unsupported(f"({type(inner).__name__}) has no fast form (tokenizer.json)")
    compare_with_sentencepiece(inner)
    if inner.pad_token_id is None:
        raise _unsupported("has no padding token")
    return backend, int(inner.pad_token_id), str(inner.padding_side)


def _separator(tokenizer: Any) -> int | None:
    if not getattr(tokenizer, "strip_sep_token", False):
        return None
    if tokenizer.tokenizer.sep_token_id is None:
        raise _unsupported("has strip_sep_token but no separator token")
    return int(tokenizer.tokenizer.sep_token_id)


def _clean(tokenizer: Any) -> Clean:
    from open_clip.tokenizer import get_clean_fn

    for name, clean in _CLEAN.items():
        if tokenizer.clean_fn is get_clean_fn(name):
            return clean
    raise _unsupported("has an unknown cleaning function")


def _unsupported(what: str) -> UnsupportedModelError:
    return unsupported(f"The model's tokenizer {what}, so it cannot be served.")
