"""Samples how busy the first GPU is, with NVIDIA's management library, which comes with the driver."""

from __future__ import annotations

import ctypes
import threading

_LIBRARY = "libnvidia-ml.so.1"
_EVERY_S = 0.05
_NAME_BYTES = 96


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class GpuBusy:
    """Samples in a thread while used as a context manager.

    Attributes:
        share: Mean share of the time in which the GPU computed; None if the library is missing or answers nothing.
        name: Name of the GPU; None likewise.
    """

    def __init__(self) -> None:
        self.share: float | None = None
        self.name: str | None = None
        self._samples: list[int] = []
        self._stop = threading.Event()
        self._library, self._device = self._open()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> GpuBusy:
        if self._library is not None:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._library is not None:
            self._thread.join()
        if self._samples:
            self.share = sum(self._samples) / len(self._samples) / 100

    def _open(self) -> tuple[ctypes.CDLL | None, ctypes.c_void_p]:
        device = ctypes.c_void_p()
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError:
            return None, device
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
            return None, device
        name = ctypes.create_string_buffer(_NAME_BYTES)
        if not library.nvmlDeviceGetName(device, name, _NAME_BYTES):
            self.name = name.value.decode(errors="replace")
        return library, device

    def _sample(self) -> None:
        found = _Utilization()
        while not self._stop.wait(_EVERY_S):
            if not self._library.nvmlDeviceGetUtilizationRates(self._device, ctypes.byref(found)):
                self._samples.append(found.gpu)
