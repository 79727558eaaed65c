"""Receives what the source says and a graph, hands on the measured difference; nothing is published without it.

What is compared: token ids on several hundred texts; vectors of texts of 1 to the maximum of tokens and longer, of
awkward and empty texts, of every prompt, alone and in padded batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, VerificationError
from ingrain.export.proof.measured import Floors, Measured
from ingrain.export.proof.texts import AWKWARD, lengths_to_prove, text_of_length, tokenizer_texts
from ingrain.machine_faults import raise_if_machines
from ingrain.preprocess.text import TextPreprocessor, TokenizedText, collate
from ingrain.repository.manifest import Verification

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[np.int64]]

# Attention of one text costs heads x tokens squared: a single text of 8192 tokens can take minutes and gigabytes.
# Lengths above these are not run; positions and masks are computed in one way for all lengths, and what differs
# with the length (windows, chunks, position tables) shows well below.
LONGEST_PROVED = 2048
LONGEST_PROVED_LARGE = 512
LARGE_PARAMETERS = 200_000_000


class TextSource(Protocol):
    """The source library's own way from texts to vectors."""

    parameters: int
    special_tokens: list[str]

    def tokenize(self, texts: Sequence[str]) -> Arrays:
        """Return the arrays that the source's network gets, ``int64 [B, T]`` by name."""
        ...

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> Floats:
        """Return the source's vectors, float32 ``[B, D]``."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One text, what the source makes of it alone, and how it is written for the graph."""

    item: TokenizedText
    expected: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What the source says.

    Attributes:
        cases: Single texts with their vectors.
        equal_lengths_only: True where the source's own vectors depend on the padding beside them.
        source_padding_diff: By how much.
        tokenizer_cases: Texts whose token ids were found equal.
        width: ``D``.
    """

    cases: tuple[Case, ...]
    equal_lengths_only: bool
    source_padding_diff: float
    tokenizer_cases: int
    width: int


def longest_proved(max_tokens: int, parameters: int) -> int:
    """Return the longest sequence that a proof runs: the maximum, up to 2048, or 512 for more than 200 M parameters."""
    return min(max_tokens, LONGEST_PROVED_LARGE if parameters > LARGE_PARAMETERS else LONGEST_PROVED)


def compare_tokenizers(source: TextSource, preprocessor: TextPreprocessor, inputs: Sequence[str]) -> int:
    """Compare the arrays that a graph gets with those that the source's network gets.

    Args:
        source: The source.
        preprocessor: The serving code with the exported tokenizer.
        inputs: The graph's inputs.

    Returns:
        How many texts were compared.

    Raises:
        VerificationError: They differ.
    """
    texts = tokenizer_texts(source.special_tokens, preprocessor.config.max_tokens)
    names = [name for name in inputs if name != "pooling_mask"]
    for start in range(0, len(texts), 16):
        batch = texts[start : start + 16]
        items = preprocessor.encode(batch, prompt="")
        if not preprocessor.config.allow_empty:
            kept = [index for index, item in enumerate(items) if len(item)]
            batch, items = [batch[index] for index in kept], [items[index] for index in kept]
        if not items:
            continue
        theirs = source.tokenize(batch)
        # A source may pad further than the longest text (CLIP's: to its context length).
        width = theirs["input_ids"].shape[1]
        ours = collate(items, preprocessor.config, names, length=width)
        for name in names:
            differing = _differing_rows(ours[name], theirs[name])
            if differing:
                raise VerificationError(
                    f"The exported tokenizer gives other {name} than the source's for {differing} of the texts "
                    f"{start + 1} to {start + len(batch)} (of {len(texts)}), so the model was not published."
                )
    return len(texts)


def ask_source(
    source: TextSource,
    preprocessor: TextPreprocessor,
    inputs: Sequence[str],
    *,
    tolerance: float,
    report: Callable[[int, int], None],
    brief: bool = False,
) -> References:
    """Have the source embed the texts of the proof.

    Args:
        source: The source.
        preprocessor: The serving code with the exported tokenizer.
        inputs: The graph's inputs.
        tolerance: What the source's own vectors may move by when padding is put beside them.
        report: Called with cases done and in all.
        brief: True for a dozen texts instead of about fifty, where hundreds of models are compared.

    Raises:
        VerificationError: The exported tokenizer differs from the source's.
        ExportError: The source's own vectors are not finite.
    """
    tokenizer_cases = compare_tokenizers(source, preprocessor, inputs)
    texts = _texts(preprocessor, source.parameters, brief=brief)
    cases: list[Case] = []
    for done, (text, prompt) in enumerate(texts):
        report(done, len(texts))
        item = preprocessor.encode([text], prompt=prompt)[0]
        if not len(item) and not preprocessor.config.allow_empty:
            continue  # the server refuses it, as the source has no answer either
        cases.append(Case(item, source.embed([text], prompt=prompt)[0]))
    if not all(np.isfinite(case.expected).all() for case in cases):
        raise ExportError("The source library's own vectors hold NaN or infinity; the weights are unusable.")
    padding_diff = _source_padding_diff(source)
    return References(
        cases=tuple(cases),
        equal_lengths_only=padding_diff > tolerance,
        source_padding_diff=padding_diff,
        tokenizer_cases=tokenizer_cases,
        width=len(cases[0].expected),
    )


def prove(
    session: Any,
    references: References,
    preprocessor: TextPreprocessor,
    *,
    tolerance: float,
    report: Callable[[int, int], None],
    floors: Floors | None = None,
) -> Verification:
    """Compare a graph with the source.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        references: What the source said.
        preprocessor: The serving code with the exported tokenizer.
        tolerance: What every element of a unit-length vector must agree to, where there are no floors.
        report: Called with cases done and in all.
        floors: What the cosines of a lower precision must reach.

    Raises:
        VerificationError: A vector differs by more than is allowed, is not finite or has another shape.
    """
    inputs = [value.name for value in session.get_inputs()]
    batches = _batches(references)
    total = sum(len(batch) for batch in batches)
    alone: dict[int, Floats] = {}
    measured = Measured()
    for batch in batches:
        report(measured.cases, total)
        items = [references.cases[index].item for index in batch]
        vectors = _run(session, collate(items, preprocessor.config, inputs), references.width)
        for index, vector in zip(batch, vectors, strict=True):
            itself = compare(vector, alone.setdefault(index, vector))
            measured.add(compare(vector, references.cases[index].expected), itself)
    measured.check(tolerance, floors, what="vectors")
    return measured.verification(
        tolerance=tolerance,
        floors=floors,
        # Where only equal lengths share a batch, padding is what the source itself makes of it.
        padding_diff=references.source_padding_diff if references.equal_lengths_only else None,
        tokenizer_cases=references.tokenizer_cases,
    )


def _texts(preprocessor: TextPreprocessor, parameters: int, *, brief: bool) -> list[tuple[str, str | None]]:
    """Return texts with the prompt to use (None: the model's default), shortest first."""
    longest = longest_proved(preprocessor.config.max_tokens, parameters)

    def measure(text: str) -> int:
        return len(preprocessor.encode([text])[0])

    texts: list[tuple[str, str | None]] = [(text, None) for text in (AWKWARD[::6] if brief else AWKWARD)]
    lengths = [3, longest // 2, longest - 1, longest] if brief else lengths_to_prove(longest)
    texts += [(text_of_length(count, measure, longest), None) for count in lengths]
    if longest == preprocessor.config.max_tokens:
        texts += [(text_of_length(longest + extra, measure, longest), None) for extra in (1, longest)]
    for prompt in list(filter(None, preprocessor.config.prompts.values()))[:8]:
        texts += [(text, prompt) for text in ("", "river stone", AWKWARD[4])]
    if preprocessor.config.default_prompt_name is not None:
        texts += [(AWKWARD[4], "")]
    return sorted(texts, key=lambda pair: measure(pair[0]))


def _batches(references: References) -> list[list[int]]:
    """Put case numbers into batches: each alone, then together with neighbours, then the shortest with the longest."""
    numbers = range(len(references.cases))
    lengths = [len(case.item) for case in references.cases]
    alone = [[number] for number in numbers]
    if references.equal_lengths_only:
        groups: dict[int, list[int]] = {}
        for number in numbers:
            groups.setdefault(lengths[number], []).append(number)
        # A text that has its length to itself still shares a batch with itself.
        return alone + [group if len(group) > 1 else group * 3 for group in groups.values()]
    order = sorted(numbers, key=lengths.__getitem__)
    short = [number for number in order if lengths[number] <= 64]
    return [*alone, *_neighbours(order, lengths), short, [*order[:2], order[-1]]]


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


def _source_padding_diff(source: TextSource) -> float:
    """Measure how far the source's own vectors move when padding is put beside them."""
    short = [AWKWARD[4], "river", AWKWARD[10]]
    padded = source.embed([*short, " ".join(AWKWARD[4:12])], batch_size=len(short) + 1)
    return max(compare(padded[row], source.embed([text])[0])[0] for row, text in enumerate(short))


def _run(session: Any, arrays: Arrays, width: int) -> Floats:
    rows = len(next(iter(arrays.values())))
    try:
        vectors: Floats = session.run(None, arrays)[0]
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise_if_machines(error)
        shape = next(iter(arrays.values())).shape
        raise VerificationError(
            f"The graph fails on {shape[0]} texts of {shape[1]} tokens: a size was fixed while exporting."
        ) from error
    if vectors.shape != (rows, width):
        raise VerificationError(f"The graph gives vectors of the shape {vectors.shape} instead of {(rows, width)}.")
    if not np.isfinite(vectors).all():
        raise VerificationError("The graph gives NaN or infinity where the source library does not.")
    return vectors


def compare(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Return the largest difference of two vectors at unit length, and their cosine; a zero vector stays as it is."""
    a, b = (vector.astype(np.float64) for vector in (ours, theirs))
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    if norm_a < 1e-12 or norm_b < 1e-12:
        difference = float(np.abs(a - b).max())
        return difference, 1.0 if difference == 0 else 0.0
    a, b = a / norm_a, b / norm_b
    return float(np.abs(a - b).max()), float(a @ b)


def _differing_rows(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> int:
    if ours.shape != theirs.shape:
        return len(ours)
    return int((ours != theirs).any(axis=1).sum())
