"""config.pbtxt says what was meant, read back as Triton reads it."""

import dataclasses
import os
import sys
import time
from itertools import chain
from types import SimpleNamespace

import msgspec
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import graphs
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import GraphFolders, write_graph_folder
from ingrain.repository.manifest import Graph, StoredFile, Tensor
from ingrain.repository.triton_config import CHECKSUM, graph_config, to_pbtxt
from ingrain.repository.tuning import Layout

TEXT = Graph(
    name="text",
    role="text_encoder",
    inputs=tuple(Tensor(name=name, dtype="INT64", shape=(-1, -1)) for name in ("input_ids", "attention_mask")),
    outputs=(Tensor(name="sentence_embedding", dtype="FP32", shape=(-1, 384)),),
    files=(),
)
IMAGE = Graph(
    name="image",
    role="image_encoder",
    inputs=(Tensor(name="pixel_values", dtype="UINT8", shape=(-1, 224, 200, 3)),),
    outputs=(Tensor(name="embedding", dtype="FP16", shape=(-1, 512)),),
    files=(),
)
SOURCES = ("model.py", "runs.py", "sessions.py", "lone.py", "cuda.py")
CPU = ExecutionPolicy(instance_kind="KIND_CPU", instances=2, threads=3, max_batch_size=48)
GPU = ExecutionPolicy(instance_kind="KIND_GPU", tensorrt=True, fp16=True, max_batch_size=64)


def read_back(graph, backend, policy, **options):
    """Write a configuration as text and parse the text."""
    return text_format.Parse(to_pbtxt(graph_config(graph, backend, policy, **options)), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("backend", ["onnxruntime", "python"])
def test_both_backends_say_the_same_of_the_graph(backend):
    config = read_back(TEXT, backend, CPU)
    assert (config.name, config.backend, config.max_batch_size) == ("text", backend, 48)
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [
        ("input_ids", model_config_pb2.TYPE_INT64, [-1]),
        ("attention_mask", model_config_pb2.TYPE_INT64, [-1]),
    ]
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output] == [
        ("sentence_embedding", model_config_pb2.TYPE_FP32, [384])
    ]
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("backend", "kind", "instances", "runs"),
    [("onnxruntime", "KIND_CPU", 2, None), ("python", "KIND_CPU", 1, "2"), ("python", "KIND_GPU", 2, "1")],
)
def test_pythons_backend_has_one_instance_on_a_cpu_which_runs_several_batches(backend, kind, instances, runs):
    """Each instance of Triton's is a process with its own weights."""
    config = read_back(TEXT, backend, dataclasses.replace(CPU, instance_kind=kind))
    (group,) = config.instance_group
    assert (group.count, group.kind) == (instances, model_config_pb2.ModelInstanceGroup.Kind.Value(kind))
    assert (
        config.parameters["concurrent_runs"].string_value if "concurrent_runs" in config.parameters else None
    ) == runs


def test_images_keep_their_fixed_axes():
    config = read_back(IMAGE, "onnxruntime", CPU)
    assert list(config.input[0].dims) == [224, 200, 3]
    assert config.input[0].data_type == model_config_pb2.TYPE_UINT8
    assert config.output[0].data_type == model_config_pb2.TYPE_FP16


def test_dims_are_those_that_onnx_runtime_reports(tmp_path):
    """Every axis but the batch, of every tensor, of a real graph of each kind."""
    for write, role in ((graphs.write_text_graph, "text_encoder"), (graphs.write_image_graph, "image_encoder")):
        path = tmp_path / role / "model.onnx"
        write(path)
        config = read_back(graphs.describe_graph(role, path, role), "onnxruntime", CPU)
        session = onnxruntime.InferenceSession(path)
        for written, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            assert {tensor.name: list(tensor.dims) for tensor in written} == {
                value.name: [size if isinstance(size, int) else -1 for size in value.shape[1:]] for value in real
            }


def test_batching_by_triton_can_be_switched_off():
    policy = ExecutionPolicy(dynamic_batching=False)
    assert not read_back(TEXT, "python", policy).HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("graph", "kind", "level"),
    [(TEXT, "KIND_CPU", -1), (IMAGE, "KIND_CPU", None), (TEXT, "KIND_GPU", None), (TEXT, "KIND_AUTO", None)],
)
def test_only_text_on_cpu_is_kept_from_extended_fusions(graph, kind, level):
    config = read_back(graph, "onnxruntime", ExecutionPolicy(instance_kind=kind))
    assert (config.optimization.graph.level if config.optimization.HasField("graph") else None) == level


def test_parameters_are_those_that_each_backend_reads():
    native = read_back(TEXT, "onnxruntime", CPU).parameters
    assert {key: value.string_value for key, value in native.items()} == {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "1",
        "execution_mode": "0",
    }
    assert read_back(TEXT, "python", CPU).parameters["threads"].string_value == "3"
    assert read_back(TEXT, "python", CPU).parameters["disabled_optimizers"].string_value == "SkipLayerNormFusion"
    assert read_back(IMAGE, "python", CPU).parameters["disabled_optimizers"].string_value == ""


def test_tensorrt_gets_half_precision_a_cache_and_a_profile_of_all_shapes():
    config = read_back(TEXT, "onnxruntime", GPU, max_tokens=512)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    options = accelerator.parameters
    assert accelerator.name == "tensorrt"
    assert options["precision_mode"] == "FP16"
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"].endswith("/text")
    assert options["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert options["trt_profile_opt_shapes"] == "input_ids:32x64,attention_mask:32x64"
    assert options["trt_profile_max_shapes"] == "input_ids:64x512,attention_mask:64x512"


def test_tensorrt_is_for_the_native_backend_on_a_gpu_alone():
    for backend, policy in (
        ("python", GPU),
        ("onnxruntime", ExecutionPolicy(instance_kind="KIND_CPU", tensorrt=True)),
        ("onnxruntime", ExecutionPolicy(instance_kind="KIND_GPU")),
    ):
        assert not read_back(TEXT, backend, policy).optimization.HasField("execution_accelerators")


def test_tensorrt_without_a_known_length_gets_no_profile():
    (accelerator,) = read_back(TEXT, "onnxruntime", GPU).optimization.execution_accelerators.gpu_execution_accelerator
    assert "trt_profile_max_shapes" not in accelerator.parameters


@pytest.mark.parametrize(
    ("policy", "max_tokens", "shapes"),
    [
        (CPU, 512, [(1, 8), (4, 64)]),
        (CPU, 32, [(1, 8), (4, 32)]),
        (CPU, 5, [(1, 5), (4, 5)]),
        (CPU, None, [(1, 8), (4, 16)]),
        (GPU, 512, [(1, 8), (64, 128)]),
        (ExecutionPolicy(instance_kind="KIND_GPU", max_batch_size=8), 512, [(1, 8), (8, 256)]),
        (ExecutionPolicy(instance_kind="KIND_AUTO"), 512, [(1, 8), (4, 64)]),
        (ExecutionPolicy(instance_kind="KIND_CPU", max_batch_size=2), 512, [(1, 8), (2, 64)]),
    ],
)
def test_warm_up_has_concrete_shapes_within_the_limits(policy, max_tokens, shapes):
    warmups = read_back(TEXT, "onnxruntime", policy, max_tokens=max_tokens).model_warmup
    assert [(warmup.batch_size, warmup.inputs["input_ids"].dims[0]) for warmup in warmups] == shapes
    for warmup in warmups:
        assert set(warmup.inputs) == {"input_ids", "attention_mask"}
        assert all(sample.zero_data for sample in warmup.inputs.values())


@pytest.mark.parametrize("shape", [(1, -1), (-1,)])
def test_a_graph_without_a_dynamic_batch_axis_is_refused(shape):
    broken = Graph(
        name="text", role="text_encoder", inputs=(Tensor(name="x", dtype="INT64", shape=shape),), outputs=(), files=()
    )
    with pytest.raises(ValueError, match="batch axis"):
        graph_config(broken, "python", CPU)


def test_folder_is_written_once_and_equal_files_are_left_alone(tmp_path):
    folder = tmp_path / "text"
    assert write_graph_folder(folder, TEXT, "python", CPU)
    files = [folder / "config.pbtxt", *(folder / "1" / name for name in SOURCES)]
    old = time.time() - 1000
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o644
        os.utime(path, (old, old))
    assert not write_graph_folder(folder, TEXT, "python", CPU)
    assert all(abs(path.stat().st_mtime - old) < 1 for path in files)
    assert sorted(path.name for path in folder.rglob("*")) == sorted(["1", "config.pbtxt", *SOURCES])


def test_folder_changes_with_policy_and_backend(tmp_path):
    folder = tmp_path / "text"
    write_graph_folder(folder, TEXT, "python", CPU)
    assert write_graph_folder(folder, TEXT, "python", GPU)
    assert write_graph_folder(folder, TEXT, "onnxruntime", GPU)
    assert not (folder / "1" / "model.py").exists()
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.backend == "onnxruntime"


def test_a_configuration_of_an_earlier_version_without_checksums_does_not_differ(tmp_path):
    graph = msgspec.structs.replace(TEXT, files=(StoredFile("1/model.onnx", size_bytes=1, sha256="ab" * 32),))
    folders = GraphFolders(folder_of=lambda _: tmp_path, backend="python", policy=CPU)
    manifest = SimpleNamespace(text_of=lambda _: None)
    assert folders.differ(manifest, graph, None)
    folders.write(manifest, graph, None)
    path = tmp_path / "config.pbtxt"
    complete = path.read_text()
    config = text_format.Parse(complete, model_config_pb2.ModelConfig())
    config.parameters.pop(CHECKSUM)
    path.write_text(to_pbtxt(config))
    assert not folders.differ(manifest, graph, None)
    assert folders.differ(manifest, graph, Layout(1, 1))
    config.parameters[CHECKSUM].string_value = "cd" * 32  # of another graph
    path.write_text(to_pbtxt(config))
    assert folders.differ(manifest, graph, None)
    assert folders.write(manifest, graph, None)
    assert path.read_text() == complete


def test_the_pythons_model_needs_numpy_and_onnx_runtime_alone(tmp_path):
    """The stub's environment need not have Ingrain."""
    write_graph_folder(tmp_path, TEXT, "python", CPU)
    sources = [(tmp_path / "1" / name).read_text().splitlines() for name in SOURCES]
    imports = [line.split()[1] for line in chain(*sources) if line.startswith(("import ", "from "))]
    imported = {name.split(".")[0] for name in imports if not name.startswith(".")}
    assert {f"{name[1:]}.py" for name in imports if name.startswith(".") and name != "."} <= set(SOURCES)
    ours = {"numpy", "onnxruntime", "triton_python_backend_utils"}
    assert imported - set(sys.stdlib_module_names) == ours
    assert np.__name__ in ours
