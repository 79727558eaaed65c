"""Small sentence-transformers models with vocabularies as large as Llama's and XLM-RoBERTa's, the same each time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, count
from pathlib import Path

from texts import articles

_SPACE = "▁"
_MAX_TOKENS = 128


def build_bpe(folder: Path, size: int) -> Path:
    """Build a model with byte-level BPE that has so many tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4_000, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(articles()[:100], trainer)
    trained.save(str(folder.with_suffix(".json")))
    merges = _merges(folder.with_suffix(".json"))
    spread = _spread([*trained.get_vocab()], size, special=["<s>", "<pad>", "</s>"])
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(spread)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _build(folder, tokenizer)


def build_unigram(folder: Path, size: int) -> Path:
    """Build a model with a Unigram tokenizer that has so many pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    counts: Counter[str] = Counter()
    for word in " ".join(articles()[:100]).split():
        for start, stop in combinations(range(len(word) + 2), 2):
            if stop - start <= 8:
                counts[f"{_SPACE}{word}"[start:stop]] += 1
    total = sum(counts.values())
    pieces = sorted(counts, key=lambda piece: (-counts[piece] * len(piece), piece))[:20_000]
    scores = {piece: math.log(counts[piece] / total) for piece in pieces}
    spread = [(piece, scores.get(piece, -60.0)) for piece in _spread(pieces, size, special)]
    tokenizer = Tokenizer(models.Unigram(spread, special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _build(folder, tokenizer)


def _spread(tokens: Sequence[str], size: int, special: Sequence[str]) -> list[str]:
    """Lay tokens evenly over a vocabulary, so that texts have ids of its whole width; the others are never met."""
    step, fillers = (size - len(special)) // len(tokens), (f"\ue000{number}\ue000" for number in count())
    spread = [*special]
    for token in sorted(tokens):
        spread += [token, *(next(fillers) for _ in range(step - 1))]
    return [*spread, *(next(fillers) for _ in range(size - len(spread)))]


def _merges(file: Path) -> list[tuple[str, str]]:
    import json

    return [tuple(merge) for merge in json.loads(file.read_text("utf-8"))["model"]["merges"]]


def _build(folder: Path, backend) -> Path:
    from tiny_models import prepare_libraries, randomize

    prepare_libraries()
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    around = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.add_special_tokens(["<s>", "<pad>", "</s>"])
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    unknown = {"unk_token": "<unk>"} if backend.token_to_id("<unk>") is not None else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        **unknown,
    )
    config = XLMRobertaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=_MAX_TOKENS + 2,
        pad_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = XLMRobertaModel(config)
        randomize(network)
    plain = folder.with_name(f"{folder.name}.network")
    network.save_pretrained(str(plain))
    tokenizer.save_pretrained(str(plain))
    transformer = Transformer(str(plain))
    parts = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return folder
