"""Exports a model for infinity-emb's ONNX engine, in fp32: its last hidden state, or the logits of a reranker.

Runs in the environment of the other servers (see ``rivals.py``). Exports eager attention, as Optimum does, because
infinity-emb runs the optimizer of ONNX Runtime, which recognizes this form.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer


class LastHiddenState(torch.nn.Module):
    """The encoder without its pooler."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(source, attn_implementation="eager").eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor):
        return self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state


class Logits(torch.nn.Module):
    """The whole network of a reranker."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.network = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor):
        return self.network(input_ids, attention_mask, token_type_ids).logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    scratch = options.target.with_name(options.target.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for file in options.source.glob("*.json"):
        shutil.copy(file, scratch)
    if (vocabulary := options.source / "vocab.txt").exists():
        shutil.copy(vocabulary, scratch)
    is_reranker = (
        "SequenceClassification" in json.loads((options.source / "config.json").read_text())["architectures"][0]
    )
    if not is_reranker:
        _bound_length(scratch)
    tokenizer = AutoTokenizer.from_pretrained(options.source)
    model, output = (Logits, "logits") if is_reranker else (LastHiddenState, "last_hidden_state")
    axes: dict[str, dict[int, str]] = {output: {0: "batch"} if is_reranker else {0: "batch", 1: "tokens"}}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a text", "another text, which is longer"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.onnx.export(
            model(options.source),
            tuple(example[name] for name in names),
            scratch / "model.onnx",
            input_names=names,
            output_names=[output],
            dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in names}, **axes},
            opset_version=17,
            dynamo=False,
        )
    scratch.rename(options.target)


def _bound_length(folder: Path) -> None:
    """Set the truncation length of sentence-transformers, as infinity-emb reads only the number of positions."""
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    (folder / "config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    main()
