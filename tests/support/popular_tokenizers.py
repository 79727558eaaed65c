"""The tokenizers of popular models: transformers' own classes, as the hub's configurations name them, of few words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tiny_tokenizers import LINES, build_wordpiece, count_pieces

Word = Literal["wordpiece", "byte_level", "unigram", "byte_fallback"]

_WORDS = 600
_CHATS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularTokenizer:
    """How a kind of tokenizer is made.

    Attributes:
        kind: transformers' class.
        words: How its vocabulary is learned.
        special: Special tokens in the order of their ids.
        arguments: Arguments of the class.
        template: Tokens around a text, where the class itself puts none.
    """

    kind: str
    words: Word
    special: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    template: str = ""


_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_XLM = ("<s>", "<pad>", "</s>", "<unk>")
_NAMED = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

TOKENIZERS: dict[str, PopularTokenizer] = {
    "bert": PopularTokenizer(kind="BertTokenizer", words="wordpiece", special=_BERT),
    "bert-cased": PopularTokenizer(
        kind="BertTokenizer", words="wordpiece", special=_BERT, arguments={"do_lower_case": False}
    ),
    "bert-korean": PopularTokenizer(
        kind="BertTokenizer",
        words="wordpiece",
        special=("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"),
        arguments={"do_lower_case": False, "bos_token": "[CLS]", "eos_token": "[SEP]"},
    ),
    "distilbert": PopularTokenizer(kind="DistilBertTokenizer", words="wordpiece", special=_BERT),
    "distilbert-cased": PopularTokenizer(
        kind="DistilBertTokenizer", words="wordpiece", special=_BERT, arguments={"do_lower_case": False}
    ),
    "mpnet": PopularTokenizer(
        kind="MPNetTokenizer", words="wordpiece", special=("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>")
    ),
    "roberta": PopularTokenizer(kind="RobertaTokenizer", words="byte_level", special=(*_XLM, "<mask>")),
    "xlm-roberta": PopularTokenizer(kind="XLMRobertaTokenizer", words="unigram", special=_XLM),
    "camembert": PopularTokenizer(
        kind="CamembertTokenizer",
        words="unigram",
        special=("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"),
    ),
    "albert": PopularTokenizer(
        kind="AlbertTokenizer", words="unigram", special=("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    ),
    "t5": PopularTokenizer(kind="T5Tokenizer", words="unigram", special=("<pad>", "</s>", "<unk>")),
    "qwen": PopularTokenizer(
        kind="Qwen2Tokenizer", words="byte_level", special=_CHATS, template="$A:0 <|endoftext|>:0"
    ),
    "llama": PopularTokenizer(
        kind="LlamaTokenizer",
        words="byte_fallback",
        special=("<unk>", "<s>", "</s>"),
        arguments={"pad_token": "</s>", "add_bos_token": True, "add_eos_token": True},
    ),
    "gemma": PopularTokenizer(
        kind="GemmaTokenizer",
        words="byte_fallback",
        special=("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
        arguments={"add_bos_token": True, "add_eos_token": True},
    ),
    "modernbert": PopularTokenizer(
        kind="PreTrainedTokenizerFast",
        words="byte_level",
        special=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
        arguments=_NAMED | {"model_input_names": ["input_ids", "attention_mask"]},
        template="[CLS]:0 $A:0 [SEP]:0",
    ),
    "eurobert": PopularTokenizer(
        kind="PreTrainedTokenizerFast",
        words="byte_level",
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|mask|>"),
        arguments={
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>",
            "pad_token": "<|pad|>",
            "mask_token": "<|mask|>",
            "model_input_names": ["input_ids", "attention_mask"],
        },
        template="<|begin_of_text|>:0 $A:0 <|end_of_text|>:0",
    ),
}


def build_popular_tokenizer(name: str, *, max_tokens: int | None, padding_side: str = "right") -> Any:
    """Build one of ``TOKENIZERS``.

    Args:
        name: Its key.
        max_tokens: ``model_max_length``; None where the hub's configuration sets none.
        padding_side: Side of padding.
    """
    import transformers
    from tokenizers.processors import TemplateProcessing

    chosen = TOKENIZERS[name]
    arguments: dict[str, Any] = {"padding_side": padding_side, **chosen.arguments}
    if max_tokens is not None:
        arguments["model_max_length"] = max_tokens
    if chosen.words == "unigram":
        arguments["_spm_precompiled_charsmap"] = _characters()
    made = _LEARN[chosen.words](chosen)
    if chosen.kind == "PreTrainedTokenizerFast":
        arguments["tokenizer_object"] = made
    else:
        arguments |= _vocabulary(made)
    tokenizer = getattr(transformers, chosen.kind)(**arguments)
    if chosen.template:
        backend = tokenizer.backend_tokenizer
        around = [(token, backend.token_to_id(token)) for token in chosen.special if token in chosen.template]
        backend.post_processor = TemplateProcessing(single=chosen.template, special_tokens=around)
    return tokenizer


def _vocabulary(made: Any) -> dict[str, Any]:
    """Return what a class of transformers is made of: words by id, or pieces with their scores, and merges."""
    import json

    model = json.loads(made.to_str())["model"]
    if model["type"] == "Unigram":
        return {"vocab": [(piece, score) for piece, score in model["vocab"]]}
    merges = {"merges": [tuple(pair) for pair in model["merges"]]} if "merges" in model else {}
    return {"vocab": model["vocab"], **merges}


def _characters() -> bytes:
    """Return SentencePiece's table of how characters are rewritten (nmt_nfkc), which every model of it carries."""
    import io

    from sentencepiece import SentencePieceTrainer, sentencepiece_model_pb2

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4),
        model_writer=written,
        vocab_size=_WORDS,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
    table: bytes = model.normalizer_spec.precompiled_charsmap
    return table


def _wordpiece(chosen: PopularTokenizer) -> Any:
    return build_wordpiece(list(chosen.special), _WORDS, lower_case=chosen.arguments.get("do_lower_case", True))


def _byte_level(chosen: PopularTokenizer) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(chosen.special)
    return _trained(
        tokenizer,
        trainers.BpeTrainer(vocab_size=_WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )


def _unigram(chosen: PopularTokenizer) -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.Unigram(count_pieces(list(chosen.special)), chosen.special.index("<unk>")))


def _byte_fallback(chosen: PopularTokenizer) -> Any:
    """Learn as SentencePiece's BPE does: spaces are characters, and what has no piece is spelled in bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = [*chosen.special, *(f"<0x{byte:02X}>" for byte in range(256))]
    return _trained(
        tokenizer, trainers.BpeTrainer(vocab_size=_WORDS + 256, special_tokens=special, show_progress=False)
    )


def _trained(tokenizer: Any, trainer: Any) -> Any:
    tokenizer.train_from_iterator(LINES * 4, trainer)
    return tokenizer


_LEARN: dict[Word, Callable[[PopularTokenizer], Any]] = {
    "wordpiece": _wordpiece,
    "byte_level": _byte_level,
    "unigram": _unigram,
    "byte_fallback": _byte_fallback,
}
