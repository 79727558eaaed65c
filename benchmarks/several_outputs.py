"""Measures what the heads of a model with several outputs cost, in batches for dense vectors alone and for all outputs.

Builds a network of the kind of XLM-RoBERTa with random weights and the heads of BGE-M3 (needs the extra ``export``),
writes it with and without the heads, and measures the processor time of batches of both graphs in turn, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ingrain.python_backend.sessions import run_options, session_options

DENSE, ALL = ["embedding"], ["embedding", "values", "indices", "token_embeddings"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_graphs(Path(folder), options.width, options.layers)
        plain, heads = (onnxruntime.InferenceSession(str(path), session_options(1)) for path in paths)
    print("| batch | heads in the graph, dense vectors asked for | all outputs |")
    print("| --- | --- | --- |")
    for items, tokens in ((1, 16), (8, 64), (4, 256)):
        ids = np.random.default_rng(1).integers(5, 900, (items, tokens))
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        ways = [(plain, DENSE, None), (heads, DENSE, DENSE), (heads, ALL, None)]
        seconds: list[list[float]] = [[] for _ in ways]
        for number in range(3 * options.rounds):
            place = (number + number // 3) % 3  # in turn, and in changing order, because each run warms the next one up
            session, names, wanted = ways[place]
            began = time.thread_time()
            session.run(names, inputs, run_options(wanted))
            seconds[place].append(time.thread_time() - began)
        plain_s, *others = map(statistics.median, seconds)
        ratios = [other / plain_s for other in others]
        print(f"| {items} × {tokens} | {ratios[0]:.3f} | {ratios[1]:.3f} |", flush=True)


def write_graphs(folder: Path, width: int, layers: int) -> list[Path]:
    """Write the graph without heads and the graph with them; return their paths."""
    import torch
    from sentence_transformers.base.modules import Normalize
    from transformers import XLMRobertaConfig, XLMRobertaModel

    from ingrain.export.families.sentence_transformers.m3_graph import M3Graph, M3Heads
    from ingrain.export.families.sentence_transformers.text_graph import PipelineGraph, PoolingStep
    from ingrain.export.onnx.onnx_file import Recipe, write_onnx

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, given: dict[str, Any]) -> dict[str, Any]:
            return {**given, "token_embeddings": self.network(**given).last_hidden_state}

    config = XLMRobertaConfig(
        vocab_size=1000, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 32,
        intermediate_size=4 * width, attn_implementation="eager",
    )  # fmt: skip
    encoder = Encoder(XLMRobertaModel(config, add_pooling_layer=False))
    inputs = ("input_ids", "attention_mask")
    pipeline = PipelineGraph(encoder, [PoolingStep(("cls",)), Normalize()], inputs, None)
    heads = M3Heads(torch.nn.Linear(width, 1), torch.nn.Linear(width, width), (0, 1, 2, 3))
    sample = {name: np.ones((2, 7), np.int64) for name in inputs}
    tokens = ("batch", "tokens")
    axes = {"embedding": ("batch",), "values": tokens, "indices": tokens, "token_embeddings": tokens}
    paths = [folder / "plain.onnx", folder / "heads.onnx"]
    write_onnx(pipeline, sample, {"embedding": ("batch",)}, paths[0], Recipe("dynamo", None), tokens)
    write_onnx(M3Graph(pipeline, heads), sample, axes, paths[1], Recipe("dynamo", None), tokens)
    return paths


if __name__ == "__main__":
    main()
