"""Writes the model of the throughput benchmarks: a BERT of 12 layers × 384 with random weights and a real tokenizer.

Its vectors are meaningless, but it takes the same time as all-MiniLM-L12, e5-small, bge-small and similar models.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

NAME = "bert-12x384"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, default=Path(".run/models/all-MiniLM-L6-v2"))
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    options = parser.parse_args()
    target = options.models_dir / NAME
    if not target.exists():
        write(options.tokenizer, target)
        print(f"wrote {target}")


def write(tokenizer_folder: Path, target: Path) -> None:
    """Build the model and save it in the format of sentence-transformers."""
    import torch

    from tiny_models import prepare_libraries

    prepare_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / "transformer"
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = modules.Transformer(str(folder), max_seq_length=512)
        pooling = modules.Pooling(config.hidden_size)
        whole = Path(scratch) / "whole"
        SentenceTransformer(modules=[transformer, pooling, modules.Normalize()]).save(str(whole))
        whole.rename(target)


if __name__ == "__main__":
    main()
