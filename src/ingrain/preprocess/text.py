"""Text in, token ids out, padded to arrays when a batch is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ingrain.preprocess.clean import clean_texts
from ingrain.repository.manifest import TextPreprocess


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the graph wants it, not padded.

    Attributes:
        input_ids: Token ids, special tokens included.
        type_ids: Token type ids, as long as ``input_ids``.
        prompt_tokens: How many leading tokens belong to the prompt and stay out of pooling.
    """

    input_ids: list[int]
    type_ids: list[int]
    prompt_tokens: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)


class TextPreprocessor:
    """Tokenizes as the source library does. Thread-safe; ``encode`` releases the GIL for most of its time."""

    def __init__(self, config: TextPreprocess, folder: Path) -> None:
        self.config = config
        self._tokenizer = Tokenizer.from_file(str(folder / config.tokenizer))
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = {index for index, token in added.items() if token.special}
        self._prompt_tokens: dict[str, int] = {}

    def encode(self, texts: Sequence[str], *, prompt: str | None = None) -> list[TokenizedText]:
        """Tokenize texts, longest cut to ``max_tokens`` with the end token kept.

        Args:
            texts: Any number of texts; an empty text is a text.
            prompt: Put before every text; the model's default prompt if None.

        Returns:
            One item a text, in order.
        """
        if prompt is None:
            prompt = self.default_prompt
        prompt_tokens = 0
        if prompt:
            texts = [prompt + text for text in texts]
            if not self.config.include_prompt:
                prompt_tokens = self._count_prompt_tokens(prompt)
        texts = clean_texts(texts, self.config.clean)
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=self.config.add_special_tokens)
        zeroed = self.config.zeroed_id
        if zeroed is not None:
            return [TokenizedText([i if i != zeroed else 0 for i in e.ids], e.type_ids) for e in encodings]
        return [TokenizedText(encoding.ids, encoding.type_ids, prompt_tokens) for encoding in encodings]

    @property
    def default_prompt(self) -> str:
        """The prompt that the source's ``encode`` applies by itself; empty if none."""
        name = self.config.default_prompt_name
        return self.config.prompts.get(name, "") if name is not None else ""

    def _count_prompt_tokens(self, prompt: str) -> int:
        """Count a prompt's tokens as sentence-transformers does: special tokens included, the end token not."""
        if prompt not in self._prompt_tokens:
            ids = self._tokenizer.encode(prompt, add_special_tokens=self.config.add_special_tokens).ids
            # By id, as the source does it: a special token that the prompt itself ends in counts as the end token too.
            ends = bool(ids) and ids[-1] in self._special_ids
            self._prompt_tokens[prompt] = len(ids) - 1 if ends else len(ids)
        return self._prompt_tokens[prompt]


def collate(
    items: Sequence[TokenizedText], config: TextPreprocess, inputs: Sequence[str], length: int | None = None
) -> dict[str, NDArray[np.int64]]:
    """Pad tokenized texts to one length.

    Args:
        items: ``B`` texts.
        config: Padding side and ids.
        inputs: Names of the graph's inputs, of ``input_ids, attention_mask, token_type_ids, pooling_mask``.
        length: Length ``T`` to pad to; that of the longest text if None, never under 1. Always ``max_tokens`` where the
            model wants a fixed length.

    Returns:
        ``int64 [B, T]`` by input name.
    """
    if config.fixed_length:
        length = config.max_tokens
    width = max(1, length or 0, max(map(len, items), default=1))
    lengths = np.fromiter(map(len, items), np.int64, len(items))
    places = np.arange(width)
    is_real = places < lengths[:, None] if config.padding_side == "right" else places >= width - lengths[:, None]
    arrays = {
        "input_ids": _fill(is_real, [item.input_ids for item in items], config.pad_id),
        "attention_mask": is_real.astype(np.int64),
    }
    if "token_type_ids" in inputs:
        arrays["token_type_ids"] = _fill(is_real, [item.type_ids for item in items], config.pad_type_id)
    if "pooling_mask" in inputs:
        pooling_mask = arrays["attention_mask"].copy()
        for row, item in enumerate(items):
            start = 0 if config.padding_side == "right" else width - len(item)
            pooling_mask[row, : start + item.prompt_tokens] = 0
        arrays["pooling_mask"] = pooling_mask
    return {name: arrays[name] for name in inputs}


def _fill(is_real: NDArray[np.bool_], rows: Sequence[Sequence[int]], padding: int) -> NDArray[np.int64]:
    """Lay rows of unequal length into an array, ``int64 [B, T]``, where ``is_real`` says."""
    flat = np.array(list(chain.from_iterable(rows)), np.int64)
    if flat.size == is_real.size:
        return flat.reshape(is_real.shape)
    array = np.full(is_real.shape, padding, np.int64)
    array[is_real] = flat
    return array
