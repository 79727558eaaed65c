"""Renders the results of compatibility runs as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from ingrain.repository.verification import Verification

_HEAD = """# Compatibility

Written by `make compat`; not by hand. Every row was exported by the code that the server runs for it, proved in ONNX
Runtime on the CPU, and compared with the source library's own vectors (sentence-transformers' `encode`, float32).

- **difference**: the largest difference of any element of a vector, both vectors at unit length.
- **cosine**: the smallest between a vector and the source's.
- **padding**: the largest difference between a text alone and the same text in a padded batch.
- For **sparse encoders** the difference is that of a weight, as a share of the text's largest weight; those with an
  encoder for each side of a search have the larger of the two.
- For **multi-vector models** every vector of every token is compared, of queries with `encode_query` and of documents
  with `encode_document`.
- **Models with several outputs** have the largest difference of their dense vectors, weights and vectors of tokens.
- **equal lengths**: the source's own vectors depend on the padding beside them (then **padding** says by how much), so
  that only texts of the same token count share a batch.
- **Cross-encoders**, **decoders that rerank** and **text classifiers** are compared by their scores instead:
  **difference** and **padding** as probabilities, **cosine** of the logits where there are several; in the raw logits
  they differ by less than 1e-3 of their size.
- **exporter**: which way of exporting was proved, and the attention that it was given.
- **seconds**: on one thread of whatever machine wrote this, building the model included; an idea, not a benchmark.
- Models of random weights have standard deviation 0.15, so that a wrong mask, window or position shows.
- **Popular models** stand for sixty of the most used text-embedding repositories of the hub, by our own choice: their
  modules, files, formats, tokenizer classes, prompts, stored data types and configurations with the names that these
  have there, at small widths and depths, with random weights. What needs code that is not here is refused, as it is
  wherever code may not run.

Lengths are proved from 1 token to the model's maximum and beyond it (truncation), but not above 2048 tokens, or 512
for models of more than 200 million parameters. Where the source sets no maximum, texts are cut at 8192 tokens.
"""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one export.

    Attributes:
        group: Heading of the table.
        name: The row's name.
        seconds: Wall-clock time on one thread, including the building of the model, but not the imports.
        expected_refusal: True if the export must refuse the model.
        architecture: The source library's name of the network.
        exporter: Exporter and attention of the proved graph.
        verification: The measurements; None if the export failed.
        equal_lengths_only: As in the manifest.
        code: Code of the error.
        reason: Message of the error.
    """

    group: str
    name: str
    seconds: float
    expected_refusal: bool = False
    architecture: str = ""
    exporter: str = ""
    verification: Verification | None = None
    equal_lengths_only: bool = False
    code: str = ""
    reason: str = ""

    @property
    def unexpected(self) -> bool:
        """True if a supported model was not proved, or an unsupported one was not refused as such."""
        if self.expected_refusal:
            return self.code != "unsupported_model"
        return self.verification is None

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        mark = "UNEXPECTED " if self.unexpected else ""
        if self.verification is None:
            return f"{mark}refused ({self.code}): {self.reason}"
        return f"{mark}{self.exporter}, difference {self.verification.max_abs_diff:.1e}, {self.seconds} s"


def render(results: Iterable[Result]) -> str:
    """Return the page in Markdown."""
    parts = [_HEAD]
    for group, rows in groupby(results, key=lambda result: result.group):
        parts.append("\n".join(_section(group, list(rows))))
    return "\n".join(parts)


def _section(group: str, rows: list[Result]) -> Iterator[str]:
    proved = [row for row in rows if row.verification is not None]
    yield f"## {group}\n"
    yield "| model | network | exporter | difference | cosine | padding | equal lengths | vectors | seconds |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in proved:
        measured = row.verification
        assert measured is not None
        yield (
            f"| {row.name} | {row.architecture} | {row.exporter} | {measured.max_abs_diff:.0e} "
            f"| {measured.min_cosine:.6f} | {measured.padding_diff:.0e} | {'yes' if row.equal_lengths_only else ''} "
            f"| {measured.cases} | {row.seconds:.0f} |"
        )
    yield ""
    refused = [row for row in rows if row.verification is None]
    if refused:
        yield "Refused:\n"
        yield "| model | reason |"
        yield "| --- | --- |"
        yield from (f"| {row.name} | {row.reason} |" for row in refused)
        yield ""
