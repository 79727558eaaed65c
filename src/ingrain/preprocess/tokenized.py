"""Holds tokenized texts, and pads them to the arrays of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.preprocess.id_bytes import ID_BYTES, pack_ids
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


class PlacedToken(msgspec.Struct, frozen=True):
    """One token of a text, with the characters that it stands for.

    Attributes:
        id: Its id.
        text: The characters; of a special token its name.
        special: Whether it is one of those that are put around every text.
        start: Index of its first character in the text, prompt included; None for a special token.
        stop: Index behind its last character.
    """

    id: int
    text: str
    special: bool
    start: int | None = None
    stop: int | None = None


class ExpandedText(TokenizedText, frozen=True):
    """A tokenized text of a model with a vector for each token.

    Attributes:
        expansion_tokens: Number of trailing tokens that were added to the text.
        attends_to_expansion: False if the network's attention leaves them out.
        kept: One byte for each token, 1 if its vector belongs to the result; empty if all do.
    """

    expansion_tokens: int = 0
    attends_to_expansion: bool = False
    kept: bytes = b""

    @property
    def vectors(self) -> int:
        """Number of vectors in the result."""
        return sum(self.kept) if self.kept else len(self)


@final
class TokenizedTexts(Sequence[TokenizedText]):
    """Many tokenized texts as one array, because an object for each would take longer than all else that is done.

    No text is cut, and all type ids are zero.

    Attributes:
        lengths: Number of token ids of each text.
        prompt_tokens: As in ``TokenizedText``, of every text.

    Args:
        ids: Token ids of all texts, one text after the other, ``int64 [sum of lengths]``.
        lengths: As the attribute.
        prompt_tokens: As the attribute.
    """

    __slots__ = ("_ids", "_starts", "lengths", "prompt_tokens")

    def __init__(self, ids: NDArray[np.int64], lengths: list[int], prompt_tokens: int = 0) -> None:
        self.lengths = lengths
        self.prompt_tokens = prompt_tokens
        self._ids = ids
        self._starts = np.cumsum(lengths) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> TokenizedText: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedText]: ...
    def __getitem__(self, index: int | slice) -> TokenizedText | list[TokenizedText]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        start = self._starts[index]
        ids = self._ids[start : start + self.lengths[index]].tobytes()
        return TokenizedText(ids, b"", self.prompt_tokens)

    @classmethod
    def joined(cls, parts: Sequence[TokenizedTexts]) -> TokenizedTexts:
        """Join parts of one request, which have the same prompt."""
        lengths = [length for part in parts for length in part.lengths]
        return cls(np.concatenate([part._ids for part in parts]), lengths, parts[0].prompt_tokens)

    def packed(self, places: Sequence[int]) -> bytes:
        """Return the packed ids of some texts of equal length, one text after the other."""
        return self._ids[self._starts[places][:, None] + np.arange(self.lengths[places[0]])].tobytes()


def join(parts: Sequence[Sequence[TokenizedText]]) -> Sequence[TokenizedText]:
    """Join tokenized texts of one request."""
    many = [part for part in parts if type(part) is TokenizedTexts]
    return TokenizedTexts.joined(many) if len(many) == len(parts) else [text for part in parts for text in part]


# ``isinstance`` is slow for an abstract base class such as Sequence, and these functions serve single texts, too.


def lengths_of(texts: Sequence[TokenizedText]) -> list[int]:
    """Return the number of token ids of each text."""
    if type(texts) is TokenizedTexts:
        return texts.lengths
    return [len(text.packed_ids) // ID_BYTES for text in texts]


def cut_tokens_of(texts: Sequence[TokenizedText]) -> list[int]:
    """Return the number of tokens that were cut off each text."""
    return [0] * len(texts) if type(texts) is TokenizedTexts else [text.cut_tokens for text in texts]


class TextRows(msgspec.Struct, frozen=True):
    """The rows of a batch before padding.

    Attributes:
        packed_ids: Packed ids of the rows; an element may hold several rows.
        packed_type_ids: Packed type ids, element by element as ``packed_ids``; empty elements if all are zero.
        lengths: Number of token ids of each row.
        prompt_tokens: As in ``TokenizedText``, of each row.
    """

    packed_ids: list[bytes]
    packed_type_ids: list[bytes]
    lengths: list[int]
    prompt_tokens: list[int]


def gather(parts: Iterable[tuple[Sequence[TokenizedText], Sequence[int]]]) -> TextRows:
    """Collect the rows of a batch from the texts of requests.

    Args:
        parts: Texts of a request, and the places of those that are in the batch: of equal length in one part.
    """
    ids: list[bytes] = []
    type_ids: list[bytes] = []
    lengths: list[int] = []
    prompt_tokens: list[int] = []
    for texts, places in parts:
        if type(texts) is TokenizedTexts:
            ids.append(texts.packed(places))
            type_ids.append(b"")
            lengths += [texts.lengths[places[0]]] * len(places)
            prompt_tokens += [texts.prompt_tokens] * len(places)
        else:
            for place in places:
                text = texts[place]
                ids.append(text.packed_ids)
                type_ids.append(text.packed_type_ids)
                lengths.append(len(text.packed_ids) // ID_BYTES)
                prompt_tokens.append(text.prompt_tokens)
    return TextRows(ids, type_ids, lengths, prompt_tokens)


def collate(
    items: Sequence[TokenizedText], config: TextPreprocess, inputs: Sequence[str], length: int | None = None
) -> dict[str, NDArray[np.int64]]:
    """Pad tokenized texts of any lengths to one length, as ``pad`` does, and hide expansions from the attention."""
    arrays = pad(gather((items, [place]) for place in range(len(items))), config, inputs, length)
    mask = arrays.get("attention_mask")
    for row, item in enumerate(items):
        if mask is not None and isinstance(item, ExpandedText) and not item.attends_to_expansion:
            # Only models that pad on the right are served with expansion.
            mask[row, len(item) - item.expansion_tokens : len(item)] = 0
    return arrays


def pad(
    rows: TextRows, config: TextPreprocess, inputs: Sequence[str], length: int | None = None
) -> dict[str, NDArray[np.int64]]:
    """Pad the rows of a batch to one length.

    Args:
        rows: ``B`` rows.
        config: The model's text rules, with padding side and padding ids.
        inputs: The graph's inputs, among ``input_ids, attention_mask, token_type_ids, pooling_mask``.
        length: Length ``T`` to pad to; by default the length of the longest text, at least 1. Ignored if the model
            has a fixed length, which is ``max_tokens``.

    Returns:
        ``int64 [B, T]`` by input name.
    """
    if config.fixed_length:
        length = config.max_tokens
    lengths = rows.lengths
    width = max(1, length or 0, *lengths)
    is_left = config.padding_side == "left"
    shape, places = (len(lengths), width), np.arange(width)
    starts: NDArray[np.int64] | int = 0
    is_real: NDArray[np.bool_] | None = None  # None: nothing is padded
    if lengths.count(width) == len(lengths):
        mask = np.ones(shape, np.int64)
    else:
        counts = np.array(lengths)[:, None]
        starts = width - counts if is_left else 0
        is_real = places >= starts if is_left else places < counts
        mask = is_real.astype(np.int64)
    arrays = {"input_ids": _padded(rows.packed_ids, shape, config.pad_id, is_real), "attention_mask": mask}
    if "token_type_ids" in inputs:
        type_ids = rows.packed_type_ids
        if any(type_ids):
            type_ids = [own or bytes(len(ids)) for own, ids in zip(type_ids, rows.packed_ids, strict=True)]
            arrays["token_type_ids"] = _padded(type_ids, shape, config.pad_type_id, is_real)
        elif config.pad_type_id:
            arrays["token_type_ids"] = (1 - mask) * config.pad_type_id
        else:
            arrays["token_type_ids"] = np.zeros(shape, np.int64)
    if "pooling_mask" in inputs:
        arrays["pooling_mask"] = mask * (places >= starts + np.array(rows.prompt_tokens)[:, None])
    return {name: arrays[name] for name in inputs}


def _padded(
    packed: Iterable[bytes], shape: tuple[int, int], padding: int, is_real: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return packed rows as an array, ``int64 [B, T]``, with ``padding`` wherever ``is_real`` is False."""
    ids = np.frombuffer(bytearray().join(packed), np.int64)  # of a bytearray, so that the array is writable
    if is_real is None:
        return ids.reshape(shape)
    padded = np.full(shape, padding, np.int64)
    padded[is_real] = ids
    return padded
