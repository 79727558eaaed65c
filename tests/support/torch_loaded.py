"""Imports what conversions need, so that processes forked from one that has imported this module start in a moment.

It also exports a network of one layer, which fills the exporter's tables. Torch has one thread here: a fork takes no
others along.
"""

import gc
import importlib

import torch_process


def _export_one_layer() -> None:
    import torch

    from ingrain.export.onnx.quick_exporter import quick_exporter

    with torch.no_grad(), quick_exporter():
        torch.onnx.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), dynamo=True, verbose=False)


gc.disable()
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
_export_one_layer()
gc.enable()
gc.freeze()
