"""Tells the state of one of several Tritons."""

from __future__ import annotations

from ingrain.engine.protocol import ServerCounts, ServerState
from ingrain.engine.tritons.keeper import Keeper


def counts_of(keeper: Keeper) -> ServerCounts:
    """Return the state of a Triton, and what this process has sent to it."""
    server = keeper.server
    return ServerCounts(
        state=_state_of(keeper), graphs=len(server.graphs or ()), batches=server.sent, lost=server.failed
    )


def _state_of(keeper: Keeper) -> ServerState:
    if keeper.server.is_leaving:
        return "UNLOADING"
    if not keeper.server.is_open:
        return "UNAVAILABLE"
    return "LOADING" if keeper.lacks else "READY"
