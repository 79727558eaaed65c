"""Reset connections, threads and locks in a forked process, where they belong to the parent."""

from __future__ import annotations

import os
import warnings
import weakref
from typing import Protocol

from ingrain.errors import ClientError


class Forgetful(Protocol):
    """An object with connections, threads or locks that a forked child must not use."""

    def forget(self) -> None:
        """Drop all connections, threads and locks of the parent, without closing connections or taking a lock."""
        ...


_known: weakref.WeakSet[Forgetful] = weakref.WeakSet()
_is_registered = False


def forget_after_fork(owner: Forgetful) -> None:
    """Register ``owner.forget`` to be called in every process forked from this one."""
    global _is_registered
    _known.add(owner)
    if not _is_registered and hasattr(os, "register_at_fork"):
        _is_registered = True
        os.register_at_fork(after_in_child=_forget_all)


def check_process(pid: int) -> None:
    """Raise ClientError if ``pid``, the process that started a stream, is not this process."""
    if pid != os.getpid():
        raise ClientError("This stream belongs to the parent process; start a new one in this process.")


def _forget_all() -> None:
    with warnings.catch_warnings():
        # Dropping a socket closes only the child's copy: the parent's stays open, and no byte is sent.
        warnings.simplefilter("ignore", ResourceWarning)
        for owner in list(_known):
            owner.forget()
