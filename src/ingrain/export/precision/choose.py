"""Chooses the graph to publish: the fastest one that reaches the floors of the requested precision.

A precision promises how close vectors are to the source's; it does not prescribe a method. Several plans are tried,
fastest first, and the first one that reaches the floors is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from ingrain.errors import IngrainError, UnsupportedModelError, VerificationError
from ingrain.export.onnx.onnx_file import CannotConvert, open_session, replace_graph
from ingrain.export.precision.float16 import write_float16
from ingrain.export.precision.on_gpu import choose_on_gpu
from ingrain.export.precision.quantize import Int8Plan, write_int8
from ingrain.export.precision.ranges import Arrays, measure_ranges
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.deviation import Floors, Proofs, Prove, ScoreLimits
from ingrain.export.proof.first_proved import first_proved
from ingrain.export.proof.side_by_side import session_threads
from ingrain.vocabulary import Precision

INT8: frozenset[Precision] = frozenset({"int8", "int8-safe"})

Sample = Callable[[], Iterable[Arrays]]
"""Returns the inputs for measuring the ranges of a graph's values."""

FLOORS: dict[Precision, Floors] = {
    "fp16": Floors(
        mean_cosine=0.9999,
        min_cosine=0.999,
        own_cosine=0.9999,
        scores=ScoreLimits(rank_correlation=0.999, mean_difference=0.002),
    ),
    "int8": Floors(
        mean_cosine=0.99,
        min_cosine=0.95,
        own_cosine=0.9999,
        scores=ScoreLimits(rank_correlation=0.98, mean_difference=0.03),
    ),
    "int8-safe": Floors(
        mean_cosine=0.995,
        min_cosine=0.98,
        own_cosine=0.9999,
        scores=ScoreLimits(rank_correlation=0.99, mean_difference=0.015),
    ),
}
"""What a precision guarantees on the texts (and for fp16 the images) of the proof.

Of vectors these are cosines; of scores, their rank correlation and their mean difference as probabilities.

These texts are harder than usual ones: rare scripts, single symbols, empty texts. For all-MiniLM-L6-v2 in int8, the
mean cosine is 0.995 on English sentences and 0.9915 in the proof; in int8-safe, 0.998 and 0.996.
"""

# The plans of each precision, fastest first.
_PLANS: dict[Precision, tuple[Int8Plan | Literal["fp16"], ...]] = {
    "fp16": ("fp16",),
    "int8": (
        Int8Plan(offset=False, fixed="all"),
        Int8Plan(offset=False, fixed="wide"),
        Int8Plan(offset=False),
        Int8Plan(offset=True),
    ),
    "int8-safe": (
        Int8Plan(offset=False, fixed="wide"),
        Int8Plan(offset=True),
        Int8Plan(offset=True, kept="narrowing"),
        Int8Plan(offset=True, kept="feed_forward"),
    ),
}


def choose_graph(
    path: Path, job: ExportJob, proof: Proofs, prove: Prove, *, what: str, sample: Sample = tuple
) -> Proofs:
    """Replace a proved float32 graph by a graph in the job's precision, or one that is faster on the GPU.

    Args:
        path: The graph's file; replaced together with its external data.
        job: Gives the precision, and whether the graph will run on this machine's GPU.
        proof: Result of the float32 graph's proof.
        prove: Compares a session with the source; raises ``VerificationError`` if it differs by more than allowed.
        what: The graph's name in messages.
        sample: Returns the inputs for measuring ranges; needed for int8 only.

    Returns:
        Result of the published graph's proof.

    Raises:
        UnsupportedModelError: No plan reaches the floors of the precision.
    """
    if not job.on_gpu:
        return proof if job.precision == "fp32" else _lower(path, job.precision, prove, what, sample)
    try:
        return choose_on_gpu(path, job.precision, prove, FLOORS.get(job.precision), what=what)
    except (VerificationError, CannotConvert) as error:
        raise _refusal(job.precision, what, error) from error


def _lower(path: Path, precision: Precision, prove: Prove, what: str, sample: Sample) -> Proofs:
    folder = path.parent / "lowered"
    ranges = cache(lambda: measure_ranges(path, sample()))

    def attempt(plan: Int8Plan | Literal["fp16"]) -> Proofs:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if isinstance(plan, Int8Plan):
            write_int8(path, folder / path.name, plan, ranges() if plan.fixed != "none" else None)
        else:
            write_float16(path, folder / path.name)
        session = open_session(folder / path.name, session_threads(), precision=precision)
        return prove(session, FLOORS[precision])

    try:
        proof = first_proved(_PLANS[precision], attempt, what=what)
    except (VerificationError, UnsupportedModelError) as error:
        raise _refusal(precision, what, error) from error
    replace_graph(path, folder)
    folder.rmdir()
    return proof


def _refusal(precision: Precision, what: str, error: Exception) -> UnsupportedModelError:
    known = error if isinstance(error, IngrainError) else None
    reason = known.message if known is not None else "ONNX Runtime refuses the graph."
    facts = known.facts if known is not None else {}
    if precision == "fp32":
        message = f"{what} cannot be served on this GPU: {reason} Set INSTANCE_KIND to KIND_CPU."
        return UnsupportedModelError(message, param="name", facts=facts)
    message = f"{what} cannot be served in {precision}: {reason} Load the model with {_instead(precision)}."
    return UnsupportedModelError(message, param="precision", facts=facts)


def refuse_int8(precision: Precision, because: str) -> None:
    """Refuse int8 for a model without a text encoder that can be quantized."""
    if precision in INT8:
        raise UnsupportedModelError(
            f"{because}; `precision` {precision} is for text encoders. Load the model with `precision` fp32.",
            param="precision",
        )


def _instead(precision: Precision) -> str:
    return "`precision` int8-safe or fp32" if precision == "int8" else "`precision` fp32"
