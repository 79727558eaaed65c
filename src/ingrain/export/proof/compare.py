"""Compares a graph's outputs with its source library's; every published graph has passed this comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, VerificationError
from ingrain.export.proof.deviation import Deviation, Difference, Floors, Tolerance
from ingrain.export.proof.side_by_side import side_by_side
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.verification import Verification

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
Distance = Callable[[Floats, Floats], Difference]
"""Returns how far two rows are from each other."""
Count = Callable[[int, int], None]
"""Called with the number of finished cases, and the total."""


def compare(ours: Floats, theirs: Floats) -> Difference:
    """Return the difference between two vectors at unit length.

    If one of them is a zero vector, they are compared as they are.
    """
    a, b = (vector.astype(np.float64) for vector in (ours, theirs))
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    if norm_a < 1e-12 or norm_b < 1e-12:
        difference = float(np.abs(a - b).max())
        return Difference(difference, 1.0 if difference == 0 else 0.0)
    a, b = a / norm_a, b / norm_b
    return Difference(float(np.abs(a - b).max()), float(a @ b))


def compare_logits(ours: Floats, theirs: Floats) -> Difference:
    """Return the larger difference between two rows of logits: as probabilities, or as unit vectors."""
    difference, cosine, _ = compare(ours, theirs)
    return Difference(max(difference, float(np.abs(softmax(ours) - softmax(theirs)).max())), cosine)


def relative_difference(ours: Floats, theirs: Floats) -> float:
    """Return the largest difference between elements of two rows, as a share of the second's largest one.

    Rows below 1 are compared as they are: a score of about 0 has no relative error that means anything.
    """
    a, b = (row.astype(np.float64) for row in (ours, theirs))
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


@dataclass(frozen=True, kw_only=True)
class References(ABC):
    """Inputs of a proof with the source library's outputs for them.

    Attributes:
        names: Names of the graph's outputs that are compared; None for all.
        expected: The source's outputs, float32 ``[N, D]``, one row per input.
        distance: How two rows are compared.
        relative_tolerance: Limit of the relative difference, for a distance that has one.
        measured: What the distance's absolute difference is measured in, as the manifest states it.
        tokenizer_cases: Number of texts whose token ids were equal.
        source_padding_diff: How much padding changes the source's own vectors, if that is too much for inputs of
            unequal lengths in one batch; else None.
    """

    outputs: ClassVar[str]
    """Name of the outputs in messages, in the plural."""

    expected: Floats
    names: tuple[str, ...] | None = None
    distance: Distance = compare
    relative_tolerance: float | None = None
    measured: str = "unit_vectors"
    tokenizer_cases: int = 0
    source_padding_diff: float | None = None

    @property
    def width(self) -> int:
        """``D``."""
        return int(self.expected.shape[1])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row of the graph's outputs; -1 is dynamic."""
        return (self.width,)

    def rows_of(self, outputs: Sequence[NDArray[Any]], count: int) -> Floats:
        """Return the rows of a batch of ``count`` inputs from a graph's outputs, float32 ``[B, D]``.

        Raises:
            VerificationError: The outputs have another shape.
        """
        rows: Floats = outputs[0]
        if rows.shape != (count, self.width):
            raise VerificationError(
                f"The graph gives an output of the shape {rows.shape} instead of {(count, self.width)}."
            )
        return rows

    @property
    def equal_lengths_only(self) -> bool:
        """True if only inputs of equal length may share a batch."""
        return self.source_padding_diff is not None

    @property
    @abstractmethod
    def axes(self) -> tuple[str, ...]:
        """Names of the leading axes of every input of the graph, all dynamic."""

    @property
    def output_axes(self) -> tuple[str, ...]:
        """Names of the leading axes of the graph's output: the batch, and those that the inputs have too."""
        return ("batch",)

    def cut(self, output: NDArray[Any], numbers: Sequence[int]) -> NDArray[Any]:  # noqa: ARG002  # overridden
        """Return the row of each input from the graph's output for a batch."""
        return output

    def differences(self, row: Floats, other: Floats) -> Iterable[Difference]:
        """Return the difference of each vector of a row."""
        return [self.distance(row, other)]

    @abstractmethod
    def batches(self) -> list[list[int]]:
        """Return batches of input numbers; each input comes alone first, then in a batch with others."""

    @abstractmethod
    def arrays(self, numbers: Sequence[int], names: Sequence[str]) -> Arrays:
        """Return the graph's inputs for a batch, by name."""

    @abstractmethod
    def sample(self, names: Sequence[str]) -> Arrays:
        """Return a small batch for the exporter to trace: several items, of unequal lengths if possible."""

    def new_deviation(self) -> Deviation:
        """Return what accumulates the differences of a proof, and decides."""
        return Deviation()

    def of_fixed_length(self) -> References:
        """Return the same references for a graph that accepts texts of the full length only."""
        return self

    def calibration_batches(self, names: Sequence[str], report: Count) -> Iterable[Arrays]:  # noqa: ARG002  # overridden
        """Return inputs for measuring the ranges of a graph's values; none for graphs that do not become int8."""
        return ()


def check_answers(answers: Floats) -> Floats:
    """Return a source's outputs after checking that they can be compared.

    Raises:
        ExportError: The outputs contain NaN or infinity, or more than one vector per input.
    """
    if answers.ndim != 2:
        raise ExportError(f"The source gives an output of the shape {answers.shape} instead of one vector per input.")
    if not np.isfinite(answers).all():
        raise ExportError("The source library's own vectors contain NaN or infinity; the weights are unusable.")
    return answers


def prove(
    session: Any, references: References, *, tolerance: float, report: Count, floors: Floors | None = None
) -> Verification:
    """Compare a graph with the source, for inputs alone and in batches.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        references: The inputs and the source's outputs.
        tolerance: Largest allowed absolute difference; ignored if there are floors.
        report: Called with the number of finished rows, and the total.
        floors: Least cosines, for a lower precision.

    Raises:
        VerificationError: A row differs by more than allowed, is not finite or has another shape.
    """
    (proof,) = prove_all(session, [references], tolerance=tolerance, report=report, floors=floors)
    return proof


def prove_all(
    session: Any, kinds: Sequence[References], *, tolerance: float, report: Count, floors: Floors | None = None
) -> list[Verification]:
    """Compare several outputs of a graph with the source; as ``prove``, and each batch is run once.

    Args:
        session: As for ``prove``.
        kinds: References of each kind of output, all with the same inputs in the same order.
        tolerance: As for ``prove``.
        report: As for ``prove``.
        floors: As for ``prove``.
    """
    inputs = [value.name for value in session.get_inputs()]
    names = [value.name for value in session.get_outputs()]
    comparisons = [_Comparison(references) for references in kinds]
    batches = kinds[0].batches()
    done, total = 0, sum(map(len, batches))
    for batch, values in side_by_side(lambda batch: _run(session, kinds[0].arrays(batch, inputs)), batches):
        report(done, total)
        outputs = dict(zip(names, values, strict=True))
        for comparison in comparisons:
            comparison.add(batch, outputs)
        done += len(batch)
    return [comparison.verification(tolerance, floors) for comparison in comparisons]


class _Comparison:
    """Compares the rows of one kind of output, batch by batch."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._alone: dict[int, Floats] = {}
        self._deviation = references.new_deviation()

    def add(self, batch: Sequence[int], outputs: Arrays) -> None:
        references, deviation = self._references, self._deviation
        wanted = references.names or list(outputs)
        output = references.rows_of([outputs[name] for name in wanted], len(batch))
        if not np.isfinite(output).all():
            raise VerificationError("The graph gives NaN or infinity where the source library does not.")
        for number, row in zip(batch, references.cut(output, batch), strict=True):
            to_itself = references.differences(row, self._alone.setdefault(number, row))
            to_source = references.differences(row, references.expected[number])
            for pair in zip(to_source, to_itself, strict=True):
                deviation.add(*pair)
            deviation.add_rows(row, references.expected[number])

    def verification(self, tolerance: float, floors: Floors | None) -> Verification:
        references = self._references
        allowed = Tolerance(absolute=tolerance, relative=references.relative_tolerance, measured=references.measured)
        self._deviation.check(allowed, floors, what=references.outputs)
        return self._deviation.verification(
            tolerance=allowed,
            floors=floors,
            # If only equal lengths share a batch, report the effect of padding on the source itself.
            padding_diff=references.source_padding_diff,
            tokenizer_cases=references.tokenizer_cases,
        )


def _run(session: Any, arrays: Arrays) -> Sequence[NDArray[Any]]:
    try:
        outputs: Sequence[NDArray[Any]] = session.run(None, arrays)
    except Exception as error:  # onnxruntime's exceptions have no other common base
        raise_if_machines(error)
        given = next(iter(arrays.values())).shape
        raise VerificationError(
            f"The graph fails on inputs of the shape {given}: a size was fixed during the export."
        ) from error
    return outputs


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the probabilities of a row of logits."""
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = powers / powers.sum()
    return probabilities
