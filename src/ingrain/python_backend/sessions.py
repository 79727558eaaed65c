"""Opens the ONNX Runtime sessions of a graph on a CPU, with as little memory as they need.

Like ``model.py`` this file is copied next to each graph and also runs in Triton's stub process, so it only imports the
standard library and onnxruntime.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Sequence

import onnxruntime

from .lone import LoneSession

# glibc's parameter for the number of heaps. By default each thread gets its own, and each keeps what it once needed.
_M_ARENA_MAX = -8
_HEAPS = 2
# By default a heap returns free memory to the kernel above 128 KiB, in each batch again, and getting it back took 5 to
# 10 % of the time of batches of 180 to 500 tokens. It keeps this much, which holds the values of such a batch.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 16 << 20
# Bits of MXCSR, the register of an x86-64 thread that controls floating-point operations.
_FLUSH_TO_ZERO, _DENORMALS_ARE_ZEROS = 0x8000, 0x0040


def open_cpu_sessions(
    path: str | os.PathLike[str],
    *,
    copies: int,
    threads: int,
    lone_threads: int,
    lone_spin_us: int,
    disabled_optimizers: Sequence[str],
    has_fixed_shapes: bool,
) -> tuple[list[onnxruntime.InferenceSession], LoneSession | None]:
    """Open a graph.

    Args:
        path: ``model.onnx``.
        copies: How many batches run at the same time.
        threads: Threads of each of them.
        lone_threads: Threads of a batch that is alone in the engine; 0: no session of its own.
        lone_spin_us: Microseconds for which those threads spin.
        disabled_optimizers: ONNX Runtime's graph optimizers not to use.
        has_fixed_shapes: Whether all items have the same shape.

    Returns:
        The sessions, one for all copies if it has a single thread, and the session for lone batches.
    """
    _set_allocator({_M_ARENA_MAX: _HEAPS})

    def open_one(options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        # With an arena and memory patterns each session keeps memory for the largest batch, for each of its threads and
        # each shape. They only pay for large activations of one shape.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = has_fixed_shapes
        return onnxruntime.InferenceSession(
            os.fspath(path),
            sess_options=options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled_optimizers),
        )

    # A session with one thread runs in the caller's thread, so that one session serves any number of runs at once.
    sessions = [open_one(session_options(threads)) for _ in range(1 if threads == 1 else copies)]
    lone = LoneSession(open_one(session_options(lone_threads, spin_us=lone_spin_us))) if lone_threads else None
    _return_free_memory()
    _set_allocator({_M_TRIM_THRESHOLD: _KEPT_BYTES, _M_MMAP_THRESHOLD: _KEPT_BYTES})
    return sessions, lone


def session_options(threads: int, *, spin_us: int = 0) -> onnxruntime.SessionOptions:
    """Return session options. They do not affect how ONNX Runtime optimizes the graph.

    Args:
        threads: Threads of one batch.
        spin_us: Microseconds that a waiting thread spins. Spinning threads occupy cores that other batches and the HTTP
            front end need.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Softmax gives padding denormal numbers, with which processors compute several times more slowly. ONNX Runtime
    # changes the session's threads, and the thread that opens the first session, from which others inherit it.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin_us else "0")
    if spin_us:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    options.log_severity_level = 4  # errors come as exceptions
    return options


def run_options(outputs: Sequence[str] | None) -> onnxruntime.RunOptions:
    """Return the options of a run, in which ONNX Runtime computes only what the named outputs need; None for all."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # errors come as exceptions
    options.only_execute_path_to_fetches = outputs is not None
    return options


def flush_denormals() -> None:
    """Let this thread compute with zeros in the place of denormal numbers, which are slow; only on x86-64 Linux."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return
    library, environment = ctypes.CDLL(None), (ctypes.c_uint32 * 8)()  # fenv_t; its last field is MXCSR
    library.fegetenv(environment)
    environment[7] |= _FLUSH_TO_ZERO | _DENORMALS_ARE_ZEROS
    library.fesetenv(environment)


def _set_allocator(parameters: dict[int, int]) -> None:
    try:
        for parameter, value in parameters.items():
            ctypes.CDLL(None).mallopt(parameter, value)
    except AttributeError:
        pass  # another C library


def _return_free_memory() -> None:
    """Give the kernel what loading has freed: the file's contents, and weights that were repacked."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass  # another C library
