"""Recognises that a batch failed for lack of memory."""

from __future__ import annotations

# ONNX Runtime, CUDA and numpy have no status code for this that reaches us, so the texts of their errors are searched.
_SIGNS = (
    "bad_alloc",  # C++, and so ONNX Runtime on a CPU
    "bad allocation",  # the same with Microsoft's compiler
    "failed to allocate memory",  # ONNX Runtime's arena
    "available memory of",  # the same at its own limit
    "out of memory",  # CUDA, TensorRT and the system's ENOMEM from CUDA
    "cannot allocate memory",  # ENOMEM
    "memoryerror",  # Python, by the name of the class
    "unable to allocate",  # numpy
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED and the other libraries of CUDA
    "cuda_error_out_of_memory",
    "outofmemory",  # TensorRT
    "failed to increase the shared memory pool size",  # Triton's Python backend
)


def is_memory_failure(text: str) -> bool:
    """Return whether the text of an error says that memory was lacking.

    Args:
        text: Class and message of an exception, or the message of Triton.
    """
    lowered = text.lower()
    return any(sign in lowered for sign in _SIGNS)
