"""Computes the source library's logits for the texts and pairs of a proof, and compares token ids with the server's.

The pairs have short and long queries and documents, up to more than the maximum; the texts are those of
``text_references.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingrain.export.precision.calibration_texts import calibration_texts
from ingrain.export.precision.ranges import batches_of_equal_length
from ingrain.export.proof.compare import Arrays, Count, Floats, check_answers
from ingrain.export.proof.scores import RELATIVE_TOLERANCE, ScoreDeviation, compare_scores
from ingrain.export.proof.text_references import TextReferences, compare_token_ids, longest_proved, texts_to_prove
from ingrain.export.proof.texts import AWKWARD, text_of_length, tokenizer_texts
from ingrain.preprocess.chat_pairs import AnyPairTokenizer
from ingrain.preprocess.tokenized import TokenizedText

Scored = str | tuple[str, str]
"""A text, or a pair of texts."""

_QUERY = "where does the river run to the sea?"
_EVERY, _CALIBRATION_PAIRS = 4, 128


class ScoreSource(Protocol):
    """A source that computes logits for texts and for pairs of texts."""

    parameters: int
    special_tokens: list[str]

    def tokenize(self, texts: Sequence[Scored]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs of the source's network, ``int64 [B, T]`` by name."""
        ...

    def score(self, texts: Sequence[Scored], *, prompt: str | None = None) -> Floats:
        """Return the source's logits for one batch, float32 ``[B, K]``."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScoreReferences(TextReferences):
    """Texts and pairs with the source's logits for each alone.

    Attributes:
        pairs: The server's code that tokenizes pairs.
    """

    outputs = "scores"

    pairs: AnyPairTokenizer

    def new_deviation(self) -> ScoreDeviation:
        """Return what compares scores."""
        return ScoreDeviation()

    def calibration_batches(self, names: Sequence[str], report: Count) -> Iterable[Arrays]:
        """Return batches of pairs of the calibration sample, each of pairs with equal lengths."""
        texts = calibration_texts()[::_EVERY]
        pairs = [(texts[number], texts[-1 - number // 2]) for number in range(min(len(texts), _CALIBRATION_PAIRS))]
        items = self.pairs.encode(pairs)
        if _takes_texts(self.pairs):
            items += self.preprocessor.encode(texts[:_CALIBRATION_PAIRS])
        return batches_of_equal_length(items, self.preprocessor, names, report)


def ask_score_source(
    source: ScoreSource,
    pairs: AnyPairTokenizer,
    inputs: Sequence[str],
    *,
    independent: bool,
    tolerance: float,
    report: Count,
    brief: bool = False,
) -> ScoreReferences:
    """Compute the source's logits for the texts and pairs of the proof.

    Args:
        source: The source.
        pairs: The server's code with the exported tokenizer.
        inputs: Names of the graph's inputs.
        independent: As in ``compare_scores``.
        tolerance: How much padding may change the source's own scores.
        report: Called with the number of finished cases, and the total.
        brief: True: use about twenty cases instead of about ninety, for runs over hundreds of models.

    Raises:
        VerificationError: The exported tokenizer differs from the source's.
        ExportError: The source's own scores cannot be compared.
    """
    distance = partial(compare_scores, independent=independent)
    tokenizer_cases = _compare_tokenizers(source, pairs, inputs)
    cases = list(_cases(pairs, source.parameters, brief=brief))
    items, rows = [], []
    for done, (case, prompt) in enumerate(cases):
        report(done, len(cases))
        item = _encode(pairs, [case], prompt)[0]
        if not len(item):
            continue  # the server refuses such a text
        items.append(item)
        rows.append(source.score([case], prompt=prompt)[0])
    expected = check_answers(np.stack(rows))
    short: list[Scored] = [(_QUERY, AWKWARD[4]), ("river", "stone"), (AWKWARD[10], "a")]
    padded = source.score([*short, (_QUERY, " ".join(AWKWARD[4:12]))])
    alone = [source.score([pair])[0] for pair in short]
    padding_diff = max(distance(padded[row], alone[row]).absolute for row in range(len(short)))
    return ScoreReferences(
        expected=expected,
        items=tuple(items),
        preprocessor=pairs.text,
        pairs=pairs,
        distance=distance,
        relative_tolerance=RELATIVE_TOLERANCE,
        measured="probabilities",
        source_padding_diff=padding_diff if padding_diff > tolerance else None,
        tokenizer_cases=tokenizer_cases,
    )


def _takes_texts(pairs: AnyPairTokenizer) -> bool:
    """Return False for a model whose chat template has places for a pair alone."""
    return pairs.text.config.pair_template is None


def _encode(pairs: AnyPairTokenizer, cases: Sequence[Scored], prompt: str | None) -> list[TokenizedText]:
    """Tokenize texts, or pairs."""
    if isinstance(cases[0], tuple):
        return pairs.encode([case for case in cases if isinstance(case, tuple)], prompt=prompt)
    return pairs.text.encode([case for case in cases if isinstance(case, str)], prompt=prompt)


def _compare_tokenizers(source: ScoreSource, pairs: AnyPairTokenizer, inputs: Sequence[str]) -> int:
    """Compare the inputs of graph and source for many texts and pairs, and return their number."""
    config = pairs.text.config
    texts = tokenizer_texts(source.special_tokens, config.max_tokens)
    # Each text with another one; the last ones are long, so that long texts meet short and long ones in both places.
    both: list[Scored] = [*zip(texts, [*texts[7:], *texts[:7]], strict=True)]
    both += [*zip(texts[-3:], texts[:-4:-1], strict=True), *zip(AWKWARD[4:7], texts[-3:], strict=True)]
    encode = partial(_encode, pairs, prompt="")
    groups = (texts, both) if _takes_texts(pairs) else (both,)
    return sum(compare_token_ids(source.tokenize, encode, cases, config, inputs) for cases in groups)


def _cases(pairs: AnyPairTokenizer, parameters: int, *, brief: bool) -> Iterator[tuple[Scored, str | None]]:
    """Yield pairs and texts, each with its prompt (None: the model's default)."""
    text = pairs.text
    longest = longest_proved(text.config.max_tokens, parameters)

    def count_tokens(second: str) -> int:
        return len(pairs.encode([(_QUERY, second)])[0])

    def of_length(count: int) -> str:
        return text_of_length(count, count_tokens, longest)

    lengths = sorted({min(longest, count) for count in (24, 33, longest // 2, longest)})
    documents = [of_length(count) for count in lengths[-2 if brief else 0 :]]
    yield from (((_QUERY, document), None) for document in documents)
    awkward = list(zip(AWKWARD, AWKWARD[5:], strict=False))[:: _EVERY if brief else 1]
    yield from ((pair, None) for pair in awkward)
    if longest == text.config.max_tokens:
        endless = of_length(longest + longest)
        yield (_QUERY, endless), None
        yield (endless, _QUERY), None
        yield (endless, endless), None
    for prompt in islice(filter(None, text.config.prompts.values()), 4):
        yield (_QUERY, AWKWARD[4]), prompt
    if text.config.default_prompt_name is not None:
        yield (_QUERY, AWKWARD[4]), ""
    if _takes_texts(pairs):
        yield from texts_to_prove(text, parameters, brief=brief)
