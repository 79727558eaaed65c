"""Bounds the memory of all request bodies that a process holds at the same time, and the pace of reading large ones."""

from __future__ import annotations

from ingrain.errors import OverloadError

_RETRY_AFTER_S = 1.0


class BodyBudget:
    """Counts the bytes of request bodies, from their arrival to the response. Only the event loop uses it.

    Attributes:
        max_bytes: Limit of all bodies together.
        held_bytes: Bytes counted now.
        bytes_per_s: Pace at which all large bodies together are read; 0 for as fast as they come. A body that is sent
            over the loopback, or a fast network, would otherwise keep the event loop from all other requests.
    """

    def __init__(self, max_bytes: int, bytes_per_s: float = 0.0) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self.bytes_per_s = bytes_per_s
        self._even_at = 0.0

    def pause_s(self, size: int, now: float) -> float:
        """Return for how long no more is to be read of a large body, of which a piece was read now.

        Args:
            size: Bytes of the piece.
            now: Time of the event loop in seconds.
        """
        if not self.bytes_per_s:
            return 0.0
        self._even_at = max(self._even_at, now) + size / self.bytes_per_s
        return self._even_at - now

    def has_room(self, size: int) -> bool:
        """Return whether so many more bytes are within the limit."""
        return self.held_bytes + size <= self.max_bytes

    def take(self, size: int) -> None:
        """Count bytes."""
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Remove bytes from the count."""
        self.held_bytes -= size

    def full(self) -> OverloadError:
        """Build the error for a body that is beyond the limit."""
        return OverloadError(
            f"The bodies of the requests in progress reach {self.max_bytes} bytes, the limit of this server "
            "(INGRAIN_MAX_BODIES_BYTES). Try again later.",
            retry_after_s=_RETRY_AFTER_S,
            facts={"limit": self.max_bytes},
        )
