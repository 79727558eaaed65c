"""What the tests of Japanese tokenizers run in the process that has torch."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

from tokenizers_in_process import outcome

WORDS = [
    *(
        "今日",
        "は",
        "天気",
        "が",
        "良い",
        "です",
        "ね",
        "東京",
        "行く",
        "まし",
        "た",
        "犬",
        "猫",
        "れ",
        "を",
        "本",
        "読む",
    ),
    *("river", "the", "2", "1", "。", "、", "[", "]", "mask", "a", "b", "c", "x", "(", ")"),
]
PIECES = ["##京", "##行", "##く", "##x", "##r", "##1", "##2", "##が", "##い"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "今日は天気が良いですね。",
    "東京へ行きました、[MASK]を読む［ＭＡＳＫ］ [SEP]犬",
    "",
    " ",
    "ＡＢＣ　ｶﾀｶﾅ ①２１ the RIVER\nx\ty",
    "\u2028a\x1cb\x85c",
    "x" * 130,
]


def build(folder: Path, options: dict[str, Any]) -> Path:
    """Build a small Japanese BERT with mean pooling; its tokenizer is Python code, MeCab and a vocabulary."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    from tiny_models import randomize

    plain = folder.with_name("plain")
    plain.mkdir(parents=True)
    letters = sorted(set("".join(WORDS)) - set(WORDS)) if options["subword_tokenizer_type"] == "character" else PIECES
    vocabulary = [*SPECIAL, *WORDS, *letters]
    (plain / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    named = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab", "model_max_length": 60}
    (plain / "tokenizer_config.json").write_text(json.dumps(named | options))
    torch.manual_seed(0)
    network = BertModel(
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=60,
        )
    )  # fmt: skip
    randomize(network)
    network.save_pretrained(plain)
    model = SentenceTransformer(modules=[Transformer(str(plain)), Pooling(32)], device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def differing_texts(folder: Path, options: dict[str, Any]) -> list[str]:
    """Return the texts whose ids are not those of the source."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
    from ingrain.export.proof.texts import tokenizer_texts
    from ingrain.preprocess.id_bytes import pack_ids
    from ingrain.preprocess.text import TextPreprocessor

    checkpoint = inspect(build(folder, options), trust_remote_code=False)
    source = SentenceTransformersSource(checkpoint, name="m", trust_remote_code=False)
    output = folder.with_name("output")
    output.mkdir()
    preprocessor = TextPreprocessor(source.save_tokenizer(output), output)
    texts = [*TEXTS, *tokenizer_texts(source.special_tokens, 60)]
    return [
        text
        for text, item in zip(texts, preprocessor.encode(texts), strict=True)
        if item.packed_ids != pack_ids(source.tokenize([text])["input_ids"][0].tolist())
    ]


def inspection(folder: Path, options: dict[str, Any], missing: tuple[str, ...] = ()) -> str:
    """Inspect a folder's configuration alone, where packages may be missing."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertJapaneseTokenizer"} | options))

    def find(name: str) -> object | None:
        return None if name in missing else object()

    with mock.patch("ingrain.preprocess.japanese.find_spec", find):
        return outcome(lambda: inspect(folder, trust_remote_code=False))
