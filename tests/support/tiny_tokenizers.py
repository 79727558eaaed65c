"""Tokenizers of every common kind, made in a moment of a few lines, the same each time; nothing comes from a hub."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from itertools import combinations
from typing import Any, Literal

Kind = Literal["wordpiece", "roberta", "bytes", "unigram", "t5"]
Template = Literal["cls_sep", "bos_eos", "bos", "eos", "sep_cls", "none"]

VOCABULARY_SIZE = 420
# Of Unigram's vocabulary, special tokens not counted: room is left for those that XLNet's own tokenizer adds.
_MOST_PIECES = 360
_LONGEST_PIECE = 6
_SPACE = "▁"
LINES = (
    "the river runs to the sea, slowly and quietly past old stone houses",
    "a quick brown fox jumps over the lazy dog while coffee gets cold in Berlin",
    "running, unbelievable prices: 42 euros on 13 March; don't e-mail me!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "今天天气很好 我们去公园吧 東京 你好 世界 동해물과 백두산이 서울",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก Ελλάδα café naïve Straße",
    "🙂 👍 https://example.org/a?b=c def f(x): return x**2 # code",
    "query: passage: Represent this sentence for searching: ",
)
_SPECIAL = {
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]", "mask": "[MASK]"},
    "roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "bytes": {"pad": "<|pad|>", "bos": "<|begin|>", "eos": "<|end|>"},
    "unigram": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "t5": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
}


def build_tokenizer(
    kind: Kind,
    template: Template,
    *,
    padding_side: Literal["right", "left"] = "right",
    token_type_ids: bool = False,
    max_tokens: int = 80,
) -> Any:
    """Build a fast transformers tokenizer.

    Args:
        kind: WordPiece (lower case), byte-level BPE with RoBERTa's or a decoder's special tokens, or Unigram with
            XLM-RoBERTa's or T5's.
        template: Special tokens put around a text; ``sep_cls`` gives XLNet's own tokenizer with its own settings.
        padding_side: Side of padding.
        token_type_ids: True where the tokenizer makes them.
        max_tokens: ``model_max_length``.

    Returns:
        A ``PreTrainedTokenizerFast``; padding has id 0 for WordPiece, ``bytes`` and ``t5``, 1 otherwise.
    """
    from transformers import PreTrainedTokenizerFast

    special = _SPECIAL[kind]
    backend = _make(kind, list(special.values()))
    if template == "sep_cls":
        return _xlnet(backend, max_tokens)
    _surround(backend, template, special)
    names = {"bos": "bos_token", "eos": "eos_token", "pad": "pad_token", "unk": "unk_token", "mask": "mask_token"}
    arguments: dict[str, Any] = {names[role]: token for role, token in special.items()}
    if kind == "wordpiece":
        arguments = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
        arguments |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if token_type_ids else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side=padding_side,
        model_input_names=inputs,
        model_max_length=max_tokens,
        **arguments,
    )


def _xlnet(backend: Any, max_tokens: int) -> Any:
    """Return XLNet's own tokenizer: padding on the left, the class token last and of a type of its own."""
    import json

    from transformers import XLNetTokenizer

    vocabulary = [(token, score) for token, score in json.loads(backend.to_str())["model"]["vocab"]]
    unknown = [token for token, _ in vocabulary].index("<unk>")
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return XLNetTokenizer(vocab=vocabulary, unk_id=unknown, model_max_length=max_tokens, model_input_names=inputs)


def _make(kind: Kind, special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if kind == "wordpiece":
        return build_wordpiece(special, VOCABULARY_SIZE, lower_case=True)
    if kind in ("unigram", "t5"):
        tokenizer = Tokenizer(models.Unigram(count_pieces(special), special.index("<unk>")))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        tokenizer.add_special_tokens(special)
        return tokenizer
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "roberta")
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES * 4, trainer)
    return tokenizer


def build_wordpiece(special: list[str], size: int, *, lower_case: bool) -> Any:
    """Build a BERT tokenizer of at most ``size`` pieces; its library's trainer numbers them differently each time."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=lower_case), pre_tokenizers.BertPreTokenizer()
    words = [word for line in LINES for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(line))]
    pieces = [*special, *_most_frequent(words, size - len(special), continuation="##")]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.add_special_tokens(special)
    return tokenizer


def count_pieces(special: list[str]) -> list[tuple[str, float]]:
    """Return a Unigram vocabulary with log-probabilities; its library's trainer finds other pieces each time."""
    lines = [_SPACE + unicodedata.normalize("NFKC", line).replace(" ", f" {_SPACE}") for line in LINES]
    counts = _most_frequent(" ".join(lines).split(" "), _MOST_PIECES)
    total = sum(counts.values())
    return [(token, 0.0) for token in special] + [(piece, math.log(count / total)) for piece, count in counts.items()]


def _most_frequent(words: list[str], most: int, continuation: str = "") -> dict[str, int]:
    """Count all single characters of the words, and the longer pieces that cover most of them.

    ``continuation`` is put before pieces that do not begin a word.
    """
    counts: Counter[str] = Counter()
    characters = set()
    for word in words:
        for start, stop in combinations(range(len(word) + 1), 2):
            if stop - start <= _LONGEST_PIECE:
                piece = (continuation if start else "") + word[start:stop]
                counts[piece] += 1
                if stop - start == 1:
                    characters.add(piece)
    longer = sorted(counts.keys() - characters, key=lambda piece: (-counts[piece] * len(piece), piece))
    return {piece: counts[piece] for piece in [*sorted(characters), *longer][:most]}


def _surround(tokenizer: Any, template: Template, special: dict[str, str]) -> None:
    from tokenizers.processors import TemplateProcessing

    bos, eos = special.get("bos", ""), special["eos"]
    patterns = {
        "cls_sep": f"{bos} $A {eos}",
        "bos_eos": f"{bos} $A {eos}",
        "bos": f"{bos} $A",
        "eos": f"$A {eos}",
        "none": None,
    }
    pattern = patterns[template]
    if pattern is None:
        return
    tokens = [(token, tokenizer.token_to_id(token)) for token in (bos, eos) if token]
    pairs = {
        "cls_sep": f"{bos} $A {eos} $B:1 {eos}:1",
        "bos_eos": f"{bos} $A {eos} {eos} $B {eos}",
        "bos": f"{bos} $A {bos} $B",
        "eos": f"$A {eos} $B {eos}",
    }
    tokenizer.post_processor = TemplateProcessing(single=pattern, pair=pairs[template], special_tokens=tokens)
