"""Finds the operating system's error behind an exception: no disk space, memory, open files or processes.

Libraries wrap the system's errors in their own, whose messages blame the model. Code that is about to blame a model
calls this module first, so that a full disk is never reported as "this network cannot be converted".
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from ingrain.errors import (
    DiskFullError,
    DiskUnusableError,
    MachineError,
    MachineLimitError,
    OutOfMemoryError,
)

RETRY_AFTER_S = 60.0

_WHERE = "the model repository (INGRAIN_REPOSITORY), temporary files (TMPDIR) or the hub's cache (HF_HOME)"
_FULL = (
    f"The disk is full, over its quota, or a file may not grow as large as needed; look at {_WHERE}. Free some space."
)
_READ_ONLY = f"The disk is read-only; look at {_WHERE}. Make it writable."
_FORBIDDEN = f"The system does not permit reading or writing a file; check the owner and mode of {_WHERE}."
_BROKEN = f"The disk failed to read or write; look at the system's log and at {_WHERE}."
_MEMORY = (
    "There was too little memory. Give the server more memory, unload other models, or load a smaller one; an export "
    "may use the share INGRAIN_EXPORT_MEMORY."
)
_FILES = "Too many files are open. Raise the limit of open files (ulimit -n) of the server's process."
_PROCESSES = (
    "No further process or thread could be started. Raise the limit of processes (ulimit -u, pids of a container)."
)

_BY_NUMBER: dict[int, tuple[type[MachineError], str]] = {
    errno.ENOSPC: (DiskFullError, _FULL),
    errno.EDQUOT: (DiskFullError, _FULL),
    errno.EFBIG: (DiskFullError, _FULL),
    errno.EROFS: (DiskUnusableError, _READ_ONLY),
    errno.EACCES: (DiskUnusableError, _FORBIDDEN),
    errno.EPERM: (DiskUnusableError, _FORBIDDEN),
    errno.EIO: (DiskUnusableError, _BROKEN),
    errno.ESTALE: (DiskUnusableError, _BROKEN),
    errno.ENOMEM: (OutOfMemoryError, _MEMORY),
    errno.EMFILE: (MachineLimitError, _FILES),
    errno.ENFILE: (MachineLimitError, _FILES),
    errno.EAGAIN: (MachineLimitError, _PROCESSES),
}
# Errors of torch, ONNX Runtime, protobuf and Rust have no errno and no type of their own for this; only their messages
# contain the texts of the C library and of allocators. No other code matches messages.
_BY_TEXT: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"No space left on device|Disk quota exceeded|File too large"), errno.ENOSPC),
    (re.compile(r"Read-only file system"), errno.EROFS),
    (re.compile(r"Input/output error"), errno.EIO),
    (
        re.compile(
            r"\bbad[_ ]alloc|can't allocate memory|Cannot allocate memory|not enough memory: you tried to allocate"
            r"|Failed to allocate memory|memory allocation of \d+ bytes failed|failed to map segment from shared object"
            r"|\bMemoryError\b|(?i:\bout of memory)"
        ),
        errno.ENOMEM,
    ),
    (re.compile(r"Too many open files"), errno.EMFILE),
    (re.compile(r"can't start new thread|Resource temporarily unavailable"), errno.EAGAIN),
)
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")  # in errors of Rust
_MOST_LINKS = 20


def machine_fault(error: BaseException) -> MachineError | None:
    """Return the machine's fault behind an error, its causes or its contexts; None if there is none."""
    for link in _chain(error):
        if isinstance(link, MachineError):
            return link
        if isinstance(link, OSError):
            found = _fault(link.errno) if link.errno in _BY_NUMBER else None
        elif _is_out_of_memory(link):
            found = _fault(errno.ENOMEM)
        else:
            found = machine_fault_in(str(link))
        if found is not None:
            return found
    return None


def machine_fault_in(text: str) -> MachineError | None:
    """Return the machine's fault that a library's message, or the last output of a dead process, describes."""
    for written in _NUMBER_IN_TEXT.finditer(text):
        if (number := int(written[1])) in _BY_NUMBER:
            return _fault(number)
    return next((_fault(number) for pattern, number in _BY_TEXT if pattern.search(text)), None)


def raise_if_machines(error: BaseException) -> None:
    """Raise the machine's fault behind an error, if there is one."""
    fault = machine_fault(error)
    if fault is error:
        raise error
    if fault is not None:
        raise fault from error


def _is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is found by name, because serving must not import torch.
    return isinstance(error, MemoryError) or any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)


def _fault(number: int) -> MachineError:
    cls, message = _BY_NUMBER[number]
    return cls(f"{message} The server tries again later.", retry_after_s=RETRY_AFTER_S)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then its causes and contexts, and the members of groups."""
    waiting, seen = [error], 0
    while waiting and seen < _MOST_LINKS:
        link = waiting.pop(0)
        seen += 1
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
        behind = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if behind is not None:
            waiting.append(behind)
