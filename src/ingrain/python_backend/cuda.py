"""Finds out whether graphs can run on an NVIDIA GPU of this machine, and opens ONNX Runtime sessions on it.

Like ``model.py`` this file is copied beside each graph and runs in Triton's stub process too: the standard library is
all that it may import before a session is opened.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PROVIDER = "CUDAExecutionProvider"
_OPTIONS = {
    # TensorFloat-32 has ten bits of mantissa: float32 vectors would differ from the source's by more than is promised.
    "use_tf32": "0",
    # Trying every algorithm for every convolution takes seconds, for each batch size anew.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Flash, memory-efficient and plain attention. cuDNN's, which would go before these, plans each new shape for 50 ms.
    "sdpa_kernel": "19",
    # The other strategy takes the next power of two, of a memory that is shared with other graphs.
    "arena_extend_strategy": "kSameAsRequested",
}
_INSTALL = "`pip uninstall onnxruntime`, then `pip install 'onnxruntime-gpu[cuda,cudnn]'`"


class GpuUnusableError(RuntimeError):
    """ONNX Runtime cannot use the GPU that it was told to use; the message says what to do, and names no path."""


@cache
def gpu_names() -> tuple[str, ...]:
    """Name the GPUs that the driver shows this process, ``CUDA_VISIBLE_DEVICES`` considered; none without a driver."""
    if sys.platform != "linux":
        return ()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_name_of(driver, number) for number in range(count.value))


def _name_of(driver: ctypes.CDLL, number: int) -> str:
    device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(device), number) or driver.cuDeviceGetName(name, len(name), device):
        return "GPU"
    return name.value.decode(errors="replace")


def gpu_count() -> int:
    """Return how many GPUs the driver shows this process."""
    return len(gpu_names())


def why_unusable() -> str | None:
    """Return why graphs cannot run on a GPU of this machine, as a sentence without its stop; None where they can."""
    if not gpu_count():
        return "NVIDIA's driver shows no GPU here"
    if not has_provider():
        return f"the installed onnxruntime is for CPUs alone; for the GPU, {_INSTALL}"
    return None


def has_provider() -> bool:
    """Tell whether the installed ONNX Runtime was built for CUDA, without importing it."""
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return False
    return (Path(spec.submodule_search_locations[0]) / "capi" / "libonnxruntime_providers_cuda.so").is_file()


def open_session(path: str | os.PathLike[str], options: Any, device_id: int | str = 0) -> Any:
    """Open a graph on a GPU.

    Args:
        path: ``model.onnx``.
        options: ``onnxruntime.SessionOptions``.
        device_id: Number of the GPU.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        GpuUnusableError: The GPU cannot be used. ONNX Runtime would take the CPU without a word.
    """
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where their wheels put them
    providers = [(_PROVIDER, {"device_id": str(device_id), **_OPTIONS}), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(os.fspath(path), sess_options=options, providers=providers)
    if _PROVIDER not in session.get_providers():
        raise GpuUnusableError(
            f"ONNX Runtime cannot use the GPU: CUDA or cuDNN is missing or too old; for both, {_INSTALL}."
        )
    return session
