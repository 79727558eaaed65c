"""Runs ``model.onnx`` on ONNX Runtime inside Triton's Python backend.

The file is copied next to each graph, with ``lone.py`` and ``cuda.py``. Triton's stub process imports it; that process
has numpy and onnxruntime but maybe not Ingrain, so the file imports nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The stub's interpreter ignores PYTHONPATH.
sys.path[:0] = [
    folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in (*sys.path, "")
]

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from . import cuda  # relative, because both are copied to the same folder
from .lone import LoneSession, use_all_cores

Arrays = dict[str, np.ndarray[Any, Any]]


class TritonPythonModel:
    """One instance of a graph; Triton calls ``execute`` with all requests that its batcher merged."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph.

        Args:
            args: Triton's arguments for this instance: ``model_config`` (JSON), ``model_repository`` (this model's
                folder), ``model_version``, ``model_instance_kind``, ``model_instance_device_id``.
        """
        end_with_server()
        config = json.loads(args["model_config"])
        parameters = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        self.input_names = [tensor["name"] for tensor in config["input"]]
        self.output_names = [tensor["name"] for tensor in config["output"]]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        on_gpu = args["model_instance_kind"] == "GPU" and cuda.has_provider()
        disabled = [name for name in parameters["disabled_optimizers"].split(",") if name]

        def open_session(options: ort.SessionOptions) -> ort.InferenceSession:
            if on_gpu:
                return cuda.open_session(path, options, args["model_instance_device_id"])
            return ort.InferenceSession(
                os.fspath(path),
                sess_options=options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=disabled,
            )

        self.session = open_session(session_options(int(parameters["threads"])))
        self.lone: LoneSession | None = None
        lone_threads = int(parameters.get("lone_threads", "0"))
        if lone_threads and not on_gpu:
            options = session_options(lone_threads)
            use_all_cores(options, lone_threads)
            self.lone = LoneSession(open_session(options))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run the requests, merging those of equal shape.

        Args:
            requests: ``pb_utils.InferenceRequest`` objects; axis 0 of each input is the batch.

        Returns:
            One ``pb_utils.InferenceResponse`` per request, in the same order.
        """
        inputs = [self._inputs(request) for request in requests]
        if len(requests) == 1 and self.lone is not None and is_alone(requests[0]):
            return [respond(self._run(inputs[0], self.lone), requests[0].requested_output_names())]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for position, arrays in enumerate(inputs):
            groups.setdefault(tuple(array.shape[1:] for array in arrays.values()), []).append(position)
        responses: list[Any] = [None] * len(requests)
        for positions in groups.values():
            results = self._run_group([inputs[position] for position in positions])
            for position, result in zip(positions, results, strict=True):
                responses[position] = respond(result, requests[position].requested_output_names())
        return responses

    def _inputs(self, request: Any) -> Arrays:
        """Return views of the request's arrays in the memory shared with Triton."""
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.input_names}

    def _run_group(self, group: list[Arrays]) -> list[Arrays | Exception]:
        """Run requests of equal shape as one batch; if that fails, run them one by one, so that only bad ones fail."""
        if len(group) == 1:
            return [self._run(group[0])]
        merged = {name: np.concatenate([arrays[name] for arrays in group]) for name in self.input_names}
        outputs = self._run(merged)
        if isinstance(outputs, Exception):
            return [self._run(arrays) for arrays in group]
        results: list[Arrays | Exception] = []
        start = 0
        for arrays in group:
            stop = start + len(arrays[self.input_names[0]])
            results.append({name: output[start:stop] for name, output in outputs.items()})
            start = stop
        return results

    def _run(self, inputs: Arrays, lone: LoneSession | None = None) -> Arrays | Exception:
        try:
            if lone is None:
                outputs = self.session.run(self.output_names, inputs)
            else:
                outputs = lone.run(self.session, self.output_names, inputs)
        except Exception as error:  # ONNX Runtime's exceptions have no common base; return any of them as a response.
            return error
        return dict(zip(self.output_names, outputs, strict=True))


def is_alone(request: Any) -> bool:
    """Return whether the request has the parameter ``alone``: no other batch is in the engine."""
    return '"alone"' in request.parameters()


def respond(result: Arrays | Exception, wanted: Sequence[str]) -> Any:
    """Convert a result to a Triton response with the requested outputs."""
    if isinstance(result, Exception):
        error = pb_utils.TritonError(f"{type(result).__name__}: {result}", pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    tensors = [pb_utils.Tensor(name, array) for name, array in result.items() if name in wanted]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def session_options(threads: int) -> ort.SessionOptions:
    """Return session options for threads that do not spin while idle.

    Spinning threads would occupy cores that other instances and the HTTP front end need.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def end_with_server() -> None:
    """Exit this process when tritonserver has ended for any reason.

    The stub itself checks whether a process with its parent's id exists, so it outlives a parent that is a zombie.
    """
    server = os.getppid()

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-server", daemon=True).start()
