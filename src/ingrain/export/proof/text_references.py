"""Computes the source library's vectors for the texts of a proof, and compares its token ids with the server's.

The texts have from one token to more than the maximum, and include awkward and empty texts and the model's prompts. The
tokenizer is compared on several hundred more texts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import VerificationError
from ingrain.export.precision.ranges import sample_batches
from ingrain.export.proof.compare import Arrays, Count, Floats, References, check_answers, compare
from ingrain.export.proof.texts import AWKWARD, lengths_to_prove, text_of_length, tokenizer_texts
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import TextPreprocess

Item = TypeVar("Item")

# Attention costs heads x tokens squared: one text of 8192 tokens can take minutes and gigabytes. The proof does
# not run longer texts than this. Effects that depend on the length (windows, chunks, position tables) show well below.
LONGEST_PROVED = 2048
LONGEST_PROVED_LARGE = 512
LARGE_PARAMETERS = 200_000_000

# Two lengths, so that the exporter traces a batch with padding.
_SAMPLE = ["a river runs to the sea, slowly", "stone"]


class TokenizingSource(Protocol):
    """A source that tokenizes texts."""

    special_tokens: list[str]

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs of the source's network, ``int64 [B, T]`` by name."""
        ...


class TextSource(TokenizingSource, Protocol):
    """A source that computes vectors for texts."""

    parameters: int

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> Floats:
        """Return the source's vectors, float32 ``[B, D]``."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextReferences(References):
    """Texts with the source's vector for each text alone.

    Attributes:
        items: The texts, tokenized by the server's code.
        preprocessor: The server's code with the exported tokenizer.
    """

    outputs = "vectors"

    items: tuple[TokenizedText, ...]
    preprocessor: TextPreprocessor

    @property
    def axes(self) -> tuple[str, ...]:
        """The batch and, unless every text is padded to one length, the tokens."""
        return ("batch",) if self.preprocessor.config.fixed_length else ("batch", "tokens")

    def batches(self) -> list[list[int]]:
        """Return each text alone, then together with neighbours, then the shortest with the longest."""
        numbers = range(len(self.items))
        lengths = [len(item) for item in self.items]
        alone = [[number] for number in numbers]
        if self.equal_lengths_only:
            groups: dict[int, list[int]] = {}
            for number in numbers:
                groups.setdefault(lengths[number], []).append(number)
            # A text without others of its length shares a batch with itself.
            return alone + [group if len(group) > 1 else group * 3 for group in groups.values()]
        order = sorted(numbers, key=lengths.__getitem__)
        short = [number for number in order if lengths[number] <= 64]
        return [*alone, *_neighbours(order, lengths), short, [*order[:2], order[-1]]]

    def arrays(self, numbers: Sequence[int], names: Sequence[str]) -> Arrays:
        """Return a padded batch, int64 ``[B, T]`` by input name."""
        return collate([self.items[number] for number in numbers], self.preprocessor.config, names)

    def sample(self, names: Sequence[str]) -> Arrays:
        """Return two texts of different lengths with padding."""
        return collate(self.preprocessor.encode(_SAMPLE), self.preprocessor.config, names)

    def of_fixed_length(self) -> TextReferences:
        """Return the same texts, each padded to the maximum."""
        padding = copy.copy(self.preprocessor)
        padding.config = msgspec.structs.replace(padding.config, fixed_length=True)
        return replace(self, preprocessor=padding)

    def calibration_batches(self, names: Sequence[str], report: Count) -> Iterable[Arrays]:
        """Return batches of the calibration sample, each of texts with equal lengths."""
        return sample_batches(self.preprocessor, names, report)


def ask_text_source(
    source: TextSource,
    preprocessor: TextPreprocessor,
    inputs: Sequence[str],
    *,
    tolerance: float,
    report: Count,
    brief: bool = False,
) -> TextReferences:
    """Compute the source's vectors for the texts of the proof.

    Args:
        source: The source.
        preprocessor: The server's code with the exported tokenizer.
        inputs: Names of the graph's inputs.
        tolerance: How much padding may change the source's own vectors.
        report: Called with the number of finished texts, and the total.
        brief: True: use a dozen texts instead of about fifty, for runs over hundreds of models.

    Raises:
        VerificationError: The exported tokenizer differs from the source's.
        ExportError: The source's own vectors cannot be compared.
    """
    tokenizer_cases = compare_tokenizers(source, preprocessor, inputs)
    texts = texts_to_prove(preprocessor, source.parameters, brief=brief)
    items, rows = [], []
    for done, (text, prompt) in enumerate(texts):
        report(done, len(texts))
        item = preprocessor.encode([text], prompt=prompt)[0]
        if not len(item) and not preprocessor.config.allow_empty:
            continue  # the server refuses such a text, because the source has no vector for it
        items.append(item)
        rows.append(source.embed([text], prompt=prompt)[0])
    expected = check_answers(np.stack(rows))
    padding_diff = source_padding_diff(source)
    return TextReferences(
        expected=expected,
        items=tuple(items),
        preprocessor=preprocessor,
        source_padding_diff=padding_diff if padding_diff > tolerance else None,
        tokenizer_cases=tokenizer_cases,
    )


def compare_tokenizers(source: TokenizingSource, preprocessor: TextPreprocessor, inputs: Sequence[str]) -> int:
    """Compare the inputs of graph and source network for many texts, and return the number of texts."""
    texts = tokenizer_texts(source.special_tokens, preprocessor.config.max_tokens)
    return compare_token_ids(
        source.tokenize, partial(preprocessor.encode, prompt=""), texts, preprocessor.config, inputs
    )


def compare_token_ids(
    tokenize: Callable[[Sequence[Item]], dict[str, NDArray[np.int64]]],
    encode: Callable[[Sequence[Item]], Sequence[TokenizedText]],
    texts: Sequence[Item],
    config: TextPreprocess,
    inputs: Sequence[str],
) -> int:
    """Compare the inputs of graph and source network for texts or pairs, and return their number.

    Args:
        tokenize: The source's tokenization.
        encode: The server's.
        texts: The texts or pairs.
        config: The model's text rules.
        inputs: Names of the graph's inputs.

    Raises:
        VerificationError: The two differ.
    """
    names = [name for name in inputs if name != "pooling_mask"]
    for start in range(0, len(texts), 16):
        batch = texts[start : start + 16]
        items = encode(batch)
        if not config.allow_empty:
            kept = [index for index, item in enumerate(items) if len(item)]
            batch, items = [batch[index] for index in kept], [items[index] for index in kept]
        if not items:
            continue
        theirs = tokenize(batch)
        # A source may pad beyond the longest text (CLIP: to the context length).
        width = theirs["input_ids"].shape[1]
        ours = collate(items, config, names, length=width)
        for name in names:
            differing = _differing_rows(ours[name], theirs[name])
            if differing:
                raise VerificationError(
                    f"The exported tokenizer gives other {name} than the source's for {differing} of the texts "
                    f"{start + 1} to {start + len(batch)} (of {len(texts)}), so the model was not published."
                )
    return len(texts)


def longest_proved(max_tokens: int, parameters: int) -> int:
    """Return the longest sequence of a proof: the maximum, at most 2048, or 512 above 200 million parameters."""
    return min(max_tokens, LONGEST_PROVED_LARGE if parameters > LARGE_PARAMETERS else LONGEST_PROVED)


def texts_to_prove(preprocessor: TextPreprocessor, parameters: int, *, brief: bool) -> list[tuple[str, str | None]]:
    """Return texts with their prompts (None: the model's default), shortest first."""
    longest = longest_proved(preprocessor.config.max_tokens, parameters)

    def count_tokens(text: str) -> int:
        return len(preprocessor.encode([text])[0])

    texts: list[tuple[str, str | None]] = [(text, None) for text in (AWKWARD[::6] if brief else AWKWARD)]
    lengths = [3, longest // 2, longest - 1, longest] if brief else lengths_to_prove(longest)
    texts += [(text_of_length(count, count_tokens, longest), None) for count in lengths]
    if longest == preprocessor.config.max_tokens:
        texts += [(text_of_length(longest + extra, count_tokens, longest), None) for extra in (1, longest)]
    for prompt in list(filter(None, preprocessor.config.prompts.values()))[:8]:
        texts += [(text, prompt) for text in ("", "river stone", AWKWARD[4])]
    if preprocessor.config.default_prompt_name is not None:
        texts += [(AWKWARD[4], "")]
    return sorted(texts, key=lambda pair: count_tokens(pair[0]))


def _neighbours(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Cut a list sorted by length into batches of at most 8 texts and about 4096 padded tokens."""
    batches: list[list[int]] = []
    for number in order:
        batch = batches[-1] if batches else []
        if not batch or len(batch) == 8 or (len(batch) + 1) * lengths[number] > 4096:
            batches.append([number])
        else:
            batch.append(number)
    return batches


def source_padding_diff(source: TextSource) -> float:
    """Measure how much padding changes the source's own vectors."""
    short = [AWKWARD[4], "river", AWKWARD[10]]
    padded = source.embed([*short, " ".join(AWKWARD[4:12])], batch_size=len(short) + 1)
    return max(compare(padded[row], source.embed([text])[0]).absolute for row, text in enumerate(short))


def _differing_rows(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> int:
    if ours.shape != theirs.shape:
        return len(ours)
    return int((ours != theirs).any(axis=1).sum())
