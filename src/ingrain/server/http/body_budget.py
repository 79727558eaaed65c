"""Bounds the memory of all request bodies that a process holds at the same time."""

from __future__ import annotations

from ingrain.errors import OverloadError

_RETRY_AFTER_S = 1.0


class BodyBudget:
    """Counts the bytes of request bodies, from their arrival to the response. Only the event loop uses it.

    Attributes:
        max_bytes: Limit of all bodies together.
        held_bytes: Bytes counted now.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

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
