"""A Triton with any root: what it sees of the repository, and how graphs get into it."""

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import graphs
from container_triton import ContainerTriton
from ingrain.engine.triton import repository_view
from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import EngineError, EngineSetupError
from ingrain.repository.checksums import describe_file
from ingrain.repository.execution_policy import Backend, ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder
from ingrain.repository.manifest import Graph
from ingrain.repository.store import Repository
from processes import free_port

pytestmark = pytest.mark.slow

NAME = "tiny-0123456789.text_encoder"
ROOTS = {"graphs": "repository/triton", "repository": "repository", "nothing": "elsewhere"}
IDS = np.array([[1, 2, 3]])
MASK = np.ones_like(IDS)


def make_repository(folder: Path) -> Repository:
    repository = Repository(folder)
    repository.prepare()
    return repository


def add_graph(repository: Repository, *, seed: int = 0, backend: Backend = "onnxruntime") -> Graph:
    """Write a graph with everything beside it, and return its description with checksums."""
    folder = repository.triton / NAME
    graphs.write_text_graph(folder / "1" / "model.onnx", seed=seed)
    graph = graphs.describe_graph(NAME, folder / "1" / "model.onnx")
    write_graph_folder(folder, graph, backend, ExecutionPolicy(max_batch_size=16, instance_kind="KIND_CPU"))
    return Graph(
        name=graph.name,
        role=graph.role,
        inputs=graph.inputs,
        outputs=graph.outputs,
        files=(describe_file(folder, "1/model.onnx"),),
    )


@dataclass
class Machine:
    """A Triton, and the folder that it and the repositories lie in."""

    triton: ContainerTriton
    port: int
    folder: Path

    def repository(self, name: str = "repository") -> Repository:
        return make_repository(self.folder / name)

    @contextlib.asynccontextmanager
    async def engine(self, repository: Repository):
        engine = TritonEngine(f"127.0.0.1:{self.port}", graphs=repository.triton, watch_interval_s=0.2)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


@contextlib.contextmanager
def machine(folder: Path, root: str, *options: str):
    """Run a Triton whose root is a folder below ``folder``."""
    make_repository(folder / "repository")
    (folder / root).mkdir(exist_ok=True)
    port = free_port()
    arguments = (options,) if options else ()
    with ContainerTriton(folder / root, folder, port, *arguments) as triton:
        yield Machine(triton, port, folder)


async def check_vector(engine: TritonEngine, seed: int = 0) -> None:
    outputs = await engine.infer(NAME, {"input_ids": IDS, "attention_mask": MASK}, timeout_s=30)
    np.testing.assert_allclose(
        outputs["sentence_embedding"], graphs.expected_embedding(IDS, MASK, seed), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "backend"),
    [("graphs", "onnxruntime"), ("repository", "onnxruntime"), ("nothing", "onnxruntime"), ("nothing", "python")],
)
async def test_a_graph_is_loaded_served_and_loaded_again_after_a_restart(kind, backend, tmp_path):
    """Whatever Triton's root is; the watch sees a restart, and nothing else, though Triton lists no sent graph."""
    with machine(tmp_path, ROOTS[kind]) as there:
        repository = there.repository()
        graph = add_graph(repository, backend=backend)
        async with there.engine(repository) as engine:
            back = asyncio.Event()
            engine.on_restart(back.set)
            await engine.unload(NAME)  # before the first load, as when its configuration is written
            await engine.load(graph)
            await check_vector(engine)
            assert (NAME in {line.name for line in await engine._index(5)}) == (kind != "nothing")
            await asyncio.sleep(1)
            assert not back.is_set()

            there.triton.kill()
            there.triton.start()
            await asyncio.wait_for(back.wait(), 60)
            await engine.load(graph)
            await check_vector(engine)

            await engine.unload(NAME)
            assert not await engine.ready(NAME)
            await engine.load(graph)
            await check_vector(engine)


async def test_a_sent_graph_replaces_an_older_one_of_the_same_repository(tmp_path):
    """After a restart of the server with another export under the same name, the new one is served."""
    with machine(tmp_path, "elsewhere") as there:
        repository = there.repository()
        async with there.engine(repository) as engine:
            await engine.load(add_graph(repository, seed=0))
        async with there.engine(repository) as engine:
            await engine.load(add_graph(repository, seed=1))
            await check_vector(engine, seed=1)


async def test_a_graph_that_another_server_has_sent_is_neither_served_nor_unloaded(tmp_path):
    """Two servers without a common folder and one Triton: the same graph is shared, another one is an error."""
    with machine(tmp_path, "elsewhere") as there:
        ours, theirs = there.repository(), there.repository("theirs")
        graph = add_graph(ours, seed=0)
        async with there.engine(ours) as engine, there.engine(theirs) as other:
            await engine.load(graph)
            await other.load(add_graph(theirs, seed=0))
            await check_vector(other)
            await other.unload(NAME)
            await check_vector(engine)
            with pytest.raises(EngineError, match="another graph"):
                await other.load(add_graph(theirs, seed=1))
            await check_vector(engine)


async def test_a_graph_of_the_repository_that_triton_sees_is_not_another_servers_to_unload(tmp_path):
    """One server shares its folder with Triton; another has a different graph under the same name."""
    with machine(tmp_path, "repository/triton") as there:
        ours, theirs = there.repository(), there.repository("theirs")
        graph = add_graph(ours, seed=0)
        async with there.engine(ours) as engine, there.engine(theirs) as other:
            await engine.load(graph)
            await other.unload(NAME)
            with pytest.raises(EngineError, match="another graph"):
                await other.load(add_graph(theirs, seed=1))
            await check_vector(engine)


async def test_a_graph_that_is_too_large_to_be_sent_is_told_with_what_to_share(tmp_path, monkeypatch, caplog):
    """At the start for what is stored, and when it is loaded; the limit itself is Triton's."""
    monkeypatch.setattr(repository_view, "MESSAGE_LIMIT_BYTES", repository_view._REQUEST_BYTES + 100)
    with machine(tmp_path, "elsewhere") as there:
        repository = there.repository()
        graph = add_graph(repository)
        async with there.engine(repository) as engine:
            assert f"Graph {NAME} has" in caplog.text
            with pytest.raises(EngineError, match=r"mount the folder of the model repository in Triton"):
                await engine.load(graph)


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_a_triton_without_explicit_control_is_told_at_the_start(mode, tmp_path):
    with machine(tmp_path, "elsewhere", f"--model-control-mode={mode}") as there:
        engine = TritonEngine(f"127.0.0.1:{there.port}", graphs=there.repository().triton)
        with pytest.raises(EngineSetupError, match="--model-control-mode=explicit"):
            await engine.start()


async def test_a_broken_link_in_tritons_root_does_not_keep_graphs_out(tmp_path):
    """Triton then fails to list its root; the graph is sent."""
    with machine(tmp_path, "elsewhere") as there:
        (tmp_path / "elsewhere" / "broken").symlink_to("nowhere")
        repository = there.repository()
        async with there.engine(repository) as engine:
            await engine.load(add_graph(repository))
            await check_vector(engine)
            await engine.unload(NAME)
            assert not await engine.ready(NAME)


async def test_a_copy_of_the_repository_is_not_taken_for_the_repository(tmp_path):
    """Triton's root looks like ours, but has not the graph: it is sent."""
    with machine(tmp_path, "copy") as there:
        repository = there.repository()
        async with there.engine(repository):
            pass
        shutil.copytree(repository.triton, tmp_path / "copy", dirs_exist_ok=True)
        async with there.engine(repository) as engine:
            await engine.load(add_graph(repository))
            await check_vector(engine)
