"""Imports what conversions need, so that processes forked from one that has imported this module start in a moment.

It runs nothing of these libraries: that would start threads, which a fork does not take along.
"""

import gc
import importlib

import torch_process

torch_process.set_environment()
torch_process.prepare()
for name in (
    "ingrain.export.families.convert",
    "ingrain.export.process.verify_stored",
    "ingrain.export.process.worker",
    "networkx",
    "onnxruntime",
    "onnxscript.function_libs.torch_lib.ops",
    "open_clip",
    "sentence_transformers",
    "timm",
    "torch._functorch.aot_autograd",
    "torch.export",
    "torch.onnx._internal.exporter._core",
    "transformers.models.bert.modeling_bert",
):
    importlib.import_module(name)
gc.freeze()
