"""Computes the source library's vectors of tokens for the texts of a proof: queries, documents or simply texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, VerificationError
from ingrain.export.proof.compare import Count, Floats
from ingrain.export.proof.deviation import Difference
from ingrain.export.proof.text_references import TextReferences, compare_tokenizers, texts_to_prove
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.token_vectors import cut_to_texts, vector_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A kind of text that a model reads in its own way: queries, documents, or simply texts.

    Attributes:
        preprocessor: The server's code for such texts.
        default_prompt: The prompt of such texts; None for the model's default.
        embed: Returns the source's vectors, float32 ``[t, D]`` for each text; ``prompt`` None is the default prompt.
        tokenize: Returns the inputs of the source's network for texts without a prompt, ``int64 [B, T]`` by name.
    """

    preprocessor: TextPreprocessor
    default_prompt: str | None
    embed: Callable[..., Sequence[Floats]]
    tokenize: Callable[[Sequence[str]], dict[str, NDArray[np.int64]]]


@dataclass(frozen=True, kw_only=True)
class TokenReferences(TextReferences):
    """Texts with the source's vector for each of their tokens.

    Attributes:
        expected: The source's vectors, an array of float32 ``[t, D]`` for each text.
    """

    outputs = "vectors of tokens"

    @property
    def width(self) -> int:
        """``D``."""
        return int(self.expected[0].shape[1])

    @property
    def output_axes(self) -> tuple[str, ...]:
        """The batch and the tokens."""
        return ("batch", "tokens")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The tokens, whose number is dynamic, and the vector."""
        return (-1, self.width)

    def rows_of(self, outputs: Sequence[NDArray[Any]], count: int) -> Floats:
        """Return the output of a graph, float32 ``[B, T, D]``.

        Raises:
            VerificationError: The output has another shape.
        """
        rows: Floats = outputs[0]
        if rows.ndim != 3 or (len(rows), rows.shape[-1]) != (count, self.width):
            raise VerificationError(
                f"The graph gives an output of the shape {rows.shape} instead of vectors of tokens."
            )
        return rows

    def cut(self, output: NDArray[Any], numbers: Sequence[int]) -> NDArray[Any]:
        """Cut the graph's output, float32 ``[B, T, D]``, to the vectors of each text."""
        return cut_to_texts(output, [self.items[number] for number in numbers], self.preprocessor.config.padding_side)

    def differences(self, row: Floats, other: Floats) -> Iterator[Difference]:
        """Return the difference of each token's vector."""
        return map(self.distance, row, other)


def ask_token_source(
    source: Any,
    sides: Sequence[Side],
    inputs: Sequence[str],
    *,
    tolerance: float,
    padding_diff: float,
    report: Count,
    brief: bool = False,
) -> TokenReferences:
    """Compute the source's vectors for the texts of the proof.

    Args:
        source: Has ``parameters`` and ``special_tokens``, as ``TextSource``.
        sides: The kinds of text; the first one's padding is that of all.
        inputs: Names of the graph's inputs.
        tolerance: How much padding may change the source's own vectors.
        padding_diff: How much it does.
        report: Called with the number of finished texts, and the total.
        brief: True: use a dozen texts instead of about fifty for each kind.

    Raises:
        VerificationError: The exported tokenizer differs from the source's, or other tokens have vectors.
        ExportError: The source's own vectors cannot be compared.
    """
    cases, items, rows = 0, [], []
    texts = [
        (side, *text) for side in sides for text in texts_to_prove(side.preprocessor, source.parameters, brief=brief)
    ]
    for side in sides:
        cases += compare_tokenizers(_Tokenizing(side, source.special_tokens), side.preprocessor, inputs)
    for done, (side, text, prompt) in enumerate(texts):
        report(done, len(texts))
        (item,) = side.preprocessor.encode([text], prompt=side.default_prompt if prompt is None else prompt)
        (vectors,) = side.embed([text], prompt=prompt)
        (expected,) = vector_counts([item])
        if not len(item) or not (expected or len(vectors)):
            continue
        if len(vectors) != expected:
            raise VerificationError(
                f"The source gives {len(vectors)} vectors for a text that has {expected} here, so the model was not "
                "published."
            )
        if not np.isfinite(vectors).all():
            raise ExportError("The source library's own vectors contain NaN or infinity; the weights are unusable.")
        items.append(item)
        rows.append(vectors)
    return TokenReferences(
        expected=token_rows(rows),
        items=tuple(items),
        preprocessor=sides[0].preprocessor,
        source_padding_diff=padding_diff if padding_diff > tolerance else None,
        tokenizer_cases=cases,
    )


def token_rows(rows: Sequence[Floats]) -> NDArray[Any]:
    """Return the vectors of each text, float32 ``[t, D]``, as an array of objects."""
    joined = np.empty(len(rows), object)
    for place, row in enumerate(rows):  # an assignment of all at once would unpack those of equal length
        joined[place] = row
    return joined


class _Tokenizing:
    """The tokenizer of one side, as ``compare_tokenizers`` calls a source."""

    def __init__(self, side: Side, special_tokens: list[str]) -> None:
        self.special_tokens = special_tokens
        self.tokenize = side.tokenize
