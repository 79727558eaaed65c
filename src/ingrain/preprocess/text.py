"""Text in, token ids out, padded to arrays when a batch is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.clean import clean_texts
from ingrain.preprocess.frame import read_frame
from ingrain.preprocess.words import WordByWord
from ingrain.repository.manifest import TextPreprocess


# A Struct, not a dataclass, for there is one for every text: it is made in a tenth of the time.
class TokenizedText(msgspec.Struct, frozen=True):
    """One text as the graph wants it, not padded.

    Attributes:
        input_ids: Token ids, special tokens included.
        type_ids: Token type ids, as long as ``input_ids``.
        prompt_tokens: How many leading tokens belong to the prompt and stay out of pooling.
        cut_tokens: How many tokens the text had beyond the model's maximum; they are not in ``input_ids``.
    """

    input_ids: list[int]
    type_ids: list[int]
    prompt_tokens: int = 0
    cut_tokens: int = 0

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
        self._prompt_tokens = (
            {} if config.include_prompt else {text: self._count_prompt_tokens(text) for text in config.prompts.values()}
        )
        self._frame = read_frame(self._tokenizer, config)
        self._words = WordByWord.find(self._tokenizer, self._frame)

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
                # Those of the model are known; a caller's own is counted anew, for there is no end of them.
                known = self._prompt_tokens.get(prompt)
                prompt_tokens = self._count_prompt_tokens(prompt) if known is None else known
        texts = clean_texts(texts, self.config.clean)
        words = self._words
        if words is None:
            return self._tokenize(texts, prompt_tokens)
        longest, zeroed, items = self.config.max_tokens, self.config.zeroed_id, []
        for text in texts:
            # More words than tokens: too long for certain, and too many to be worth knowing.
            ids = words.encode(text) if text.count(" ") < longest else None
            if ids is None or len(ids) >= longest:  # the tokenizer knows where to cut it
                items += self._tokenize([text], prompt_tokens)
                continue
            type_ids = [0] * len(ids)
            items.append(TokenizedText(ids if zeroed is None else self._zero(ids), type_ids, prompt_tokens, 0))
        return items

    def _tokenize(self, texts: Sequence[str], prompt_tokens: int) -> list[TokenizedText]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=self.config.add_special_tokens)
        longest, items = self.config.max_tokens, []
        for encoding in encodings:
            ids = encoding.ids if self.config.zeroed_id is None else self._zero(encoding.ids)
            cut_tokens = self._count_cut_tokens(encoding) if len(ids) >= longest else 0
            items.append(TokenizedText(ids, encoding.type_ids, prompt_tokens, cut_tokens))
        return items

    def take_ids(self, rows: Sequence[Sequence[int]], *, name: Callable[[int], str]) -> list[TokenizedText]:
        """Take texts that the caller has tokenized with the model's own tokenizer.

        Special tokens are put around the ids where the caller has not done so; what is longer than ``max_tokens`` is
        cut as a text is. No prompt is put before them.

        Args:
            rows: Token ids by text.
            name: Tells how the caller wrote a row, for errors.

        Raises:
            InvalidRequestError: A row is empty, or holds an id that the vocabulary lacks.
        """
        for index, row in enumerate(rows):
            if not row:
                raise InvalidRequestError(f"{name(index)} holds no token id.", param=name(index))
            if min(row) < 0 or max(row) >= self._vocabulary_size:
                wrong = next(token for token in row if not 0 <= token < self._vocabulary_size)
                raise InvalidRequestError(
                    f"{name(index)} holds the token id {wrong}; those of this model are 0 to "
                    f"{self._vocabulary_size - 1}. Send ids of the model's own tokenizer, or send text.",
                    param=name(index),
                    facts={"limit": self._vocabulary_size - 1},
                )
        taken = (self._frame.put_around(row) for row in rows)
        return [TokenizedText(self._zero(ids), type_ids, 0, cut) for ids, type_ids, cut in taken]

    def _zero(self, ids: list[int]) -> list[int]:
        zeroed = self.config.zeroed_id
        return ids if zeroed is None else [token if token != zeroed else 0 for token in ids]

    def _count_cut_tokens(self, encoding: Encoding) -> int:
        """Count what did not fit: the tokenizer keeps it in further pieces, each with special tokens of its own."""
        return sum(len(piece) - self._frame.special_tokens for piece in encoding.overflowing)

    @cached_property
    def _vocabulary_size(self) -> int:
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if self._tokenizer.id_to_token(size - 1) is not None and self._tokenizer.id_to_token(size) is None:
            return size
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())  # a vocabulary with holes

    @property
    def default_prompt(self) -> str:
        """The prompt that the source's ``encode`` applies by itself; empty if none."""
        name = self.config.default_prompt_name
        return self.config.prompts.get(name, "") if name is not None else ""

    def _count_prompt_tokens(self, prompt: str) -> int:
        """Count a prompt's tokens as sentence-transformers does: special tokens included, the end token not."""
        ids = self._tokenizer.encode(prompt, add_special_tokens=self.config.add_special_tokens).ids
        # By id, as the source does it: a special token that the prompt itself ends in counts as the end token too.
        ends = bool(ids) and ids[-1] in self._special_ids
        return len(ids) - 1 if ends else len(ids)


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
