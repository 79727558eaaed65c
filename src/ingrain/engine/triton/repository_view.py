"""Finds out what a Triton sees of the model repository, and builds the requests that load graphs into it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from ingrain.errors import (
    EngineError,
    EngineSetupError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from ingrain.repository.graph_folder import CONFIGURATION, VERSION
from ingrain.repository.graph_links import link_graph
from ingrain.repository.manifest import Graph
from ingrain.repository.names import key_of_graph
from ingrain.repository.triton_config import CHECKSUM, content_of, from_pbtxt, identity_of

logger = logging.getLogger(__name__)

MESSAGE_LIMIT_BYTES = 2**31 - 1
"""Largest message that Triton's gRPC server accepts and that protobuf can encode."""

Call = Callable[[str, Any, float], Awaitable[Any]]
"""Calls a method of Triton's gRPC service with a request and a timeout in seconds; raises Ingrain's errors."""

# Bytes of a load request besides the files: configuration, names and encoding.
_REQUEST_BYTES = 1024 * 1024
_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 10.0
# Empty folders with these names and the repository's id: Triton lists every folder of its root, loaded or not. No graph
# has such a name.
_GRAPHS_MARK = "_ingrain_graphs_"
_ROOT_MARK = "_ingrain_repository_"
# Parameter in the configuration of a sent graph, by which this server recognises it after a restart.
_REPOSITORY = "ingrain_repository"
_ADVICE = (
    "mount the folder of the model repository in Triton too, at any path, and start Triton with its subfolder `triton` "
    "as --model-repository"
)


class RepositoryView:
    """What a Triton sees of the model repository.

    If Triton's root is the repository's folder ``triton``, it loads graphs by name. If its root is the repository
    itself, links there lead to the graphs. Else Triton gets the files of a graph with the load call, and forgets them
    when it unloads the graph. A shared folder is better for large graphs: sending needs the graph's size several times
    in memory, and happens again whenever Triton restarts.

    Args:
        graphs: Folder of the graphs, ``<repository>/triton``.
        call: Calls Triton.
        index: Returns the lines of Triton's index, with a timeout in seconds.
        as_written: Whether a graph that Triton has with another configuration than the one in the graph's folder, or
            with that of another graph, is an older one. False: what is loaded is served as it is.
    """

    def __init__(
        self,
        graphs: Path,
        call: Call,
        index: Callable[[float], Awaitable[list[Any]]],
        *,
        as_written: bool = False,
    ) -> None:
        self._as_written = as_written
        self._graphs = graphs
        self._call = call
        self._index = index
        self._identity = ""
        self._root: Literal["graphs", "repository", "elsewhere"] = "elsewhere"

    @property
    def is_elsewhere(self) -> bool:
        """Whether Triton does not see the graphs, so that they are sent."""
        return self._root == "elsewhere"

    async def look(self) -> None:
        """Find out where Triton's root is; needed after each start of Triton.

        Raises:
            EngineSetupError: Triton runs, but does not let its clients load graphs.
            EngineError: Triton does not respond.
        """
        await self._check_control()
        self._identity = await asyncio.to_thread(_mark, self._graphs)
        names = await self._names()
        if _GRAPHS_MARK + self._identity in names:
            self._root = "graphs"
            logger.info("Triton's root is the folder of the graphs; it loads them by name")
        elif _ROOT_MARK + self._identity in names:
            self._root = "repository"
            logger.info("Triton's root is the model repository; links in it lead Triton to the graphs")
        else:
            self._root = "elsewhere"
            logger.warning(
                "Triton does not see the model repository, so each graph is sent with the load call, up to %d bytes. "
                "For larger graphs and faster restarts %s.",
                MESSAGE_LIMIT_BYTES,
                _ADVICE,
            )
            for name, size in await asyncio.to_thread(_too_large, self._graphs):
                logger.error("Graph %s has %d bytes, too many to be sent: %s", name, size, _ADVICE)

    async def lists(self, name: str) -> bool:
        """Return whether Triton sees the graph's folder under its name."""
        if self._root == "elsewhere":
            return False
        names = await self._names()
        return name in names or not names  # an index without our marks cannot be read now

    async def is_current(self, graph: Graph) -> bool:
        """Return whether a graph that is ready in Triton is the given one; False: it is an older one of this server.

        Raises:
            EngineError: Another server has loaded another graph under this name.
        """
        if await self.lists(graph.name):
            return not self._as_written or await self._is_as_written(graph.name)
        origin, checksum = await self._origin(graph.name)
        if origin == self._identity and self._as_written:
            return await self._is_as_written(graph.name)
        if checksum == content_of(graph):
            return True
        if origin == self._identity:
            return False
        raise EngineError(
            f"Triton has another graph loaded under the name {graph.name!r}, which is not from this server's model "
            "repository. Unload it there, or give each server a Triton of its own."
        )

    async def may_unload(self, name: str) -> bool:
        """Return whether the graph in Triton is this server's, and not one that another server has loaded."""
        if await self.lists(name):
            return True
        try:
            origin, _ = await self._origin(name)
        except (InferenceError, ModelNotLoadedError, EngineUnavailableError):
            return True  # Triton does not know it, or has unloaded it
        return origin == self._identity

    async def load_request(self, graph: Graph) -> Any:
        """Return the request that loads a graph: by its name, or with its files if Triton does not see them.

        Raises:
            EngineError: The graph is too large to be sent.
        """
        if self._root == "repository":
            await asyncio.to_thread(link_graph, self._graphs, graph.name)
        if await self.lists(graph.name):
            return service_pb2.RepositoryModelLoadRequest(model_name=graph.name)
        return await asyncio.to_thread(_sent, self._graphs / graph.name, graph, self._identity)

    async def _check_control(self) -> None:
        """Check that Triton loads graphs at its clients' request, by unloading one that does not exist."""
        try:
            await self._call(
                "RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(model_name="-"), _TIMEOUT_S
            )
        except (InferenceError, ModelNotLoadedError):
            pass  # it looked for the graph
        except EngineUnavailableError as error:
            await self._call("ServerLive", service_pb2.ServerLiveRequest(), _TIMEOUT_S)
            # Triton answers UNAVAILABLE if it runs without explicit control.
            raise EngineSetupError(
                "Triton answers, but does not load models at a client's request: start it with "
                "--model-control-mode=explicit.",
                retry_after_s=_RETRY_AFTER_S,
            ) from error

    async def _is_as_written(self, name: str) -> bool:
        """Return whether a loaded graph has the layout, the limits and the content that its folder says."""
        content = await asyncio.to_thread(_read_configuration, self._graphs / name)
        written = from_pbtxt(content) if content is not None else None
        if written is None:
            return True  # another program changes it now, and loads it then
        loaded = (await self._call("ModelConfig", service_pb2.ModelConfigRequest(name=name), _TIMEOUT_S)).config
        return identity_of(loaded) == identity_of(written)

    async def _names(self) -> set[str]:
        return {str(line.name) for line in await self._index(_TIMEOUT_S)}

    async def _origin(self, name: str) -> tuple[str | None, str | None]:
        """Return the id of the repository that a loaded graph was sent from, and its checksum; None if not sent."""
        answer = await self._call("ModelConfig", service_pb2.ModelConfigRequest(name=name), _TIMEOUT_S)
        found = {key: str(parameter.string_value) for key, parameter in answer.config.parameters.items()}
        return found.get(_REPOSITORY), found.get(CHECKSUM)


def _mark(graphs: Path) -> str:
    """Return the repository's id, which the names of two empty folders hold; create them if they are missing."""
    if not any(graphs.glob(f"{_GRAPHS_MARK}*")):
        (graphs / f"{_GRAPHS_MARK}{secrets.token_hex(6)}").mkdir(parents=True)
    # Another server may have made one at the same time: both take the first.
    identity = min(graphs.glob(f"{_GRAPHS_MARK}*")).name.removeprefix(_GRAPHS_MARK)
    (graphs.parent / f"{_ROOT_MARK}{identity}").mkdir(exist_ok=True)
    return identity


def _sent(folder: Path, graph: Graph, identity: str) -> Any:
    """Return the request that loads a graph with its configuration and all files of its version folder."""
    files = _files(folder)
    size = sum(path.stat().st_size for path in files)
    if size > MESSAGE_LIMIT_BYTES - _REQUEST_BYTES:
        raise EngineError(
            f"Triton does not see the model repository, and graph {graph.name!r} has {size} bytes, more than a load "
            f"call can carry ({MESSAGE_LIMIT_BYTES}): {_ADVICE}.",
            facts={"bytes": size, "limit": MESSAGE_LIMIT_BYTES},
        )
    config = text_format.Parse((folder / CONFIGURATION).read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    config.parameters[_REPOSITORY].string_value = identity
    if CHECKSUM not in config.parameters:
        config.parameters[CHECKSUM].string_value = content_of(graph)
    request = service_pb2.RepositoryModelLoadRequest(model_name=graph.name)
    request.parameters["config"].string_param = json_format.MessageToJson(config, preserving_proto_field_name=True)
    for path in files:
        request.parameters[f"file:{VERSION}/{path.name}"].bytes_param = path.read_bytes()
    return request


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / VERSION).iterdir() if path.is_file() and not path.name.startswith("."))


def _read_configuration(folder: Path) -> bytes | None:
    try:
        return (folder / CONFIGURATION).read_bytes()
    except FileNotFoundError:
        return None


def _too_large(graphs: Path) -> list[tuple[str, int]]:
    """Return the graphs that cannot be sent, with their sizes in bytes."""
    sizes = []
    for folder in graphs.iterdir():
        if key_of_graph(folder.name) is not None:
            with suppress(OSError):  # a damaged folder says so when its model is loaded
                sizes.append((folder.name, sum(path.stat().st_size for path in _files(folder))))
    return [(name, size) for name, size in sizes if size > MESSAGE_LIMIT_BYTES - _REQUEST_BYTES]
