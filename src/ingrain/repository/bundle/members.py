"""Reads the members of a bundle's tar file: plain files alone, so that nothing else needs to be interpreted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ingrain.errors import BundleError
from ingrain.machine_faults import raise_if_machines

_PIECE = 1024 * 1024
_END = bytes(tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar file: name, size in bytes, and where its content begins. ``pieces`` may be called again."""

    name: str
    size: int
    stream: IO[bytes]
    start: int

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in pieces of up to 1 MiB."""
        self.stream.seek(self.start)
        left = self.size
        while left:
            piece = self.stream.read(min(left, _PIECE))
            if not piece:
                raise BundleError("The bundle was cut off.")
            left -= len(piece)
            yield piece


@contextmanager
def open_members(file: Path) -> Iterator[Iterator[Member]]:
    """Open a tar file and yield its members, in order; a caller reads one before it asks for the next.

    Raises:
        BundleError: It cannot be opened, is cut off, or has a member that is no plain file.
        MachineError: The machine's fault keeps it from being read.
    """
    try:
        with file.open("rb") as stream:
            yield _members(stream)
    except OSError as error:
        raise_if_machines(error)
        raise BundleError(f"The bundle {file.name} cannot be opened: {error.strerror}.") from error


def _members(stream: IO[bytes]) -> Iterator[Member]:
    end, start = os.fstat(stream.fileno()).st_size, 0
    while True:
        stream.seek(start)
        block = stream.read(tarfile.BLOCKSIZE)
        if block == _END:
            return
        try:
            head = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise BundleError("The file is no bundle, or was cut off or damaged.") from error
        if head.type != tarfile.REGTYPE:
            raise BundleError(f"The bundle's member {head.name[:100]!r} is a link or no plain file.")
        start += tarfile.BLOCKSIZE
        if not 0 <= head.size <= end - start:
            raise BundleError(f"The bundle's member {head.name[:100]!r} has {head.size} bytes, more than the file.")
        yield Member(head.name, head.size, stream, start)
        start += -(-head.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
