"""Sends each batch to the least loaded of several Tritons that have its graph, and to another one if that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from ingrain.engine.protocol import Array, Arrays
from ingrain.engine.tritons.server import Server
from ingrain.errors import EngineUnavailableError, IngrainError, ModelNotLoadedError


class Balancer:
    """Chooses a Triton for each batch.

    The least loaded one is that with the fewest tokens of this process's batches; equal ones take turns. A Triton that
    is gone, goes silent or lacks the graph costs the batch another attempt elsewhere: batches change nothing, so they
    may be run twice. Each Triton is tried once.

    Args:
        why_none: Returns the error for a graph that no Triton can be asked for.

    Attributes:
        servers: The Tritons.
    """

    def __init__(self, why_none: Callable[[str], IngrainError]) -> None:
        self.servers: list[Server] = []
        self._why_none = why_none
        self._turn = 0

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``."""
        tokens = next((array.size for array in inputs.values()), 0)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        tried: list[Server] = []
        failure: IngrainError | None = None
        while (server := self.choose(name, tried)) is not None:
            server.begin(tokens)
            try:
                return await server.engine.infer(name, inputs, timeout_s=timeout_s, alone=alone, outputs=outputs)
            except (EngineUnavailableError, ModelNotLoadedError) as error:
                server.lose(name, had_graph=isinstance(error, EngineUnavailableError), now=time.monotonic())
                tried.append(server)
                # That an engine is away says more than that another one lacks the graph.
                if not isinstance(failure, EngineUnavailableError):
                    failure = error
            except asyncio.CancelledError:
                server.give_up(time.monotonic())
                raise
            finally:
                server.end(tokens)
            if deadline is not None:
                timeout_s = max(0.0, deadline - time.monotonic())
        raise failure or self._why_none(name)

    def choose(self, name: str, tried: Collection[Server] = ()) -> Server | None:
        """Return the Triton for the next batch of a graph, None if there is none besides those that were tried."""
        found = [server for server in self.servers if server.takes(name) and server not in tried]
        if not any(server.is_open for server in self.servers):
            # A busy Triton may have missed a look; asking costs no more than the error that would come instead.
            found = [server for server in self.servers if server.has(name) and server not in tried]
        if len(found) < 2:
            return found[0] if found else None
        self._turn = (self._turn + 1) % len(found)
        now = time.monotonic()
        in_turn = found[self._turn :] + found[: self._turn]
        return min(in_turn, key=lambda server: (server.is_leaving, server.rests(now), server.tokens, server.batches))
