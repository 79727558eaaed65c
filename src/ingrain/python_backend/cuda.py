"""Checks whether graphs can run on an NVIDIA GPU of this machine, and opens ONNX Runtime sessions on it.

Like ``model.py`` this file is copied next to each graph and also runs in Triton's stub process, so it only imports the
standard library until it opens a session.
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
    # TensorFloat-32 has a mantissa of ten bits: vectors would differ from the source's by more than the tolerance.
    "use_tf32": "0",
    # An exhaustive search of convolution algorithms takes seconds for each batch size.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Flash, memory-efficient and plain attention; not cuDNN's, which takes 50 ms to plan each new shape.
    "sdpa_kernel": "19",
    # The default strategy allocates the next power of two, but other graphs share the GPU's memory.
    "arena_extend_strategy": "kSameAsRequested",
}
_INSTALL = "`pip uninstall onnxruntime`, then `pip install 'onnxruntime-gpu[cuda,cudnn]'`"


class GpuUnusableError(RuntimeError):
    """ONNX Runtime cannot use the GPU; the message says what to do, and contains no path."""


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that the driver and ``CUDA_VISIBLE_DEVICES`` make visible to this process."""
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
    """Return the number of visible GPUs."""
    return len(gpu_names())


def why_unusable() -> str | None:
    """Return why graphs cannot run on a GPU of this machine, as a sentence without its period; None if they can."""
    if not gpu_count():
        return "NVIDIA's driver shows no GPU here"
    if not has_provider():
        return f"the installed onnxruntime only supports CPUs; for the GPU, {_INSTALL}"
    return None


def has_provider() -> bool:
    """Return whether the installed ONNX Runtime was built for CUDA, without importing it."""
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
        GpuUnusableError: The GPU cannot be used. ONNX Runtime itself would silently use the CPU.
    """
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # loads CUDA and cuDNN from their wheels
    providers = [(_PROVIDER, {"device_id": str(device_id), **_OPTIONS}), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(os.fspath(path), sess_options=options, providers=providers)
    if _PROVIDER not in session.get_providers():
        raise GpuUnusableError(
            f"ONNX Runtime cannot use the GPU: CUDA or cuDNN is missing or too old; for both, {_INSTALL}."
        )
    return session
