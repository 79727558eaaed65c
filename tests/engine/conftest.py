import pytest

import graphs
from event_loops import pytest_asyncio_loop_factories
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder

__all__ = ["pytest_asyncio_loop_factories"]


def add_graph(root, engine_backend, name="tiny", *, iterations=0, instances=1):
    """Write a small text graph with everything that Triton wants into a repository, and return its description."""
    path = root / name / "1" / "model.onnx"
    graphs.write_text_graph(path, iterations=iterations)
    graph = graphs.describe_graph(name, path)
    policy = ExecutionPolicy(max_batch_size=64, instance_kind="KIND_CPU", instances=instances)
    write_graph_folder(root / name, graph, engine_backend, policy)
    return graph


@pytest.fixture
def write_graph():
    return add_graph


@pytest.fixture
async def embedded(tmp_path):
    engine = EmbeddedEngine(tmp_path)
    await engine.start()
    yield engine
    await engine.close()
