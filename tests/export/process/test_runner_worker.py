"""The parent's side of an export, with the real export process and a hub that holds it in the middle of a download."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import export_in_process as in_process
import pytest
from msgspec.structs import replace

from hub_server import Cut, HubServer, Silence
from ingrain.errors import (
    ExportKilledError,
    InvalidRequestError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

pytestmark = pytest.mark.slow

MODEL = {"config.json": b"{}", "modules.json": b"[]", "model.safetensors": b"w" * 1_000_000}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    (tmp_path / "output").mkdir()
    return ExportJob(name="org/model", library="sentence_transformers", output=str(tmp_path / "output"))


def hold(hub: HubServer) -> None:
    """Let the download of the weights stop in the middle and stay open."""
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Silence(after_bytes=500_000, seconds=120))


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that still run."""
    try:
        pids = {int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in read(task / "children").split()}
    except OSError:
        return set()
    return {child for child in pids if is_alive(child)}


def workers(pid: int) -> set[int]:
    return {child for child in children(pid) if "ingrain.export.process.worker" in read(Path(f"/proc/{child}/cmdline"))}


def is_alive(pid: int) -> bool:
    """Return True while a process runs; a zombie does not."""
    return read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1] not in (["Z"], [])


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


async def until(condition: Callable[[], object], within_s: float) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@asynccontextmanager
async def exporting(
    job: ExportJob, hub: HubServer, **limits: float
) -> AsyncIterator[tuple[asyncio.Task[Manifest], int]]:
    """Start an export, and go on when its weights are being downloaded; gives the task and the process."""
    task = asyncio.create_task(run_export(job, timeout_s=120, on_progress=lambda progress: None, grace_s=2, **limits))
    try:
        await until(lambda: hub.gets("model.safetensors") or task.done(), within_s=60)
        (pid,) = workers(os.getpid())
        yield task, pid
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_killed_worker_is_told_as_killed(hub: HubServer, job: ExportJob) -> None:
    hold(hub)
    async with exporting(job, hub) as (task, pid):
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ExportKilledError, match=r"SIGKILL.*memory"):
            await asyncio.wait_for(task, 60)


async def test_cancelled_export_leaves_no_process(hub: HubServer, job: ExportJob) -> None:
    hold(hub)
    async with exporting(job, hub) as (task, pid):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)
        assert not is_alive(pid)


async def test_download_that_stands_still_ends_the_worker(
    hub: HubServer, job: ExportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "60")  # else the download itself tries again first
    hold(hub)
    async with exporting(job, hub, stall_s=12) as (task, pid):
        with pytest.raises(SourceUnavailableError, match="no progress"):
            await asyncio.wait_for(task, 60)
        assert not is_alive(pid)


@pytest.mark.alone
async def test_worker_ends_with_a_killed_parent(hub: HubServer, tmp_path: Path, job: ExportJob) -> None:
    """The server dies of kill -9 in the middle of an export: two seconds later there is no export either."""
    hold(hub)
    code = f"""
import asyncio
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
job = ExportJob(name="org/model", library="sentence_transformers", output={job.output!r})
asyncio.run(run_export(job, timeout_s=60, on_progress=lambda progress: None))
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    try:
        await until(lambda: hub.gets("model.safetensors"), within_s=60)
        (worker,) = workers(parent.pid)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: not is_alive(worker), within_s=2)


@pytest.mark.parametrize(
    ("name", "token", "error"),
    [
        ("org/absent", None, SourceNotFoundError),
        ("org/gated", None, SourceForbiddenError),
        ("org/gated", "hf_wrong", SourceForbiddenError),
        ("../secret", None, InvalidRequestError),
    ],
)
async def test_errors_of_the_source_cross_the_process_as_they_are(
    hub: HubServer, job: ExportJob, name: str, token: str | None, error: type[Exception]
) -> None:
    hub.add("org/gated", MODEL, gated=True)
    with pytest.raises(error) as caught:
        await run_export(replace(job, name=name, token=token), timeout_s=60, on_progress=lambda progress: None)
    assert type(caught.value) is error


async def test_model_goes_from_the_hub_to_a_manifest(
    exported: Callable[[str], in_process.Exported],
    hub: HubServer,
    job: ExportJob,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A small BERT, bare name, gated, cut halfway: token, resumed download, graph and proof in one go."""
    folder = exported("BERT").output.parent / "models" / "model"
    commit = hub.add("sentence-transformers/tiny", folder, gated=True)
    hub.fail("model.safetensors", Cut(after_bytes=20_000))
    seen: list[Progress] = []
    manifest = await run_export(replace(job, name="tiny", token=hub.token), timeout_s=250, on_progress=seen.append)
    assert (manifest.name, manifest.commit, manifest.embedding_size) == ("tiny", commit, 32)
    assert manifest.verification["text_encoder"].max_abs_diff < 1e-4
    assert [request.headers.get("range") for request in hub.gets("model.safetensors")] == [None, "bytes=16384-"]
    phases = [event.phase for event in seen]
    changes = [phase for index, phase in enumerate(phases) if phases[index - 1 : index] != [phase]]
    assert changes == ["download", "read", "export", "verify"]
    assert all(event.unit == "cases" and 0 <= event.done < event.total for event in seen if event.phase == "verify")
    assert (Path(job.output) / "model" / "manifest.json").is_file()
    assert (Path(job.output) / manifest.graphs[0].name / "1" / "model.onnx").is_file()
    assert "not an event" not in caplog.text  # what libraries print goes elsewhere
