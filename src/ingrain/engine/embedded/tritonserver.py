"""Finds the tritonserver of the ``nvidia-pytriton`` package and starts it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ingrain.engine.embedded import owned_names
from ingrain.engine.embedded.child_process import ChildProcess
from ingrain.engine.embedded.process_tree import Children, Fault
from ingrain.errors import EngineUnavailableError
from ingrain.install_hint import install_hint
from ingrain.repository.object_storage.store import CREDENTIALS

logger = logging.getLogger("ingrain.triton")

_LEVELS = {"I": logging.DEBUG, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_LOG_LINE = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ \d+ (?P<where>[\w.]+:\d+)\] (?P<text>.*)")
# On a machine without a GPU this file warns about pinned memory at every load.
_CHATTER = "pinned_memory_manager.cc"
_EXIT_TIMEOUT_S = 5
_POLL_S = 0.03
_TAIL_LINES = 40
# A UNIX socket's path has at most 107 characters; Triton adds a port to the name.
_SOCKET_NAME = "grpc"
_SOCKET_PORT = 8001
_LONGEST_FOLDER = 107 - len(f"/{_SOCKET_NAME}:{_SOCKET_PORT}")
# Prefixes of variables that Triton does not need and that may hold secrets.
_WITHHELD = ("INGRAIN_", "HF_", "HUGGING", *CREDENTIALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonFiles:
    """Paths of an installed tritonserver.

    Attributes:
        executable: The server program.
        python_backend: Files of the Python backend, including the stub for this Python version.
        libraries: Folders for ``LD_LIBRARY_PATH``.
    """

    executable: Path
    python_backend: tuple[Path, ...]
    libraries: tuple[Path, ...]


def available() -> str | None:
    """Return why the embedded Triton cannot be used, None if it can."""
    found = find_files()
    return found if isinstance(found, str) else None


def find_files() -> TritonFiles | str:
    """Return the paths of the installed tritonserver, or the reason why it cannot be used."""
    if sys.platform != "linux":
        return f"Triton runs on Linux only, not on {sys.platform!r}"
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        return f"the package nvidia-pytriton, which ships tritonserver, is not installed ({install_hint('triton')})"
    if reason := _misread_arrays():
        return reason
    package = Path(spec.submodule_search_locations[0])
    root = package / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backend = root / "backends" / "python"
    python_backend = (
        backend / "libtriton_python.so",
        backend / "triton_python_backend_utils.py",
        root / "python_backend_stubs" / version / "triton_python_backend_stub",
    )
    executable = root / "bin" / "tritonserver"
    for path in (executable, *python_backend):
        if not path.is_file():
            return f"the installed nvidia-pytriton does not include {path.name} for Python {version}"
    libpython = _find_libpython()
    if libpython is None:
        return f"this Python ({sys.executable}) has no shared libpython, which Triton's Python backend needs"
    return TritonFiles(
        executable=executable,
        python_backend=python_backend,
        libraries=(package.parent / "nvidia_pytriton.libs", libpython.parent),
    )


def _misread_arrays() -> str | None:
    """Return why Triton's stub is incompatible with this numpy, None if it is not. It would return wrong results."""
    numpy = metadata.version("numpy")
    try:
        needs = metadata.requires("nvidia-pytriton") or []
    except metadata.PackageNotFoundError:
        return None
    if any(need.startswith("numpy<2") for need in needs) and int(numpy.partition(".")[0]) >= 2:
        return f"the installed nvidia-pytriton needs a numpy below 2, not {numpy} (`pip install 'numpy<2'`)"
    return None


def _find_libpython() -> Path | None:
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib"]
    folders += [f"/usr/lib/{multiarch}", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    return next((path for folder in folders if folder and (path := Path(folder) / name).is_file()), None)


def command_line(
    files: TritonFiles, *, repository: Path, folder: Path, name: str, address: str, port: int
) -> list[str]:
    """Return the command line of a tritonserver that loads graphs on request and serves only gRPC.

    Args:
        files: From ``find_files``.
        repository: Triton's model repository.
        folder: Folder that holds ``backends``.
        name: Id of the server, and prefix of its shared memory regions.
        address: Host, or ``unix:`` and a path.
        port: TCP port; for a UNIX socket, a number that Triton appends to the path.
    """
    return [
        os.fspath(files.executable),
        f"--id={name}",
        f"--model-repository={repository}",
        f"--backend-directory={folder / 'backends'}",
        f"--cache-directory={folder}",
        f"--repoagent-directory={folder}",
        f"--grpc-address={address}",
        f"--grpc-port={port}",
        "--allow-http=false",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        # A graph that fails to load must neither end the server nor make it unready.
        "--strict-readiness=false",
        "--exit-on-error=false",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
        f"--backend-config=python,shm-region-prefix-name={name}-",
    ]


def _metrics_flags(port: int) -> list[str]:
    if not port:
        return ["--allow-metrics=false"]
    return ["--allow-metrics=true", "--metrics-address=127.0.0.1", f"--metrics-port={port}"]


def environment(files: TritonFiles) -> dict[str, str]:
    """Return the environment variables with which tritonserver's Python stubs find the packages of this Python."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(_WITHHELD)}
    libraries = [*map(os.fspath, files.libraries), variables.get("LD_LIBRARY_PATH", "")]
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    # The stub's interpreter locates its environment by the first python3 in PATH.
    variables["PATH"] = os.pathsep.join(
        filter(None, [os.fspath(Path(sys.executable).parent), variables.get("PATH", "")])
    )
    # By default each of Triton's hundred threads has a heap, and keeps the memory that it once needed.
    variables.setdefault("MALLOC_ARENA_MAX", "2")
    site_packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    elsewhere = [folder for folder in _folders_of("numpy", "onnxruntime") if folder not in site_packages]
    if elsewhere:
        variables["PYTHONPATH"] = os.pathsep.join([*elsewhere, *filter(None, [variables.get("PYTHONPATH")])])
    return variables


def _folders_of(*packages: str) -> list[str]:
    specs = [find_spec(package) for package in packages]
    folders = [Path(spec.origin).parent.parent for spec in specs if spec is not None and spec.origin]
    return list(dict.fromkeys(map(os.fspath, folders)))


class TritonServer:
    """A tritonserver that runs as a child process.

    It listens on a UNIX socket in a private folder, which no other user can reach and which needs no free port. With
    ``tcp_port`` it listens on loopback.

    Args:
        repository: Triton's model repository.
        tcp_port: Port on 127.0.0.1 to listen on instead of the socket.
        metrics_port: Port on 127.0.0.1 for the metrics; 0 for none.

    Attributes:
        target: gRPC target of the server.
        name: Id of the server.
    """

    def __init__(self, repository: Path, *, tcp_port: int | None = None, metrics_port: int = 0) -> None:
        files = find_files()
        if isinstance(files, str):
            raise EngineUnavailableError(f"the embedded Triton cannot be used: {files}")
        self.name = owned_names.new_name()
        self._folder = owned_names.private_folder(self.name, _LONGEST_FOLDER)
        backend = self._folder / "backends" / "python"
        backend.mkdir(parents=True)
        for path in files.python_backend:
            (backend / path.name).symlink_to(path)
        address, port = f"unix:{self._folder / _SOCKET_NAME}", _SOCKET_PORT
        if tcp_port is not None:
            address, port = "127.0.0.1", tcp_port
        self.target = f"{address}:{port}"
        self._log = _Log()
        command = command_line(
            files, repository=repository, folder=self._folder, name=self.name, address=address, port=port
        )
        command += _metrics_flags(metrics_port)
        self._process = ChildProcess(command, environment(files), self._log.add)
        self._process.exited.add_done_callback(lambda _: self._clean())
        self._children = Children(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def exited(self) -> asyncio.Future[int]:
        """Future that holds the exit code once the server has ended."""
        return self._process.exited

    async def wait_until_live(self, server_name: Callable[[], Awaitable[str | None]], timeout_s: float) -> None:
        """Wait until the server responds.

        Args:
            server_name: Returns the id of the server at ``target``, None if no server responds.
            timeout_s: Seconds to wait.

        Raises:
            EngineUnavailableError: The server ended, or did not respond in time. The log has its last lines.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.exited.done():
                self._log.report_failure()
                code = self.exited.result()
                raise EngineUnavailableError(f"tritonserver ended with code {code} at its start; its log says why")
            if await server_name() == self.name:
                self._log.started = True
                return
            await asyncio.sleep(_POLL_S)
        self._log.report_failure()
        raise EngineUnavailableError(f"tritonserver did not answer within {timeout_s:g} s of its start")

    def stub_faults(self, *, thorough: bool = True) -> dict[int, Fault]:
        """Return the faults of Python stubs by their PIDs. Triton neither restarts a stub nor frees its graph.

        Args:
            thorough: Whether to list the server's children anew. False is cheap: it only checks those found last time.
        """
        return self._children.faults() if thorough else self._children.faults_of_known()

    def graph_of(self, stub: int) -> str | None:
        """Return the name of the graph that a stub runs, None if ``stub_faults`` has not seen it alive."""
        # The stub's arguments include the path of NAME/1/model.py.
        paths = [Path(word) for word in self._children.command(stub) if word.endswith("/model.py")]
        return paths[0].parent.parent.name if paths else None

    def stubs_of(self, graph: str) -> list[int]:
        """Return the PIDs of the Python stubs that run a graph, as far as ``stub_faults`` has seen them."""
        return [stub for stub in self._children.known() if self.graph_of(stub) == graph]

    def kill(self) -> None:
        """Kill the server at once."""
        self._process.signal(signal.SIGKILL)

    async def stop(self, deadline_s: float) -> None:
        """Stop the server, kill it after ``deadline_s`` seconds, and remove its files and shared memory."""
        await self._process.stop(deadline_s)
        self._clean()

    def _clean(self) -> None:
        owned_names.remove_named(self.name)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Log:
    """Logs Triton's output: its information at level debug, its warnings and errors at their own level.

    During the start everything is logged at level debug: without a GPU Triton logs errors that are harmless.
    """

    def __init__(self) -> None:
        self.started = False
        self._level = logging.DEBUG
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def add(self, line: str) -> None:
        match = _LOG_LINE.match(line)
        if match:
            self._level = logging.DEBUG if match["where"].startswith(_CHATTER) else _LEVELS[match["level"]]
            line = f"{match['where']} {match['text']}"
        if not line.strip():
            return
        self._tail.append(line)
        # A line without a header continues the previous one.
        logger.log(self._level if self.started else logging.DEBUG, "%s", line)

    def report_failure(self) -> None:
        logger.error("tritonserver did not start; its last lines were:\n%s", "\n".join(self._tail))
