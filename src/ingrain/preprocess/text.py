"""Tokenizes texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ingrain.errors import InvalidRequestError, RepositoryError, TokenizerError
from ingrain.machine_faults import raise_if_machines
from ingrain.preprocess.id_bytes import ID_BYTES
from ingrain.preprocess.japanese import word_splitter
from ingrain.preprocess.special_tokens import CutSide, SpecialTokens, find_special_tokens
from ingrain.preprocess.text_cleaning import clean_texts
from ingrain.preprocess.text_start import may_be_cut, start_of
from ingrain.preprocess.tokenized import PlacedToken, TokenizedText, TokenizedTexts
from ingrain.preprocess.tokenizer_faults import growth_fault, is_tokenizer_failure
from ingrain.preprocess.word_cache import WordCache
from ingrain.repository.manifest import TextPreprocess

# Texts that are looked up in the word cache in one call; a call holds the GIL for less than a millisecond.
_LOOKED_UP_AT_ONCE = 512
# A token of ordinary text has four to five characters. A longer start is tokenized if this one has too few tokens.
_CHARS_A_TOKEN = 16
_LONGER_START = 4
_FAILED = "The model's tokenizer failed on a text."


class TextPreprocessor:
    """Tokenizes as the source library does. Thread-safe; ``encode`` releases the GIL for most of its time.

    Attributes:
        config: The model's text rules.
        default_prompt: Prompt that the source library's ``encode`` applies by default; empty if none.
        looks_up_words: Whether the ids of words are cached, so that tokenizing takes a fraction of the time.
        may_be_cut: Whether the start of a long text suffices to tokenize it; see ``text_start``.
        start_chars: Characters of a text that are tokenized first if ``may_be_cut``; they nearly always suffice.
    """

    def __init__(self, config: TextPreprocess, folder: Path) -> None:
        self.config = config
        self._tokenizer = Tokenizer.from_file(str(folder / config.tokenizer))
        if (fault := growth_fault(self._tokenizer)) is not None:
            raise RepositoryError(f"The model's stored tokenizer {fault}. Delete the model.")
        self._tokenizer.no_padding()
        clean_texts(["é"], config.clean)  # imports what it needs now, not in the first request
        cuts = self._tokenizer.truncation
        if cuts is not None and cuts["max_length"] != config.max_tokens:  # queries are cut sooner than documents
            self._tokenizer.enable_truncation(config.max_tokens, direction=cuts["direction"])
        name = config.default_prompt_name
        self.default_prompt = config.prompts.get(name, "") if name is not None else ""
        added = self._tokenizer.get_added_tokens_decoder()
        self._split = word_splitter(config.words, [token.content for token in added.values()]) if config.words else None
        self._special_ids = {index for index, token in added.items() if token.special}
        self._prompt_tokens = (
            {} if config.include_prompt else {text: self._count_prompt_tokens(text) for text in config.prompts.values()}
        )
        self._special = find_special_tokens(self._tokenizer, config)
        self._zero = partial(_zeroed, config.zeroed_id)  # no method: the cache has it, and would keep this object alive
        self._word_cache = WordCache.for_tokenizer(self._tokenizer, self._special, zero=self._zero)
        self.looks_up_words = self._word_cache is not None
        self.may_be_cut = self._split is None and may_be_cut(self._tokenizer)
        self.start_chars = _CHARS_A_TOKEN * config.max_tokens

    @classmethod
    def open(cls, config: TextPreprocess, folder: Path) -> TextPreprocessor:
        """Create the preprocessor of a stored model.

        Raises:
            RepositoryError: The stored tokenizer fails, or makes texts far longer than they are.
            MachineError: The machine lacks a resource.
        """
        try:
            return cls(config, folder)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise_if_machines(error)
            raise RepositoryError(
                "The model's stored tokenizer cannot be used. Delete the model and load it again."
            ) from error

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        cut_side: CutSide | None = None,
        counts_all: bool = True,
    ) -> list[TokenizedText]:
        """Tokenize texts; cut texts that are longer than ``max_tokens``, but keep the end token.

        Args:
            texts: Any number of texts, which may be empty.
            prompt: Prefix of every text; the model's default prompt if None.
            cut_side: Side to cut, like ``truncation_side`` of transformers; the tokenizer's own side if None.
            counts_all: False if ``cut_tokens`` need not be exact: of a long text only the start is tokenized then, if
                it provably has the same ids.

        Returns:
            One item per text, in order.

        Raises:
            TokenizerError: The tokenizer failed on one of the texts.
        """
        try:
            return self._encode_texts(texts, prompt, cut_side, counts_all=counts_all)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError(_FAILED) from error

    def _encode_texts(
        self, texts: Sequence[str], prompt: str | None, cut_side: CutSide | None, *, counts_all: bool
    ) -> list[TokenizedText]:
        if prompt is None:
            prompt = self.default_prompt
        prompt_tokens = 0
        if prompt:
            texts = [prompt + text for text in texts]
            prompt_tokens = self._prompt_tokens_left_out(prompt)
        texts = clean_texts(texts, self.config.clean)
        cache = self._word_cache
        if cache is None:
            return self._tokenize(texts, prompt_tokens, cut_side, counts_all=counts_all)
        longest, items = self.config.max_tokens, []
        longest_bytes = ID_BYTES * longest
        for text in texts:
            # The first check alone is enough for most texts.
            ids = cache.encode(text) if len(text) <= longest or not self._is_very_long(text) else None
            if ids is None or len(ids) >= longest_bytes:  # too long: the tokenizer must cut the text
                items += self._tokenize([text], prompt_tokens, cut_side, counts_all=counts_all)
            else:
                items.append(TokenizedText(ids, b"", prompt_tokens, 0))
        return items

    def encode_many(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        cut_side: CutSide | None = None,
        counts_all: bool = True,
    ) -> Sequence[TokenizedText]:
        """Tokenize texts as ``encode`` does; faster if the texts are many and short."""
        try:
            found = self._look_up(texts, self.default_prompt if prompt is None else prompt)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError(_FAILED) from error
        if found is not None:
            return found
        return self.encode(texts, prompt=prompt, cut_side=cut_side, counts_all=counts_all)

    def encode_bare(
        self, texts: Sequence[str], *, cut_side: CutSide | None = None, counts_all: bool = True
    ) -> list[TokenizedText]:
        """Tokenize texts without special tokens and without a prompt, for sequences of several texts.

        Args:
            texts: Any number of texts.
            cut_side: As in ``encode``.
            counts_all: As in ``encode``.

        Returns:
            One item per text: at most ``max_tokens`` ids, and how many others the text has.

        Raises:
            TokenizerError: The tokenizer failed on one of the texts.
        """
        try:
            return self._encode_bare(clean_texts(texts, self.config.clean), cut_side or self.cut_side, counts_all)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError(_FAILED) from error

    def _encode_bare(self, texts: Sequence[str], cut_side: CutSide, counts_all: bool) -> list[TokenizedText]:
        items, cache, longest = [], self._word_cache, self.config.max_tokens
        before, behind = (ID_BYTES * len(ids) for ids in (self._special.prefix, self._special.suffix))
        for text in texts:
            if cache is not None and (len(text) <= longest or not self._is_very_long(text)):
                ids = cache.encode(text)
                if len(ids) < ID_BYTES * longest:
                    items.append(TokenizedText(ids[before : len(ids) - behind]))
                    continue
            if self._split is not None:
                text = self._split(text)
            only_start = not counts_all and self.may_be_cut and self.cut_side == cut_side == "right"
            encode = self._encode_starts if only_start else self._encode
            (encoding,) = encode([text], add_special_tokens=False)
            row, cut_tokens = encoding.ids, sum(map(len, encoding.overflowing))
            if cut_tokens and cut_side != self.cut_side:
                whole = [token for piece in self._pieces(encoding) for token in piece.ids]
                row = whole[-longest:] if cut_side == "left" else whole[:longest]
            items.append(TokenizedText.of(self._zero(row), cut_tokens=cut_tokens))
        return items

    @property
    def special(self) -> SpecialTokens:
        """The special tokens around the tokens of a text."""
        return self._special

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer itself, which cuts texts at ``max_tokens``."""
        return self._tokenizer

    @property
    def cut_side(self) -> CutSide:
        """Side on which texts are cut by default."""
        return self._special.cut_side

    def _look_up(self, texts: Sequence[str], prompt: str) -> TokenizedTexts | None:
        """Return the texts' ids from the cache of words; None if many words are new, or a text may have to be cut."""
        cache, longest = self._word_cache, self.config.max_tokens
        if cache is None:
            return None
        texts = clean_texts([prompt + text for text in texts] if prompt else texts, self.config.clean)
        ids: list[NDArray[np.int64]] = []
        lengths: list[int] = []
        for first in range(0, len(texts), _LOOKED_UP_AT_ONCE):
            some = texts[first : first + _LOOKED_UP_AT_ONCE]
            if max(map(len, some)) > longest and any(map(self._is_very_long, some)):
                return None
            found = cache.encode_many(some)
            if found is None or max(found[1]) >= longest:
                return None
            ids.append(found[0])
            lengths += found[1]
        joined = ids[0] if len(ids) == 1 else np.concatenate(ids)
        return TokenizedTexts(joined, lengths, self._prompt_tokens_left_out(prompt) if prompt else 0)

    def _prompt_tokens_left_out(self, prompt: str) -> int:
        """Return the number of a prompt's tokens that pooling leaves out."""
        if self.config.include_prompt:
            return 0
        # Only the model's own prompts have cached counts; the number of callers' prompts has no limit.
        known = self._prompt_tokens.get(prompt)
        return self._count_prompt_tokens(prompt) if known is None else known

    def _is_very_long(self, text: str) -> bool:
        """Return whether a text is so long that it is not worth while to look its words up."""
        return text.count(" ") >= self.config.max_tokens or len(text) > self.start_chars

    def _tokenize(
        self, texts: Sequence[str], prompt_tokens: int, cut_side: CutSide | None = None, *, counts_all: bool = True
    ) -> list[TokenizedText]:
        if self._split is not None:
            texts = [self._split(text) for text in texts]
        if counts_all or not self.may_be_cut or (cut_side or self._special.cut_side) == "left":
            encodings = self._encode(texts, add_special_tokens=self.config.add_special_tokens)
        else:
            encodings = self._encode_starts(texts, add_special_tokens=self.config.add_special_tokens)
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

    def _encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)

    def _encode_starts(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[Encoding]:
        """Encode the start of each text, and a longer one until it has more tokens than the model takes.

        Then the tokens of the rest would all be cut off.
        """
        starts = [start_of(text, self.start_chars) for text in texts]
        encodings = self._encode(starts, add_special_tokens=add_special_tokens)
        for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
            chars = self.start_chars
            while len(start) < len(text) and not encodings[index].overflowing:
                chars *= _LONGER_START
                start = start_of(text, chars)
                (encodings[index],) = self._encode([start], add_special_tokens=add_special_tokens)
        return encodings

    def _own_ids(self, encoding: Encoding) -> list[int]:
        """Return all ids of a text that the tokenizer has cut into pieces, without the special tokens of the pieces."""
        first, last = len(self._special.prefix), len(self._special.suffix)
        return [token for piece in self._pieces(encoding) for token in piece.ids[first : len(piece.ids) - last]]

    def _pieces(self, encoding: Encoding) -> list[Encoding]:
        """Return the pieces into which the tokenizer has cut a text, in the order of the text."""
        pieces = [encoding, *encoding.overflowing]
        if self._special.cut_side == "left":
            pieces.reverse()  # in this case the first piece is the end of the text
        return pieces

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

    def place_tokens(self, text: str, *, prompt: str | None = None, with_special: bool = True) -> list[PlacedToken]:
        """Return all tokens of a text, however long it is, with their places in the cleaned text.

        ``prompt`` is as in ``encode``; ``with_special`` is False to leave out the special tokens around the text.
        Raises TokenizerError if the tokenizer fails.
        """
        try:
            return self._place_tokens((self.default_prompt if prompt is None else prompt) + text, with_special)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError(_FAILED) from error

    def _place_tokens(self, text: str, with_special: bool) -> list[PlacedToken]:
        (text,) = clean_texts([text], self.config.clean)
        if self._split is not None:
            text = self._split(text)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        tokens = [
            PlacedToken(token, text[start:stop], False, start, stop)
            for piece in self._pieces(encoding)
            for token, (start, stop) in zip(self._zero(piece.ids), piece.offsets, strict=True)
        ]
        if not with_special:
            return tokens
        before, behind = (
            [PlacedToken(token, name, True) for token, name in zip(ids, self.tokens_of(ids), strict=True)]
            for ids in (self._special.prefix, self._special.suffix)
        )
        return [*before, *tokens, *behind]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; ids that are not in the vocabulary are left out.

        Raises:
            TokenizerError: The tokenizer failed on the ids.
        """
        try:
            return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError("The model's tokenizer failed on token ids.") from error

    def tokens_of(self, indices: Sequence[int]) -> list[str]:
        """Return the tokens of some ids; an empty text for an id that has none."""
        return [self._tokenizer.id_to_token(index) or "" for index in indices]

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


def _zeroed(zeroed: int | None, ids: Sequence[int]) -> Sequence[int]:
    return ids if zeroed is None else [token if token != zeroed else 0 for token in ids]
