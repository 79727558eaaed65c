"""Reset connections, threads and locks in a forked process, where they belong to the parent."""

from __future__ import annotations

import os
import warnings
import weakref
from typing import Protocol

from ingrain.errors import ClientError


class Forgetful(Protocol):
    """What can begin anew."""

    def forget(self) -> None:
        """Let go of everything that belongs to the parent, without a word to anybody and without taking a lock."""
        ...


_known: weakref.WeakSet[Forgetful] = weakref.WeakSet()
_is_registered = False


def forget_after_fork(owner: Forgetful) -> None:
    """Have ``owner.forget`` called in every process that is forked from this one from now on."""
    global _is_registered
    _known.add(owner)
    if not _is_registered and hasattr(os, "register_at_fork"):
        _is_registered = True
        os.register_at_fork(after_in_child=_forget_all)


def check_process(pid: int) -> None:
    """Refuse to go on with a call that another process has begun.

    Raises:
        ClientError: ``pid`` is not this process.
    """
    if pid != os.getpid():
        raise ClientError("This stream was begun in the process that this one was forked from; begin one here.")


def _forget_all() -> None:
    with warnings.catch_warnings():
        # Closing the child's copies of the parent's sockets is what is wanted: the parent's stay open, and no byte goes
        # over the wire.
        warnings.simplefilter("ignore", ResourceWarning)
        for owner in list(_known):
            owner.forget()
