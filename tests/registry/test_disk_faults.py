"""A disk that is full or gone: a change fails before anything has changed, and names the disk; what serves goes on."""

import asyncio
import resource
from contextlib import contextmanager

import httpx
import pytest
from registry_server import RegistryServer

from ingrain.errors import DiskFullError, MachineError, SourceNotFoundError
from ingrain.registry import reconciler
from ingrain.repository.models_to_load import ModelRef, read_desired, write_desired
from planes import running_planes
from small_disks import full, mounted, read_only

A, B = ModelRef(name="org/a"), ModelRef(name="org/b")


@contextmanager
def no_bytes_left():
    """Let this process write no byte to a file, as on a full disk; the error is of that kind (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_disk(root):
    """Take the repository away, as a disk that is no longer mounted."""
    away = root.with_name("away")
    root.rename(away)
    try:
        yield
    finally:
        away.rename(root)


def snapshot(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def until(holds) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        yield disk


FAULTS = {
    "full": (lambda root: full(root), "disk_full"),
    "read-only": (lambda root: read_only(root.parent), "disk_unusable"),
    "no byte to write": (lambda _: no_bytes_left(), "disk_full"),
    "gone": (no_disk, "disk_unusable"),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
async def test_a_change_fails_before_anything_changes(small_disk, fault, expected):
    """Unload dropped the model and answered 500 while the list still named it."""
    root = small_disk / "repository"
    root.mkdir()
    async with running_planes(root) as planes:
        await planes.load()
        await planes.load("org/stored")
        (await planes.model.post("/unload_model", json={"name": "org/stored"})).raise_for_status()
        before, loads = snapshot(root), list(planes.engine.loads)
        calls: list[tuple[str, str, dict[str, str]]] = [
            ("POST", "/unload_model", {"name": "org/model"}),
            ("DELETE", "/delete_model", {"name": "org/model"}),
            ("POST", "/tune_model", {"name": "org/model"}),
            ("POST", "/reset_tuning", {"name": "org/model"}),
            ("POST", "/load_model", {"name": "org/stored", "library": "sentence_transformers"}),
            ("POST", "/load_model", {"name": "org/new", "library": "sentence_transformers"}),
        ]
        answers: list[httpx.Response] = []
        with fault(root):
            for method, path, body in calls:
                answers.append(await planes.model.request(method, path, json=body))
                assert (await planes.embed("red")).status_code == 200
        for answer, (_, path, _) in zip(answers, calls, strict=True):
            assert answer.json()["error"]["code"] == expected, (path, answer.text)
            assert answer.status_code == (507 if expected == "disk_full" else 503)
            assert "disk" in answer.json()["message"]
        assert snapshot(root) == before
        assert planes.engine.loads == loads
        listed = (await planes.model.get("/loaded_models")).json()["models"]
        assert [model["name"] for model in listed] == ["org/model"]
        for method, path, body in calls[2:] + calls[:2]:
            answer = await planes.model.request(method, path, json=body)
            assert answer.status_code in (200, 404), (path, answer.text)  # deleted after it was unloaded: 200
        assert (await planes.embed("red")).status_code == 404


async def test_a_list_that_cannot_be_written_after_the_load_takes_the_graphs_out_again(tmp_path, monkeypatch):
    async with RegistryServer(tmp_path) as server:
        check = server.registry.repository.check_writable
        monkeypatch.setattr(server.registry.repository, "check_writable", lambda: None)
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await server.registry.unload("org/a")
        with no_bytes_left(), pytest.raises(DiskFullError):
            await server.registry.load(A)
        assert not await server.engine.ready(graph.name)
        assert server.registry.statuses() == []
        check()


@pytest.mark.parametrize("content", [b"", b"[{", b"{}", b"[1]", b"\xff\xfe", b"[null]", b'"x"'])
async def test_a_damaged_list_is_set_aside_and_the_server_starts(tmp_path, content):
    write_desired(tmp_path, [A])
    (tmp_path / "desired.json").write_bytes(content)
    async with RegistryServer(tmp_path, [B]) as server:
        await server.until_ready("org/b")
        assert read_desired(tmp_path) == (B,)
        (kept,) = tmp_path.glob("desired.json.damaged-*")
        assert kept.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"[{", None])
async def test_a_list_that_is_damaged_or_lost_while_servers_run_is_written_again(tmp_path, content, monkeypatch):
    """Nobody takes it for an empty list and unloads everything."""
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    async with RegistryServer(tmp_path) as one, RegistryServer(tmp_path) as two:
        await one.registry.load(A)
        await two.until_ready("org/a")
        path = tmp_path / "desired.json"
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        for _ in range(5):
            await one.registry.refresh()
            await two.registry.refresh()
        assert read_desired(tmp_path) == (A,)
        assert one.registry.get("org/a")
        assert two.registry.get("org/a")
        await two.registry.load(B)
        await one.until_ready("org/b")
        assert read_desired(tmp_path) == (A, B)


async def test_a_list_that_cannot_be_read_at_the_start_is_read_later(tmp_path, monkeypatch):
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(A)
    path = tmp_path / "desired.json"
    content = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # it exists, and reading it fails with EIO
    async with RegistryServer(tmp_path, [B]) as server:
        await until(lambda: [status.state for status in server.registry.statuses()] != ["LOADING"])
        with pytest.raises(MachineError):
            await server.registry.unload("org/b")
        path.unlink()
        path.write_bytes(content)
        await server.until_ready("org/a")
        await server.until_ready("org/b")


async def test_entries_of_a_newer_ingrain_are_left_alone(tmp_path):
    (tmp_path / "desired.json").write_text('[{"name": "org/x", "library": "library_of_2031"}, {"name": "org/a"}]')
    async with RegistryServer(tmp_path) as server:
        await server.until_ready("org/a")
        await server.registry.unload("org/a")
        assert "library_of_2031" in (tmp_path / "desired.json").read_text()


@pytest.mark.parametrize("what", ["graph", "file"])
async def test_a_deleted_graph_that_comes_back_heals(tmp_path, monkeypatch, what):
    """Though its source is gone, so that it cannot be exported again."""
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(A)
        await server.registry.load(B)
        (graph,) = server.registry.get("org/a").manifest.graphs
        path = server.registry.repository.locate_graph(graph)
        if what == "graph":
            path = path.parents[1]
        path.rename(tmp_path / "gone")
        server.export.error = SourceNotFoundError("It is gone.")
        server.engine.die()
        server.engine.come_back()
        await until(lambda: server.registry.status("org/a", None, None).state == "UNAVAILABLE")
        await server.until_ready("org/b")
        (tmp_path / "gone").rename(path)
        await server.until_ready("org/a")


async def test_a_graph_that_comes_back_ends_an_export_that_waits_for_its_source(tmp_path, monkeypatch):
    monkeypatch.setattr(reconciler, "_RECONCILE_EVERY_S", 0.05)
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        path = server.registry.repository.locate_graph(graph)
        path.rename(tmp_path / "gone")
        server.export.hold = asyncio.Event()
        server.engine.die()
        server.engine.come_back()
        await until(lambda: len(server.export.runs) == 2)
        (tmp_path / "gone").rename(path)
        await server.until_ready("org/a")


@pytest.mark.parametrize("harm", ["empty", "a folder in its place", "a link to itself", "a file in the folder's place"])
async def test_one_models_broken_folder_does_not_hinder_the_others(tmp_path, harm):
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(A)
        await server.registry.load(B)
        folder = tmp_path / "models" / A.key
    manifest = folder / "manifest.json"
    manifest.unlink()
    if harm == "empty":
        manifest.touch()
    elif harm == "a folder in its place":
        manifest.mkdir()
    elif harm == "a link to itself":
        manifest.symlink_to(manifest)
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.touch()
    (tmp_path / "staging" / "odd.lock").mkdir()
    async with RegistryServer(tmp_path, models=None) as server:
        server.export.error = SourceNotFoundError("It is gone.")
        await server.registry.start()
        await server.until_ready("org/b")
        await until(lambda: server.registry.status("org/a", None, None).state == "UNAVAILABLE")
        statuses = await server.registry.repository_statuses()
        assert {status.name: status.state for status in statuses}["org/b"] == "READY"
        server.export.error = None
        assert await server.registry.load(A)
        assert server.registry.repository.find(A.key) is not None
