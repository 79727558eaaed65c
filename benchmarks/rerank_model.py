"""Builds the reranker of ``rerank.py``: a cross-encoder of MiniLM's size with random weights and MiniLM's tokenizer."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    tokenizer_of, folder = map(Path, sys.argv[1:])
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of, model_max_length=512)
    network = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tokenizer_of, num_labels=1))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
