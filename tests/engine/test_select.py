"""How graphs are executed where the settings leave it open."""

import pytest

from ingrain.app.limits import queue_limits
from ingrain.app.tuning_place import tuning_place
from ingrain.backend import cuda
from ingrain.cores import usable_cores
from ingrain.engine.placement import (
    choose_engine,
    default_batch_size,
    devices,
    execution_policy,
    instance_kind,
    runs_on_a_gpu,
)
from ingrain.errors import SettingsError
from ingrain.repository.manifest import Graph, StoredFile
from ingrain.repository.policy import lone_threads_of
from ingrain.repository.store import Repository
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


@pytest.fixture
def two_gpus(monkeypatch):
    """A driver that shows two GPUs, and an ONNX Runtime that can use them."""
    monkeypatch.setattr(cuda, "gpu_names", lambda: ("NVIDIA H100", "NVIDIA H100"))
    monkeypatch.setattr(cuda, "has_provider", lambda: True)


@pytest.fixture
def gpu_without_provider(monkeypatch):
    """A driver that shows a GPU, and an ONNX Runtime for CPUs alone."""
    monkeypatch.setattr(cuda, "gpu_names", lambda: ("NVIDIA H100",))
    monkeypatch.setattr(cuda, "has_provider", lambda: False)


@pytest.mark.parametrize("engine", ["embedded", "onnxruntime"])
def test_a_gpu_that_can_be_used_is_used(two_gpus, tmp_path, engine):
    settings = Settings(engine=engine)
    policy = execution_policy(settings)
    assert (policy.instance_kind, policy.instances, policy.threads, policy.lone_threads) == ("KIND_GPU", 1, 1, 0)
    assert policy.max_batch_size == default_batch_size(settings) == 64
    assert runs_on_a_gpu(settings)
    # Triton makes the copies on each GPU; in this process one is used.
    assert choose_engine(settings, Repository(tmp_path), policy).instances == (2 if engine == "embedded" else 1)
    assert devices(settings) == queue_limits(settings).devices == (2 if engine == "embedded" else 1)
    assert tuning_place(settings).devices == devices(settings)
    assert tuning_place(settings).machine.processor == "NVIDIA H100, NVIDIA H100"


def test_the_cpu_is_used_where_it_is_asked_for(two_gpus):
    settings = Settings(engine="embedded", instance_kind="KIND_CPU")
    assert execution_policy(settings).instance_kind == "KIND_CPU"
    assert default_batch_size(settings) == 32
    assert not runs_on_a_gpu(settings)


def test_what_a_triton_elsewhere_has_is_for_it_to_say(two_gpus):
    settings = Settings(engine="triton", triton_grpc_url="triton:8001")
    assert instance_kind(settings) == "KIND_AUTO"
    assert not runs_on_a_gpu(settings)
    assert default_batch_size(settings) == 32


def test_a_gpu_that_cannot_be_used_is_told_of(gpu_without_provider, tmp_path, caplog):
    settings = Settings(engine="onnxruntime")
    policy = execution_policy(settings)
    assert policy.instance_kind == "KIND_CPU"
    choose_engine(settings, Repository(tmp_path), policy)
    assert "There is a GPU here, but graphs run on the CPU" in caplog.text
    assert "onnxruntime-gpu" in caplog.text


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_refused(gpu_without_provider, tmp_path):
    settings = Settings(engine="onnxruntime", instance_kind="KIND_GPU")
    with pytest.raises(SettingsError, match="onnxruntime-gpu") as caught:
        choose_engine(settings, Repository(tmp_path), execution_policy(settings))
    assert caught.value.param == "INSTANCE_KIND"
