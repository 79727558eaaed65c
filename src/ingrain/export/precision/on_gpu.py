"""Chooses the graph that this machine's GPU runs fastest, and proves it there."""

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
from ingrain.export.proof.deviation import Floors, Prove
from ingrain.repository.manifest import Verification
from ingrain.vocabulary import Precision

_RUNS = 15
# (items, tokens) of the batches that are timed: a lone query, and a batch that fills the GPU with short texts.
_BATCHES = ((1, 16), (64, 32))
# Items of the batches that are timed once each: under load every batch is new to the GPU's libraries, which may take
# longer to plan it than to compute it.
_NEW_SIZES = range(5, 20)
# A fused graph must save this much of the time of all batches together, and be no slower with any of them.
_WORTH_IT, _NO_SLOWER = 0.95, 1.03
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(float)": np.float32}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A graph that was proved on the GPU, its proof, and the seconds of each kind of batch where they are known."""

    file: Path
    proof: Verification
    seconds: tuple[float, ...]

    def beats(self, other: _Candidate) -> bool:
        if not self.seconds or not other.seconds:
            return False
        no_slower = all(a <= _NO_SLOWER * b for a, b in zip(self.seconds, other.seconds, strict=True))
        return no_slower and sum(self.seconds) < _WORTH_IT * sum(other.seconds)


def choose_on_gpu(path: Path, precision: Precision, prove: Prove, floors: Floors | None, *, what: str) -> Verification:
    """Replace a float32 graph by one of the precision asked for: fused where that is proved and faster here.

    Args:
        path: The graph's file, proved; replaced together with its external data.
        precision: ``fp32`` or ``fp16``.
        prove: Compares a session with the source; raises ``VerificationError`` where it differs by more than allowed.
        floors: What the precision promises; None for the tolerance of float32.
        what: What the graph is, for messages.

    Returns:
        What the proof of the chosen graph measured, on the GPU.

    Raises:
        CannotConvert: ONNX Runtime refuses the graph in this precision.
        ExportError: It cannot use the GPU.
        VerificationError: On the GPU it computes something else than its source.
    """
    scratch = path.parent / "candidates"
    try:
        plain = _plain(path, scratch, precision, prove, floors)
        fused = _fused(path, scratch, precision, prove, floors, what)
        chosen = fused if fused is not None and fused.beats(plain) else plain
        if fused is not None:
            _tell(what, f"fused {_shown(fused)}, as it is {_shown(plain)}: {chosen.file.parent.name}")
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
    """Return the fused graph if there can be one: the other one is good enough, whatever is wrong with this."""
    try:
        file = _file(scratch, "fused", path)
        write_fused(path, file)
        if precision == "fp32":
            # A server without a GPU may open the repository one day.
            prove(open_session(file, export_threads()), None)
        else:
            single, file = file, _file(scratch, "fused in half precision", path)
            write_float16(single, file)
        session = open_session(file, export_threads(), precision=precision, on_gpu=True)
        return _Candidate(file, prove(session, floors), _times(session))
    except Exception:  # whatever they stumble over, too little memory included
        _tell(what, "fused, did not work:")
        traceback.print_exc()
        return None


def _file(scratch: Path, name: str, path: Path) -> Path:
    folder = scratch / name
    folder.mkdir(parents=True)
    return folder / path.name


def _times(session: Any) -> tuple[float, ...]:
    """Return the seconds of each kind of batch; nothing where there is no memory for batches that large, say."""
    try:
        repeated = [_seconds(session, [batch] * _RUNS) for batch in _BATCHES]
        return (*repeated, _seconds(session, [(items, 24) for items in _NEW_SIZES]))
    except Exception:  # ONNX Runtime's exceptions have no common base
        traceback.print_exc()
        return ()


def _seconds(session: Any, batches: Sequence[tuple[int, int]]) -> float:
    """Return the median time of batches, the first third apart: they load kernels and take memory."""
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


def _tell(what: str, text: str) -> None:
    print(f"{what}, {text}", file=sys.stderr)  # noqa: T201  # the worker's stderr is its log
