"""Finding, starting and listening to the tritonserver of the wheel."""

import asyncio
import importlib.metadata
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ingrain.engine.embedded import owned_names, tritonserver
from ingrain.engine.embedded.tritonserver import TritonFiles, TritonServer, available, environment, find_files
from ingrain.errors import EngineUnavailableError


def test_finds_the_files_without_importing_the_package():
    files = find_files()
    assert isinstance(files, TritonFiles)
    assert os.access(files.executable, os.X_OK)
    assert any(path.is_file() and path.name.startswith("libpython") for path in files.libraries[-1].iterdir())
    program = """
import sys
from ingrain.engine.embedded.tritonserver import available
available()
print("pytriton" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
    assert importlib.metadata.version("nvidia-pytriton")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("sys", "platform", "darwin"), "Linux only"),
        (("sys", "version_info", sys.version_info.__class__ and type("V", (), {"major": 3, "minor": 99})), "3.99"),
    ],
)
def test_says_why_it_cannot_be_used(monkeypatch, change, reason):
    module, name, value = change
    monkeypatch.setattr(getattr(tritonserver, module), name, value)
    assert reason in available()


def test_says_that_the_wheel_is_missing(monkeypatch):
    monkeypatch.setattr(tritonserver, "find_spec", lambda _: None)
    assert ".[triton]" in available()


def test_a_numpy_that_the_stub_misreads_is_told_of_before_anything_is_served(monkeypatch):
    """With it tritonserver starts, loads, and answers every request with arrays of a wrong shape."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.3.5" if name == "numpy" else real(name))
    assert "numpy below 2, not 2.3.5" in available()


def test_keeps_our_secrets_from_triton(monkeypatch):
    for name in ("HF_TOKEN", "INGRAIN_API_KEYS", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    variables = environment(find_files())
    assert "secret" not in variables.values()
    assert variables["PATH"].startswith(str(Path(sys.executable).parent))
    assert "HOME" in variables or "HOME" not in os.environ


def folder_of(server):
    return Path(tempfile.gettempdir()) / server.name


async def nobody() -> None:
    return None


@pytest.mark.slow
async def test_a_taken_port_is_an_error_at_once_and_leaves_nothing(tmp_path, caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = TritonServer(tmp_path, tcp_port=listener.getsockname()[1])
        begun = time.monotonic()
        with pytest.raises(EngineUnavailableError, match="ended with code"):
            await server.wait_until_live(nobody, 20)
        assert time.monotonic() - begun < 15
    assert "already in use" in caplog.text
    await server.stop(1)
    assert not server.exited.cancelled()
    assert not folder_of(server).exists()


@pytest.mark.slow
async def test_silence_is_an_error_in_time(tmp_path):
    server = TritonServer(tmp_path)
    with pytest.raises(EngineUnavailableError, match=r"0\.2 s"):
        await server.wait_until_live(nobody, 0.2)
    await server.stop(10)
    assert server.exited.done()


def test_passes_lines_on_at_their_level(caplog):
    """Chatter is debug, warnings and errors are such, further lines belong to the first, and a start is quiet."""
    caplog.set_level(logging.DEBUG, logger="ingrain.triton")
    log = tritonserver._Log()
    log.add('E1122 20:06:21.360813 5744 server.cc:241] "CudaDriverHelper has not been initialized."')
    log.started = True
    for line in (
        'I1122 20:06:21.363703 5744 grpc_server.cc:2558] "Started"',
        'W1122 20:06:21.363703 5744 pinned_memory_manager.cc:170] "no pinned memory"',
        'W1122 20:06:21.363703 5744 model.cc:1] "careful"',
        'E1122 20:06:21.363703 5744 model_lifecycle.cc:654] "failed to load: 1 error(s):',
        "At: model.py(3): initialize",
        "",
    ):
        log.add(line)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", 'server.cc:241 "CudaDriverHelper has not been initialized."'),
        ("DEBUG", 'grpc_server.cc:2558 "Started"'),
        ("DEBUG", 'pinned_memory_manager.cc:170 "no pinned memory"'),
        ("WARNING", 'model.cc:1 "careful"'),
        ("ERROR", 'model_lifecycle.cc:654 "failed to load: 1 error(s):'),
        ("ERROR", "At: model.py(3): initialize"),
    ]


def test_sweeps_up_after_the_dead_and_never_after_the_living(tmp_path, monkeypatch):
    """What a dead process of this namespace left goes; ours, other namespaces' and strangers' things stay."""
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(owned_names, "SHARED_MEMORY", shared)
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        pass
    ours = owned_names.new_name()
    prefix, namespace, pid, born, token = ours.rsplit("-", 4)
    orphan = f"{prefix}-{namespace}-{dead.pid}-{born}-{token}"
    reused_id = f"{prefix}-{namespace}-{pid}-{int(born) - 1}-{token}"
    foreign = f"{prefix}-{int(namespace) + 1}-{dead.pid}-{born}-{token}"
    for name in (ours, orphan, reused_id, foreign, f"{prefix}-notes"):
        (shared / f"{name}-region").write_text("")
    owned_names.sweep()
    assert {path.name.removesuffix("-region") for path in shared.iterdir()} == {ours, foreign, f"{prefix}-notes"}


def test_private_folder_moves_where_a_socket_fits(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = owned_names.private_folder(owned_names.new_name(), 96)
    try:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()


@pytest.mark.slow
async def test_works_from_a_deep_temporary_folder(tmp_path, monkeypatch):
    """A socket's path is short by law; TMPDIR may not be."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    from ingrain.engine.embedded.engine import EmbeddedEngine

    engine = EmbeddedEngine(tmp_path / "triton")
    await engine.start()
    assert await engine.live()
    await engine.close()


@pytest.mark.slow
async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path):
    from ingrain.engine.embedded.child_process import ChildProcess

    lines: list[str] = []
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
    child = ChildProcess([sys.executable, "-c", stubborn], dict(os.environ), lines.append)
    while not lines:
        await asyncio.sleep(0.02)
    begun = time.monotonic()
    assert await child.stop(0.3) == -9
    assert time.monotonic() - begun < 20
    assert child.exited.done()
