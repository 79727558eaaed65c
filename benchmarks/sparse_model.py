"""Builds a SPLADE of MiniLM's size for ``sparse.py``: random weights, MiniLM's tokenizer, some 150 entries a text."""

from __future__ import annotations

import sys
from pathlib import Path

_TEXT = "A model with random weights gives a text a weight for half of the vocabulary, and a trained one for few words."
_ZERO = 0.995


def main() -> None:
    tokenizer_of, folder = map(Path, sys.argv[1:])
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of, model_max_length=256)
    network = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tokenizer_of)).eval()
    with torch.no_grad():
        largest = network(**tokenizer(_TEXT, return_tensors="pt")).logits[0].amax(dim=0)
        network.get_output_embeddings().bias -= largest.quantile(_ZERO)
    plain = folder.with_name(f"{folder.name}-network")
    network.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain), transformer_task="fill-mask"), SpladePooling(pooling_strategy="max")]
    SparseEncoder(modules=modules, device="cpu").save(str(folder), create_model_card=False)


if __name__ == "__main__":
    main()
