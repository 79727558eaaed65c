"""Stands in for Triton's native ``onnxruntime`` backend, which no package ships: a backend in Python.

Triton runs it for every graph with ``backend: "onnxruntime"`` if it lies in the backend directory of that name.
"""

import json
import os
import sys

# The stub's interpreter ignores PYTHONPATH.
sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of a graph."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        path = f"{args['model_repository']}/{args['model_version']}/model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        outputs = zip(self.outputs, self.session.run(self.outputs, inputs), strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs])
