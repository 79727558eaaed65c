"""How graphs are executed where the settings leave it open."""

import pytest

from ingrain.cores import usable_cores
from ingrain.engine.select import execution_policy
from ingrain.repository.manifest import Graph, StoredFile
from ingrain.repository.policy import lone_threads_of
from ingrain.settings import Settings

CORES = usable_cores()


def test_a_lone_batch_may_have_all_cores_where_a_copy_has_fewer():
    policy = execution_policy(Settings(engine="onnxruntime", model_instances=CORES))
    assert policy.threads == 1
    assert policy.lone_threads == (CORES if CORES > 1 else 0)


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        (Settings(engine="onnxruntime", lone_request_threads=1), 0),
        (Settings(engine="onnxruntime", threads_per_instance=3, lone_request_threads=2), 0),
        (Settings(engine="onnxruntime", threads_per_instance=3, lone_request_threads=7), 7),
        (Settings(engine="onnxruntime", threads_per_instance=CORES), 0),
        (Settings(engine="triton", triton_grpc_url="triton:8001", threads_per_instance=1), 0),
        (Settings(engine="triton", triton_grpc_url="triton:8001", threads_per_instance=1, lone_request_threads=8), 8),
    ],
)
def test_its_threads_are_what_was_asked_for_where_they_are_more_than_those_of_a_copy(settings, threads):
    assert execution_policy(settings).lone_threads == threads


def test_a_large_graph_does_not_hold_its_weights_twice():
    small, large = (
        Graph(name="g", role="text_encoder", inputs=(), outputs=(), files=(StoredFile("model.onnx", size, ""),))
        for size in (256 * 1024**2, 256 * 1024**2 + 1)
    )
    assert [lone_threads_of(small, 4, 1), lone_threads_of(large, 4, 1), lone_threads_of(small, 4, 4)] == [4, 0, 0]
