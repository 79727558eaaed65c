"""`ingrain load` follows an operation of the server: its progress, its failure, its end by Ctrl-C, an older server."""

import asyncio
import signal
import sys

import pytest

from client_api import in_thread
from ingrain.cli import load_operation
from ingrain.cli.main import main
from ingrain.errors import SourceNotFoundError
from planes import FakeExport, running_planes


@pytest.fixture
async def slow(tmp_path, monkeypatch):
    """Both planes, whose conversions wait until ``hold`` is set."""
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        monkeypatch.setenv("INGRAIN_INFERENCE_URL", str(planes.inference.base_url))
        monkeypatch.setenv("INGRAIN_MODEL_URL", str(planes.model.base_url))
        planes.export = export
        yield planes
        export.hold.set()


async def started(*arguments):
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ingrain", "load", *arguments, stdout=pipe, stderr=pipe
    )


async def the_operation(planes):
    """Return the one operation, once it is there and converts."""
    async with asyncio.timeout(60):
        while True:
            found = (await planes.model.get("/operations")).json()["operations"]
            if found and found[0]["phase"] == "export":
                return found[0]
            await asyncio.sleep(0.05)


async def test_without_a_terminal_each_phase_is_a_line_and_is_repeated(slow, capfd, monkeypatch):
    monkeypatch.setattr(load_operation, "_POLL_EVERY_S", 0.01)
    monkeypatch.setattr(load_operation, "_LINE_EVERY_S", 0.05)
    loading = asyncio.create_task(in_thread(lambda: main(["load", "org/new"])))
    await the_operation(slow)
    await asyncio.sleep(0.5)
    slow.export.hold.set()
    assert await loading == 0
    printed, told = capfd.readouterr()
    assert printed == "Model org/new is loaded.\n"
    lines = [line for line in told.splitlines() if line.startswith("Loading org/new: ")]
    assert "Loading org/new: converting" in lines
    assert "Loading org/new: converting 1 of 4 graphs" in lines


async def test_on_a_terminal_a_line_has_a_bar(slow, capfd, monkeypatch):
    monkeypatch.setattr(load_operation, "_POLL_EVERY_S", 0.01)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    loading = asyncio.create_task(in_thread(lambda: main(["load", "org/new"])))
    await the_operation(slow)
    await asyncio.sleep(0.2)
    slow.export.hold.set()
    assert await loading == 0
    told = capfd.readouterr().err
    assert "converting [######------------------] 1 of 4 graphs" in told
    assert told.endswith("\r\033[K")


async def test_ctrl_c_cancels_the_load(slow):
    process = await started("org/new")
    operation = await the_operation(slow)
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 130
    assert b"The load of org/new is cancelled." in told
    assert b"Traceback" not in told
    assert (await slow.model.get(f"/operations/{operation['id']}")).json()["state"] == "cancelled"


async def test_ctrl_c_leaves_a_load_that_another_request_began(slow):
    body = {"name": "org/new", "library": "sentence_transformers", "wait": False}
    await slow.model.post("/load_model", json=body)
    operation = await the_operation(slow)
    process = await started("org/new")
    await process.stderr.readuntil(b"converting")
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 130
    assert f"POST /operations/{operation['id']}/cancel".encode() in told
    assert (await slow.model.get(f"/operations/{operation['id']}")).json()["state"] == "running"


async def test_an_error_that_stays_is_told_at_once(slow, capfd):
    slow.export.error = SourceNotFoundError("The hub has no model 'org/absent'.", param="name")
    slow.export.hold.set()
    assert await in_thread(lambda: main(["load", "org/absent"])) == 1
    assert len(slow.export.runs) == 1
    assert capfd.readouterr().err.endswith("ingrain: The hub has no model 'org/absent'.\n")


async def test_a_server_without_operations_is_asked_as_before(slow, capfd, monkeypatch):
    slow.export.hold.set()
    monkeypatch.setattr("ingrain.client.sync.operations.Operations.operations", absent)
    assert await in_thread(lambda: main(["load", "org/new"])) == 0
    assert capfd.readouterr().out == "Model org/new is loaded.\n"


def absent(client):
    """Ask for a path that the server does not have, as that of the operations on an older server."""
    return client.operation("../no-such-route")
