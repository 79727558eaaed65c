"""Runs ``model.onnx`` on ONNX Runtime inside Triton's Python backend.

The file is copied next to each graph, with the modules that it imports. Triton's stub process imports it; that process
has numpy and onnxruntime but maybe not Ingrain, so the file imports nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# The stub's interpreter ignores PYTHONPATH.
sys.path[:0] = [
    folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in (*sys.path, "")
]

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from . import cuda  # relative, because all are copied to the same folder
from .runs import Arrays, ConcurrentRuns, Job, run_together
from .sessions import open_cpu_sessions, run_options, session_options

# Microseconds that a thread of a lone batch spins while it waits: usually enough until the next operator, but short
# after the run, when tritonserver and the front end need the cores.
_SPIN_US = 50


class TritonPythonModel:
    """One instance of a graph. On a CPU it is the only one, and runs several batches at the same time."""

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
        threads = int(parameters["threads"])
        self.runs: ConcurrentRuns | None = None
        if args["model_instance_kind"] == "GPU" and cuda.has_provider():
            self.session = cuda.open_session(path, session_options(threads), args["model_instance_device_id"])
            self._run_samples(config)
            return
        count = int(parameters["concurrent_runs"])
        sessions, self.lone = open_cpu_sessions(
            path,
            copies=count,
            threads=threads,
            lone_threads=int(parameters["lone_threads"]),
            lone_spin_us=_SPIN_US,
            disabled_optimizers=[name for name in parameters["disabled_optimizers"].split(",") if name],
            has_fixed_shapes=all(int(size) > 0 for tensor in config["input"] for size in tensor["dims"]),
        )
        self.session = sessions[0]
        self._run_samples(config)
        runs = [partial(self._run, sessions[number % len(sessions)]) for number in range(count)]
        self.runs = ConcurrentRuns(runs, max_items=config["max_batch_size"])

    def execute(self, requests: Sequence[Any]) -> list[Any] | None:
        """Run requests, merging those of equal shape.

        On a CPU this method only queues them, so that Triton calls it again at once with the next ones.

        Args:
            requests: ``pb_utils.InferenceRequest`` objects; axis 0 of each input is the batch.

        Returns:
            One ``pb_utils.InferenceResponse`` per request, in the same order; None on a CPU, where each request is
            answered when its batch has run.
        """
        if self.runs is None:
            return self._execute_now(requests)
        for request in requests:
            parameters, sender = request.parameters(), request.get_response_sender()
            if '"statistics"' in parameters:
                content = np.frombuffer(json.dumps(self.runs.statistics()).encode(), np.uint8)
                send(sender, pb_utils.InferenceResponse([pb_utils.Tensor(self.output_names[0], content)]))
                continue
            is_alone = '"alone"' in parameters and self.lone is not None
            self.runs.submit(
                Job(
                    inputs=self._inputs(request),
                    finish=partial(self._finish, sender),
                    outputs=self._wanted(request),
                    alone=self._run_alone if is_alone else None,
                    is_given_up=request.is_cancelled,
                )
            )
        return None

    def finalize(self) -> None:
        """Finish all batches before Triton ends this process."""
        if self.runs is not None:
            self.runs.close()

    def _execute_now(self, requests: Sequence[Any]) -> list[Any]:
        groups: dict[tuple[object, ...], list[int]] = {}
        inputs = [self._inputs(request) for request in requests]
        wanted = [self._wanted(request) for request in requests]
        for position, arrays in enumerate(inputs):
            shapes = tuple(array.shape[1:] for array in arrays.values())
            groups.setdefault((shapes, wanted[position]), []).append(position)
        responses: list[Any] = [None] * len(requests)
        for positions in groups.values():
            run = partial(self._run, self.session, names=wanted[positions[0]])
            results = run_together(run, [inputs[position] for position in positions])
            for position, result in zip(positions, results, strict=True):
                responses[position] = respond(result)
        return responses

    def _inputs(self, request: Any) -> Arrays:
        """Return views of the request's arrays in the memory shared with Triton."""
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.input_names}

    def _wanted(self, request: Any) -> tuple[str, ...]:
        """Return the names of the outputs that a request wants, in the graph's order."""
        wanted = request.requested_output_names()
        return tuple(name for name in self.output_names if name in wanted)

    @staticmethod
    def _finish(sender: Any, result: Arrays | Exception) -> None:
        send(sender, respond(result))

    def _run_samples(self, config: dict[str, Any]) -> None:
        """Run the batches with which Triton warms the graph up, before Triton does.

        If a graph fails here, Triton refuses to load it. If it fails in Triton's own warm-up, Triton 2.51 mostly
        crashes, and takes all other graphs along.
        """
        for sample in config.get("model_warmup", []):
            inputs = {
                name: np.zeros(
                    [int(sample["batch_size"]), *map(int, tensor["dims"])],
                    pb_utils.triton_string_to_numpy(tensor["data_type"]),
                )
                for name, tensor in sample["inputs"].items()
            }
            self.session.run(self.output_names, inputs)

    def _run(self, session: ort.InferenceSession, inputs: Arrays, names: Sequence[str]) -> Arrays:
        return dict(zip(names, session.run(names, inputs, self._options(names)), strict=True))

    def _run_alone(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """Run a batch that is alone in the engine."""
        assert self.lone is not None
        outputs = self.lone.run(self.session, list(names), inputs, self._options(names))
        return dict(zip(names, outputs, strict=True))

    def _options(self, names: Sequence[str]) -> ort.RunOptions:
        return run_options(None if len(names) == len(self.output_names) else names)


def respond(result: Arrays | Exception) -> Any:
    """Convert a result to a Triton response."""
    if isinstance(result, Exception):
        error = pb_utils.TritonError(f"{type(result).__name__}: {result}", pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    tensors = [pb_utils.Tensor(name, array) for name, array in result.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def send(sender: Any, response: Any) -> None:
    """Answer a request.

    If that fails, for example because shared memory is full, the request would wait for ever, and Triton lets no second
    answer follow. So this process ends, which the server notices and heals.
    """
    try:
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as error:
        sys.stderr.write(f"A response could not be sent: {error}\n")
        sys.stderr.flush()
        os._exit(1)


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
