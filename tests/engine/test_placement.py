"""How graphs are executed where the settings leave it open."""

import pytest

from ingrain.app.limits import queue_limits
from ingrain.app.placement import make_engine, placement_of
from ingrain.app.tuning_machine import tuning_machine
from ingrain.cores import usable_cores
from ingrain.engine.table import ENGINES
from ingrain.errors import SettingsError
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import lone_threads_of
from ingrain.repository.manifest import Graph, StoredFile
from ingrain.settings import Settings, describe

CORES = usable_cores()


def test_a_lone_batch_may_have_all_cores_where_a_copy_has_fewer():
    policy = placement_of(Settings(engine="onnxruntime", model_instances=CORES)).policy
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
    assert placement_of(settings).policy.lone_threads == threads


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
    settings = Settings(engine=engine, repository=tmp_path)
    placement = placement_of(settings)
    policy = placement.policy
    assert (policy.instance_kind, policy.instances, policy.threads, policy.lone_threads) == ("KIND_GPU", 1, 1, 0)
    assert policy.max_batch_size == placement.batch_items == 64
    assert placement.on_a_gpu
    assert placement.on_this_gpu
    assert not placement.on_a_cpu
    # Triton makes the copies on each GPU; in this process one is used.
    assert make_engine(settings, placement).instances == (2 if engine == "embedded" else 1)
    assert placement.devices == queue_limits(settings, placement).devices == (2 if engine == "embedded" else 1)
    assert tuning_machine(settings, placement).devices == placement.devices
    assert tuning_machine(settings, placement).machine.processor == "NVIDIA H100, NVIDIA H100"


def test_the_cpu_is_used_where_it_is_asked_for(two_gpus):
    placement = placement_of(Settings(engine="embedded", instance_kind="KIND_CPU"))
    assert placement.policy.instance_kind == placement.instance_kind == "KIND_CPU"
    assert placement.batch_items == 32
    assert not placement.on_a_gpu
    assert placement.on_a_cpu


def test_what_a_triton_elsewhere_has_is_for_it_to_say(two_gpus):
    placement = placement_of(Settings(engine="triton", triton_grpc_url="triton:8001"))
    assert placement.instance_kind == "KIND_AUTO"
    assert not placement.on_a_gpu
    assert not placement.on_a_cpu
    assert placement.batch_items == 32
    assert (placement.policy.instances, placement.policy.threads) == (1, 0)


def test_a_triton_elsewhere_without_a_gpu_is_used_as_this_machines_cpu(monkeypatch):
    """One thread for each of as many copies as there are cores, so that no copy takes the others' cores."""
    monkeypatch.setattr("ingrain.engine.placement.usable_cores", lambda: 4)
    placement = placement_of(Settings(engine="triton", triton_grpc_url="triton:8001", instance_kind="KIND_CPU"))
    assert (placement.policy.instances, placement.policy.threads) == (4, 1)
    assert placement.on_a_cpu


def test_a_gpu_that_cannot_be_used_is_told_of(gpu_without_provider, tmp_path, caplog):
    settings = Settings(engine="onnxruntime", repository=tmp_path)
    placement = placement_of(settings)
    assert placement.policy.instance_kind == "KIND_CPU"
    make_engine(settings, placement)
    assert "Graphs run on the CPU, although this machine has a GPU" in caplog.text
    assert "onnxruntime-gpu" in caplog.text


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_refused(gpu_without_provider, tmp_path):
    settings = Settings(engine="onnxruntime", instance_kind="KIND_GPU", repository=tmp_path)
    with pytest.raises(SettingsError, match="onnxruntime-gpu") as caught:
        make_engine(settings, placement_of(settings))
    assert caught.value.param == "INSTANCE_KIND"


def test_the_first_engine_that_can_be_used_is_taken_where_none_is_named(monkeypatch):
    """A Triton whose address is given goes first; ONNX Runtime in the process is the last, and it is said why."""
    assert placement_of(Settings(triton_grpc_url="triton:8001")).engine == "triton"
    monkeypatch.setattr("ingrain.engine.embedded.tritonserver.available", lambda: None)
    assert placement_of(Settings()).engine == "embedded"
    assert placement_of(Settings()).passed_over is None
    monkeypatch.setattr("ingrain.engine.embedded.tritonserver.available", lambda: "it is not installed")
    placement = placement_of(Settings())
    assert placement.engine == "onnxruntime"
    assert placement.passed_over == "the embedded Triton cannot be used: it is not installed"


def test_an_engine_that_there_is_not_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(SettingsError, match="one of auto, triton, embedded, onnxruntime") as caught:
        placement_of(Settings(engine="openvino"))
    assert caught.value.param == "INGRAIN_ENGINE"
    shown = next(info.choices for info in describe() if info.env == "INGRAIN_ENGINE")
    assert set(shown) == {"auto", *ENGINES}
