"""Refuses tokenizers that cannot be served, and checks tokenizers that transformers converts from SentencePiece files.

For some classes the conversion loses the normalizer, the leading space or the shift of the ids, and the model would
silently get other tokens than in training. The converted tokenizer's ids are therefore compared with SentencePiece's.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ingrain.errors import ExportUnavailableError, UnsupportedModelError
from ingrain.export.huggingface import japanese_tokenizer
from ingrain.export.model_files import unsupported
from ingrain.preprocess.tokenizer_faults import failing_probe, growth_fault

_SENTENCEPIECE = ("sentencepiece.bpe.model", "sentencepiece.model", "spiece.model", "spm.model", "tokenizer.model")
_TIKTOKEN = "tiktoken.model"
# Files that hold a whole vocabulary. Without one transformers makes a tokenizer that knows no word, without an error.
_VOCABULARIES = (
    {"tokenizer.json"},
    {"vocab.txt"},
    {"vocab.json", "merges.txt"},
    {_TIKTOKEN},
    *({name} for name in _SENTENCEPIECE),
)
_SPECIAL = re.compile(r"<.*>(NOTUSED)?|\[.*\]")

# For each class: by how much it shifts SentencePiece's ids, and the id of the unknown token if that is not shifted.
# Other classes have not been checked (mLUKE's conversion, for one, forgets the shift).
_IDS: dict[str, tuple[int, int | None]] = {
    "AlbertTokenizer": (0, None),
    "BigBirdTokenizer": (0, None),
    "CamembertTokenizer": (4, 3),
    "DebertaV2Tokenizer": (0, None),
    "FNetTokenizer": (0, None),
    "GemmaTokenizer": (0, None),
    "LlamaTokenizer": (0, None),
    "MBart50Tokenizer": (1, 3),
    "MBartTokenizer": (1, 3),
    "PegasusTokenizer": (103, None),
    "RemBertTokenizer": (0, None),
    "T5Tokenizer": (0, None),
    "TokenizersBackend": (0, None),
    "XLMRobertaTokenizer": (1, 3),
    "XLNetTokenizer": (0, None),
}
# No capitals, accents, quotes or Hangul: some classes change these on purpose before SentencePiece.
_TEXTS = (
    "the river runs to the sea, slowly",
    "running costs: 42 euros, 3,000 tokens; don't e-mail me!",
    "two  spaces, a\ttab and ½ a ﬁne line",
    "съешь же мягких булок",
    "今天天气很好 東京",
    "ｆｕｌｌ width, \u200bzero width, 🙂",
    "x" * 50,
)


def check_tokenizer_files(folder: Path, config: dict[str, Any], tokenizer_config: dict[str, Any]) -> None:
    """Check a tokenizer by its files.

    Raises:
        UnsupportedModelError: The tokenizer's class exists only in Python, which the server does not run.
        ExportUnavailableError: A package that reads the tokenizer's file, or splits words, is not installed.
    """
    _refuse_python_alone(config, tokenizer_config)
    if (folder / "tokenizer.json").is_file():
        return
    for names, package in ((_SENTENCEPIECE, "sentencepiece"), ((_TIKTOKEN,), "tiktoken")):
        name = next((name for name in names if (folder / name).is_file()), None)
        if name is not None and find_spec(package) is None:
            raise ExportUnavailableError(
                f"The model's tokenizer exists only as {name!r}, which needs the Python package {package!r}. "
                f"Run pip install {package}, or add a tokenizer.json to the model."
            )


def check_vocabulary(folder: Path, tokenizer_config: dict[str, Any]) -> None:
    """Check that the files of a tokenizer hold its whole vocabulary, unless code that comes with the model reads them.

    Raises:
        UnsupportedModelError: They do not.
    """
    there = {path.name for path in folder.iterdir()}
    if "auto_map" in tokenizer_config or any(names <= there for names in _VOCABULARIES):
        return
    half = next((min(names - there) for names in _VOCABULARIES if names & there), None)
    what = "is missing" if half is None else f"is missing in part ({half})"
    raise unsupported(
        f"The vocabulary of the model's tokenizer {what}: add its tokenizer.json, or vocab.txt, vocab.json with "
        "merges.txt, or SentencePiece's file, to the model's files."
    )


def compare_with_sentencepiece(tokenizer: Any) -> None:
    """Compare a tokenizer that was converted from a SentencePiece file with SentencePiece.

    Args:
        tokenizer: A fast tokenizer of transformers; one loaded from a ``tokenizer.json`` passes.

    Raises:
        UnsupportedModelError: The two give different ids, or the tokenizer's class has not been checked.
    """
    vocabulary = tokenizer.init_kwargs.get("vocab_file")
    if tokenizer.init_kwargs.get("tokenizer_file") or not str(vocabulary).endswith(".model"):
        return
    if Path(vocabulary).name == _TIKTOKEN:
        return
    from sentencepiece import SentencePieceProcessor

    kind, reader = type(tokenizer).__name__, SentencePieceProcessor(model_file=vocabulary)
    if kind not in _IDS:
        raise _unlike(kind, vocabulary, "but Ingrain has not checked this conversion")
    shift, unknown = _IDS[kind]
    for text in _TEXTS:
        pieces = reader.encode(text)
        wanted = [unknown if unknown is not None and piece == reader.unk_id() else piece + shift for piece in pieces]
        if tokenizer(text, add_special_tokens=False)["input_ids"] != wanted:
            raise _unlike(kind, vocabulary, "but the result gives other tokens for a text than SentencePiece itself")


def write_tokenizer(backend: Tokenizer, folder: Path, limit: int, direction: str, name: str = "tokenizer.json") -> None:
    """Write a tokenizer that truncates texts to ``limit`` tokens on side ``direction`` and does not pad.

    Raises:
        UnsupportedModelError: The tokenizer knows no word, fails on a text, or makes texts far longer than they are.
    """
    if not _knows_words(backend):
        raise unsupported(
            "The model's tokenizer has no word in its vocabulary but special tokens, so that it could not tell texts "
            "apart: add the tokenizer.json that the model was trained with."
        )
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.enable_truncation(limit, direction=direction)
    if (fault := growth_fault(copy)) is not None:
        raise unsupported(f"The model's tokenizer {fault}.")
    if failing_probe(copy):
        raise unsupported("The model's tokenizer fails on ordinary texts; the server's log has the details.")
    copy.save(str(folder / name))


def _knows_words(tokenizer: Tokenizer) -> bool:
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    words = (word.strip("▁Ġ") for word in tokenizer.get_vocab(with_added_tokens=False))
    return any(word and word not in added and not _SPECIAL.fullmatch(word) for word in words)


def _refuse_python_alone(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> None:
    from transformers import PreTrainedTokenizer
    from transformers.models.auto.tokenization_auto import (
        MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
        TOKENIZER_MAPPING_NAMES,
        tokenizer_class_from_name,
    )

    model_type = config.get("model_type")
    if "auto_map" in tokenizer_config or model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS:
        return
    named = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    name = named or TOKENIZER_MAPPING_NAMES.get(str(model_type))
    found = tokenizer_class_from_name(name) if isinstance(name, str) else None
    if not isinstance(found, type) or not issubclass(found, PreTrainedTokenizer):
        return
    if name == japanese_tokenizer.CLASS:
        japanese_tokenizer.japanese_words(tokenizer_config)
        return
    raise unsupported(
        f"The model's tokenizer {name!r} exists only in Python; it has no fast form (tokenizer.json), which the server "
        "needs."
    )


def _unlike(kind: str, vocabulary: str, what: str) -> UnsupportedModelError:
    return unsupported(
        f"The installed transformers converts the tokenizer's {Path(vocabulary).name!r} for {kind!r}, {what}. Add a "
        "tokenizer.json to the model, written by save_pretrained of an earlier transformers' fast tokenizer."
    )
