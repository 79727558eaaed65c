"""Builds Triton's ``config.pbtxt`` of a graph."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ingrain.repository.execution_policy import Backend, ExecutionPolicy, lone_threads_of
from ingrain.repository.manifest import Graph, Tensor
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

CHECKSUM = "ingrain_graph"
"""Parameter with the checksums of the graph that a configuration is for; Triton's backends ignore it."""

_SHORT_TOKENS = 8
_LONG_TOKENS_CPU = 64
_LONG_TOKENS_GPU = 256
# Tokens of a whole warm-up batch, so that a GPU allocates its memory before the first request.
_WARM_TOKENS_GPU = 8192
_WARM_BATCH_CPU = 4
_UNKNOWN_MAX_TOKENS = 16


def to_pbtxt(config: model_config_pb2.ModelConfig) -> str:
    """Return a configuration as the text that Triton reads."""
    text: str = text_format.MessageToString(config)
    return text


def from_pbtxt(content: bytes) -> model_config_pb2.ModelConfig | None:
    """Return the configuration in a file; None if it cannot be read."""
    try:
        return text_format.Parse(content.decode(), model_config_pb2.ModelConfig())
    except (UnicodeDecodeError, text_format.ParseError):
        return None


def layout_of(config: model_config_pb2.ModelConfig) -> Layout:
    """Return the copies and threads of a configuration that ``graph_config`` has built."""
    values = {key: parameter.string_value for key, parameter in config.parameters.items()}
    runs, threads = values.get("concurrent_runs", ""), values.get("threads", values.get("intra_op_thread_count", ""))
    copies = sum(group.count for group in config.instance_group) * (int(runs) if runs.isdecimal() else 1)
    return Layout(max(1, copies), int(threads) if threads.isdecimal() else 0)


def content_of(graph: Graph) -> str:
    """Return the checksums of a graph's files as one text; empty if they are not known."""
    return " ".join(file.sha256 for file in graph.files)


def identity_of(config: model_config_pb2.ModelConfig) -> tuple[str, Layout, int]:
    """Return the content, the layout and the largest batch of a loaded graph, or of one as it is written."""
    return config.parameters[CHECKSUM].string_value, layout_of(config), config.max_batch_size


def graph_config(
    graph: Graph, backend: Backend, policy: ExecutionPolicy, *, max_tokens: int | None = None
) -> model_config_pb2.ModelConfig:
    """Build the configuration of one graph.

    All inputs and outputs are listed, because Triton's auto-completion of them would load each graph twice.

    Args:
        graph: Tensors as ONNX Runtime reports them, batch axis first.
        backend: Triton's backend for the graph.
        policy: How the graph is executed.
        max_tokens: Longest sequence of a text graph; bounds the warm-up and TensorRT's shapes.

    Raises:
        ValueError: A tensor has no dynamic batch axis, or only the batch axis.
    """
    config = model_config_pb2.ModelConfig(
        name=graph.name,
        backend=backend,
        max_batch_size=policy.max_batch_size,
        instance_group=[_instances(backend, policy)],
    )
    for tensor in graph.inputs:
        config.input.add(name=tensor.name, data_type=_data_type(tensor), dims=_dims(tensor))
    for tensor in graph.all_outputs:
        config.output.add(name=tensor.name, data_type=_data_type(tensor), dims=_dims(tensor))
    if policy.dynamic_batching:
        config.dynamic_batching.SetInParent()
    for key, value in _parameters(graph, backend, policy).items():
        config.parameters[key].string_value = value
    if content := content_of(graph):
        config.parameters[CHECKSUM].string_value = content
    if backend == "onnxruntime":
        _optimize(config, graph, policy, max_tokens)
    config.model_warmup.extend(_warmups(graph, policy, max_tokens))
    return config


def _instances(backend: Backend, policy: ExecutionPolicy) -> model_config_pb2.ModelInstanceGroup:
    kind = model_config_pb2.ModelInstanceGroup.Kind.Value(policy.instance_kind)
    count = 1 if _runs_concurrently(backend, policy) else policy.instances
    return model_config_pb2.ModelInstanceGroup(count=count, kind=kind)


def _runs_concurrently(backend: Backend, policy: ExecutionPolicy) -> bool:
    """Return whether one instance of a graph runs several batches at the same time (``python_backend/runs.py``)."""
    return backend == "python" and policy.instance_kind == "KIND_CPU"


def _data_type(tensor: Tensor) -> int:
    value: int = model_config_pb2.DataType.Value(f"TYPE_{tensor.dtype}")
    return value


def _dims(tensor: Tensor) -> tuple[int, ...]:
    """Return a shape without its batch axis, as Triton requires if ``max_batch_size`` is above 0."""
    if len(tensor.shape) < 2 or tensor.shape[0] != -1:
        raise ValueError(f"tensor {tensor.name!r} has shape {tensor.shape}, not a dynamic batch axis and others")
    return tensor.shape[1:]


def _parameters(graph: Graph, backend: Backend, policy: ExecutionPolicy) -> dict[str, str]:
    if backend == "onnxruntime":
        return {
            "intra_op_thread_count": str(policy.threads),
            "inter_op_thread_count": "1",
            "execution_mode": "0",  # sequential: encoders have no branches to run in parallel
        }
    return {
        "threads": str(policy.threads),
        "concurrent_runs": str(policy.instances if _runs_concurrently(backend, policy) else 1),
        "lone_threads": str(lone_threads_of(graph, policy.lone_threads, policy.threads)),
        "disabled_optimizers": ",".join(ROLES[graph.role].disabled_cpu_optimizers),
        # Ingrain's Python model reads inputs as numpy arrays.
        "FORCE_CPU_ONLY_INPUT_TENSORS": "yes",
    }


def _optimize(
    config: model_config_pb2.ModelConfig, graph: Graph, policy: ExecutionPolicy, max_tokens: int | None
) -> None:
    if policy.instance_kind == "KIND_CPU":
        if ROLES[graph.role].disabled_cpu_optimizers:
            # Level -1 is BASIC. Without the extended fusions text encoders are a tenth faster on CPU, and the native
            # backend cannot disable single fusions. Convolutions need the extended ones (the NCHWc layout).
            config.optimization.graph.level = -1
        return
    if policy.tensorrt:
        accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        for key, value in _tensorrt(graph, policy, max_tokens).items():
            accelerator.parameters[key] = value


def _tensorrt(graph: Graph, policy: ExecutionPolicy, max_tokens: int | None) -> dict[str, str]:
    """Return the options of ONNX Runtime's TensorRT provider, by the names of Triton's backend."""
    cache = f"{policy.tensorrt_cache_dir.rstrip('/')}/{graph.name}"
    options = {
        "precision_mode": "FP16" if policy.fp16 else "FP32",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
    if policy.fp16:
        options["trt_layer_norm_fp32_fallback"] = "1"  # sums of squares overflow half precision
    if max_tokens is not None or not _is_dynamic(graph):
        # Without a profile of all shapes TensorRT spends minutes to build a new engine for each new shape.
        longest = max_tokens or 1
        batch = policy.max_batch_size
        options["trt_profile_min_shapes"] = _profile(graph.inputs, 1, 1)
        options["trt_profile_opt_shapes"] = _profile(graph.inputs, max(1, batch // 2), min(longest, _LONG_TOKENS_CPU))
        options["trt_profile_max_shapes"] = _profile(graph.inputs, batch, longest)
    return options


def _is_dynamic(graph: Graph) -> bool:
    return any(-1 in tensor.shape[1:] for tensor in graph.inputs)


def _profile(inputs: Sequence[Tensor], batch: int, tokens: int) -> str:
    shapes = ((tensor.name, (batch, *_concrete(tensor, tokens))) for tensor in inputs)
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes)


def _concrete(tensor: Tensor, tokens: int) -> tuple[int, ...]:
    return tuple(tokens if size == -1 else size for size in _dims(tensor))


def _warmups(graph: Graph, policy: ExecutionPolicy, max_tokens: int | None) -> list[model_config_pb2.ModelWarmup]:
    """Return warm-ups of one short item and of a larger batch, so that memory and kernels are ready for requests.

    Zeros are valid token ids and pixels; random data is not. Unless the policy requires a GPU, the batch is small,
    because Triton's start waits for it: 64 texts of 256 tokens take a CPU half a minute.
    """
    on_gpu = policy.instance_kind == "KIND_GPU"
    longest = max_tokens or _UNKNOWN_MAX_TOKENS
    batch = policy.max_batch_size if on_gpu else min(policy.max_batch_size, _WARM_BATCH_CPU)
    long_tokens = min(longest, max(1, min(_LONG_TOKENS_GPU, _WARM_TOKENS_GPU // batch)) if on_gpu else _LONG_TOKENS_CPU)
    return [
        _warmup("one", graph.inputs, 1, min(longest, _SHORT_TOKENS)),
        _warmup("batch", graph.inputs, batch, long_tokens),
    ]


def _warmup(name: str, inputs: Sequence[Tensor], batch: int, tokens: int) -> model_config_pb2.ModelWarmup:
    warmup = model_config_pb2.ModelWarmup(name=name, batch_size=batch)
    for tensor in inputs:
        sample = warmup.inputs[tensor.name]
        sample.data_type = _data_type(tensor)
        sample.dims.extend(_concrete(tensor, tokens))
        sample.zero_data = True
    return warmup
