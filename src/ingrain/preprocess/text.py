"""Tokenizes texts, and pads tokenized texts to the arrays of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.id_bytes import ID_BYTES, pack_ids
from ingrain.preprocess.japanese import word_splitter
from ingrain.preprocess.special_tokens import CutSide, find_special_tokens
from ingrain.preprocess.text_cleaning import clean_texts
from ingrain.preprocess.word_cache import WordCache
from ingrain.repository.manifest import TextPreprocess


# A Struct, because every text creates one, and a dataclass takes ten times as long to create.
class TokenizedText(msgspec.Struct, frozen=True):
    """One tokenized text, not padded.

    Ids are stored in the engine's input format, so that the joined bytes of many texts are the array of a batch.

    Attributes:
        packed_ids: Token ids including special tokens; each an ``int64`` in the byte order of this machine.
        packed_type_ids: As many token type ids; empty if all are zero.
        prompt_tokens: Number of leading tokens of the prompt that pooling leaves out.
        cut_tokens: Number of tokens that were cut off, because the text exceeds the model's maximum.
    """

    packed_ids: bytes
    packed_type_ids: bytes = b""
    prompt_tokens: int = 0
    cut_tokens: int = 0

    def __len__(self) -> int:
        return len(self.packed_ids) // ID_BYTES

    @classmethod
    def of(
        cls, ids: Sequence[int], type_ids: Sequence[int] = (), *, prompt_tokens: int = 0, cut_tokens: int = 0
    ) -> TokenizedText:
        """Pack ids; without ``type_ids`` all type ids are zero."""
        return cls(pack_ids(ids), pack_ids(type_ids) if any(type_ids) else b"", prompt_tokens, cut_tokens)


class TextPreprocessor:
    """Tokenizes as the source library does. Thread-safe; ``encode`` releases the GIL for most of its time.

    Attributes:
        config: The model's text rules.
        default_prompt: Prompt that the source library's ``encode`` applies by default; empty if none.
    """

    def __init__(self, config: TextPreprocess, folder: Path) -> None:
        self.config = config
        self._tokenizer = Tokenizer.from_file(str(folder / config.tokenizer))
        self._tokenizer.no_padding()
        name = config.default_prompt_name
        self.default_prompt = config.prompts.get(name, "") if name is not None else ""
        added = self._tokenizer.get_added_tokens_decoder()
        self._split = word_splitter(config.words, [token.content for token in added.values()]) if config.words else None
        self._special_ids = {index for index, token in added.items() if token.special}
        self._prompt_tokens = (
            {} if config.include_prompt else {text: self._count_prompt_tokens(text) for text in config.prompts.values()}
        )
        self._special = find_special_tokens(self._tokenizer, config)
        self._word_cache = WordCache.for_tokenizer(self._tokenizer, self._special, zero=self._zero)

    def encode(
        self, texts: Sequence[str], *, prompt: str | None = None, cut_side: CutSide | None = None
    ) -> list[TokenizedText]:
        """Tokenize texts; cut texts that are longer than ``max_tokens``, but keep the end token.

        Args:
            texts: Any number of texts, which may be empty.
            prompt: Prefix of every text; the model's default prompt if None.
            cut_side: Side to cut, like ``truncation_side`` of transformers; the tokenizer's own side if None.

        Returns:
            One item per text, in order.
        """
        if prompt is None:
            prompt = self.default_prompt
        prompt_tokens = 0
        if prompt:
            texts = [prompt + text for text in texts]
            if not self.config.include_prompt:
                # Only the model's own prompts have cached counts; the number of callers' prompts has no limit.
                known = self._prompt_tokens.get(prompt)
                prompt_tokens = self._count_prompt_tokens(prompt) if known is None else known
        texts = clean_texts(texts, self.config.clean)
        cache = self._word_cache
        if cache is None:
            return self._tokenize(texts, prompt_tokens, cut_side)
        longest, items = self.config.max_tokens, []
        longest_bytes = ID_BYTES * longest
        for text in texts:
            # A text with more words than max_tokens is certainly too long, and has too many words to cache.
            ids = cache.encode(text) if text.count(" ") < longest else None
            if ids is None or len(ids) >= longest_bytes:  # too long: the tokenizer must cut the text
                items += self._tokenize([text], prompt_tokens, cut_side)
            else:
                items.append(TokenizedText(ids, b"", prompt_tokens, 0))
        return items

    def _tokenize(
        self, texts: Sequence[str], prompt_tokens: int, cut_side: CutSide | None = None
    ) -> list[TokenizedText]:
        if self._split is not None:
            texts = [self._split(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=self.config.add_special_tokens)
        longest, items = self.config.max_tokens, []
        for encoding in encodings:
            ids, type_ids = encoding.ids, encoding.type_ids
            cut_tokens = self._count_cut_tokens(encoding) if len(ids) >= longest else 0
            if cut_tokens and cut_side not in (None, self._special.cut_side):
                ids, type_ids, _ = self._special.add_to_bare(self._own_ids(encoding), cut_side)
            items.append(
                TokenizedText.of(self._zero(ids), type_ids, prompt_tokens=prompt_tokens, cut_tokens=cut_tokens)
            )
        return items

    def _own_ids(self, encoding: Encoding) -> list[int]:
        """Return all ids of a text that the tokenizer has cut into pieces, without the special tokens of the pieces."""
        pieces = [encoding, *encoding.overflowing]
        if self._special.cut_side == "left":
            pieces.reverse()  # in this case the first piece is the end of the text
        first, last = len(self._special.prefix), len(self._special.suffix)
        return [token for piece in pieces for token in piece.ids[first : len(piece.ids) - last]]

    def take_ids(
        self, rows: Sequence[Sequence[int]], *, name: Callable[[int], str], cut_side: CutSide | None = None
    ) -> list[TokenizedText]:
        """Check token ids that the caller has made with the model's own tokenizer, and add special tokens.

        Rows that have special tokens get no others. Rows longer than ``max_tokens`` are cut. No prompt is added.

        Args:
            rows: Token ids of each text.
            name: Returns the path of the field that contains a row, for errors.
            cut_side: As in ``encode``.

        Raises:
            InvalidRequestError: A row is empty, or contains an id that is not in the vocabulary.
        """
        for index, row in enumerate(rows):
            if not row:
                raise InvalidRequestError(f"{name(index)} contains no token ids.", param=name(index))
            if min(row) < 0 or max(row) >= self._vocabulary_size:
                wrong = next(token for token in row if not 0 <= token < self._vocabulary_size)
                raise InvalidRequestError(
                    f"{name(index)} contains token id {wrong}; the ids of this model are 0 to "
                    f"{self._vocabulary_size - 1}. Send ids of the model's own tokenizer, or send text.",
                    param=name(index),
                    facts={"limit": self._vocabulary_size - 1},
                )
        taken = (self._special.add(row, cut_side) for row in rows)
        return [TokenizedText.of(self._zero(ids), type_ids, cut_tokens=cut) for ids, type_ids, cut in taken]

    def _zero(self, ids: Sequence[int]) -> Sequence[int]:
        zeroed = self.config.zeroed_id
        return ids if zeroed is None else [token if token != zeroed else 0 for token in ids]

    def _count_cut_tokens(self, encoding: Encoding) -> int:
        """Count the tokens that were cut off. The tokenizer returns them in pieces, each with special tokens."""
        return sum(len(piece) - self._special.count for piece in encoding.overflowing)

    @cached_property
    def _vocabulary_size(self) -> int:
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if self._tokenizer.id_to_token(size - 1) is not None and self._tokenizer.id_to_token(size) is None:
            return size
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())  # the vocabulary has gaps

    def _count_prompt_tokens(self, prompt: str) -> int:
        """Count a prompt's tokens as sentence-transformers does: with special tokens, but without the end token."""
        if self._split is not None:
            prompt = self._split(prompt)
        ids = self._tokenizer.encode(prompt, add_special_tokens=self.config.add_special_tokens).ids
        # Compare ids, as sentence-transformers does: a special token at the end of the prompt counts as the end token.
        ends = bool(ids) and ids[-1] in self._special_ids
        return len(ids) - 1 if ends else len(ids)


def collate(
    items: Sequence[TokenizedText], config: TextPreprocess, inputs: Sequence[str], length: int | None = None
) -> dict[str, NDArray[np.int64]]:
    """Pad tokenized texts to one length.

    Args:
        items: ``B`` tokenized texts.
        config: The model's text rules, with padding side and padding ids.
        inputs: The graph's inputs, among ``input_ids, attention_mask, token_type_ids, pooling_mask``.
        length: Length ``T`` to pad to; by default the length of the longest text, at least 1. Ignored if the model
            has a fixed length, which is ``max_tokens``.

    Returns:
        ``int64 [B, T]`` by input name.
    """
    if config.fixed_length:
        length = config.max_tokens
    rows = [item.packed_ids for item in items]
    lengths = [len(row) // ID_BYTES for row in rows]
    width = max(1, length or 0, *lengths)
    is_left, is_even = config.padding_side == "left", lengths.count(width) == len(lengths)
    if is_even:
        is_real = np.ones((len(rows), width), np.int64)
    else:
        places, counts = np.arange(width), np.array(lengths, np.int64)[:, None]
        is_real = (places >= width - counts if is_left else places < counts).astype(np.int64)
    arrays = {"input_ids": _to_array(rows, width, config.pad_id, is_left=is_left), "attention_mask": is_real}
    if "token_type_ids" in inputs:
        type_ids = [item.packed_type_ids for item in items]
        if any(type_ids) or (config.pad_type_id and not is_even):
            type_ids = [own or bytes(len(row)) for own, row in zip(type_ids, rows, strict=True)]
            arrays["token_type_ids"] = _to_array(type_ids, width, config.pad_type_id, is_left=is_left)
        else:
            arrays["token_type_ids"] = np.zeros((len(rows), width), np.int64)
    if "pooling_mask" in inputs:
        pooling_mask = is_real.copy()
        for row, item in enumerate(items):
            start = width - lengths[row] if is_left else 0
            pooling_mask[row, : start + item.prompt_tokens] = 0
        arrays["pooling_mask"] = pooling_mask
    return {name: arrays[name] for name in inputs}


def _to_array(rows: Sequence[bytes], width: int, padding: int, *, is_left: bool) -> NDArray[np.int64]:
    """Pad packed rows and join them to an array, ``int64 [B, width]``."""
    joined = bytearray().join(rows)  # not bytes, so that the array is writable
    if len(joined) != ID_BYTES * width * len(rows):
        pad = pack_ids([padding])
        pads = [pad * (width - len(row) // ID_BYTES) for row in rows]
        joined = bytearray().join([pad + row if is_left else row + pad for row, pad in zip(rows, pads, strict=True)])
    return np.frombuffer(joined, np.int64).reshape(len(rows), width)
