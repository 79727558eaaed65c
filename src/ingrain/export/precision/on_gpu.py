"""Chooses the graph that runs fastest on this machine's GPU, and proves it on the GPU."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingrain.export.onnx.onnx_file import open_session, replace_graph
from ingrain.export.precision.float16 import write_float16
from ingrain.export.precision.fused import write_fused
from ingrain.export.process.threads import export_threads
from ingrain.export.proof.deviation import Floors, Proofs, Prove
from ingrain.vocabulary import Precision

_RUNS = 15
# (items, tokens) of the timed batches: a single query, and a batch of short texts that fills the GPU.
_BATCHES = ((1, 16), (64, 32))
# Sizes of batches that are timed once each. Under load most batches have shapes that the GPU's libraries have not seen
# before, and planning for a new shape may take longer than the computation.
_NEW_SIZES = range(5, 20)
# A fused graph's total time must be below the first ratio, and its time for each kind of batch within the second.
_WORTH_IT, _NO_SLOWER = 0.95, 1.03
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(float)": np.float32}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A graph that was proved on the GPU; ``seconds`` has the time of each kind of batch, or is empty if unknown."""

    file: Path
    proof: Proofs
    seconds: tuple[float, ...]

    def beats(self, other: _Candidate) -> bool:
        if not self.seconds or not other.seconds:
            return False
        no_slower = all(a <= _NO_SLOWER * b for a, b in zip(self.seconds, other.seconds, strict=True))
        return no_slower and sum(self.seconds) < _WORTH_IT * sum(other.seconds)


def choose_on_gpu(path: Path, precision: Precision, prove: Prove, floors: Floors | None, *, what: str) -> Proofs:
    """Replace a float32 graph by one in the requested precision; fused, if that is proved and faster.

    Args:
        path: The proved graph's file; replaced together with its external data.
        precision: ``fp32`` or ``fp16``.
        prove: Compares a session with the source; raises ``VerificationError`` if it differs by more than allowed.
        floors: Floors of the precision; None for the tolerance of float32.
        what: The graph's name in messages.

    Returns:
        Result of the chosen graph's proof on the GPU.

    Raises:
        CannotConvert: ONNX Runtime refuses the graph in this precision.
        ExportError: ONNX Runtime cannot use the GPU.
        VerificationError: On the GPU, the graph's outputs differ from the source's.
    """
    scratch = path.parent / "candidates"
    try:
        plain = _plain(path, scratch, precision, prove, floors)
        fused = _fused(path, scratch, precision, prove, floors, what)
        chosen = fused if fused is not None and fused.beats(plain) else plain
        if fused is not None:
            _log(what, f"fused {_shown(fused)}, plain {_shown(plain)}: {chosen.file.parent.name}")
        if chosen.file != path:
            replace_graph(path, chosen.file.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return chosen.proof


def _plain(path: Path, scratch: Path, precision: Precision, prove: Prove, floors: Floors | None) -> _Candidate:
    file = path
    if precision == "fp16":
        file = _file(scratch, "plain", path)
        write_float16(path, file)
    session = open_session(file, export_threads(), precision=precision, on_gpu=True)
    return _Candidate(file, prove(session, floors), _times(session))


def _fused(
    path: Path, scratch: Path, precision: Precision, prove: Prove, floors: Floors | None, what: str
) -> _Candidate | None:
    """Return the fused graph, or None on any failure: the plain graph is good enough."""
    try:
        file = _file(scratch, "fused", path)
        write_fused(path, file)
        if precision == "fp32":
            # A server without a GPU may open the repository later.
            prove(open_session(file, export_threads()), None)
        else:
            single, file = file, _file(scratch, "fused in half precision", path)
            write_float16(single, file)
        session = open_session(file, export_threads(), precision=precision, on_gpu=True)
        return _Candidate(file, prove(session, floors), _times(session))
    except Exception:  # any failure, including out of memory
        _log(what, "fused, failed:")
        traceback.print_exc()
        return None


def _file(scratch: Path, name: str, path: Path) -> Path:
    folder = scratch / name
    folder.mkdir(parents=True)
    return folder / path.name


def _times(session: Any) -> tuple[float, ...]:
    """Return the seconds for each kind of batch; empty if a batch fails, for example for lack of memory."""
    try:
        repeated = [_seconds(session, [batch] * _RUNS) for batch in _BATCHES]
        return (*repeated, _seconds(session, [(items, 24) for items in _NEW_SIZES]))
    except Exception:  # onnxruntime's exceptions have no other common base
        traceback.print_exc()
        return ()


def _seconds(session: Any, batches: Sequence[tuple[int, int]]) -> float:
    """Return the median time of batches, without the first third, which loads kernels and allocates memory."""
    taken = []
    for items, tokens in batches:
        arrays = {value.name: _ones(value, items, tokens) for value in session.get_inputs()}
        began = time.perf_counter()
        session.run(None, arrays)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[len(taken) // 3 :])


def _ones(value: Any, items: int, tokens: int) -> np.ndarray[Any, Any]:
    shape = [axis if isinstance(axis, int) else tokens for axis in value.shape]
    return np.ones([items, *shape[1:]], _DTYPES[value.type])


def _shown(candidate: _Candidate) -> str:
    return ", ".join(f"{seconds * 1e3:.2f} ms" for seconds in candidate.seconds)


def _log(what: str, text: str) -> None:
    print(f"{what}, {text}", file=sys.stderr)  # noqa: T201  # the worker's stderr is its log
