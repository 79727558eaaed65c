"""What the tests of tokenizers without a tokenizer.json run in the process that has torch."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from ingrain.errors import IngrainError

CONTROL = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP]"}
BYTES = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 700, "normalization_rule_name": "identity"}
# By the kind of model: how its file was trained, and its name.
FILES: dict[str, tuple[dict[str, Any], str]] = {
    "xlm-roberta": ({}, "sentencepiece.bpe.model"),
    "camembert": ({}, "sentencepiece.bpe.model"),
    "mbart": ({}, "sentencepiece.bpe.model"),
    "t5": ({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "spiece.model"),
    "mt5": ({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "spiece.model"),
    "albert": (CONTROL | {"user_defined_symbols": "[MASK]"}, "spiece.model"),
    "xlnet": ({}, "spiece.model"),
    "pegasus": ({"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "spiece.model"),
    "deberta-v2": ({"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "bos_piece": "[CLS]"}, "spm.model"),
    "llama": (BYTES | {"remove_extra_whitespaces": False}, "tokenizer.model"),
    "mistral": (BYTES | {"remove_extra_whitespaces": False}, "tokenizer.model"),
    "gemma": (
        BYTES | {"remove_extra_whitespaces": False, "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1}
        | {"bos_id": 2, "unk_id": 3},
        "tokenizer.model",
    ),
    "luke": ({}, "sentencepiece.bpe.model"),
}  # fmt: skip
CLASSES = {"llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "luke": "MLukeTokenizer"}


def train(kind: str, folder: Path) -> Path:
    """Write SentencePiece's file of a kind of model, with the configurations that name its class."""
    import sentencepiece

    from tiny_tokenizers import LINES

    options, name = FILES[kind]
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 6),
        model_prefix=str(folder / "trained"),
        **{"vocab_size": 400, "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2} | options,
    )
    (folder / "trained.model").rename(folder / name)
    (folder / "trained.vocab").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    named = {"tokenizer_class": CLASSES[kind]} if kind in CLASSES else {}
    # As Llama's own folders say it.
    (folder / "tokenizer_config.json").write_text(json.dumps(named | {"legacy": False}))
    return folder


def comparison(kind: str, folder: Path) -> str:
    """Convert a file as the source library does, and compare; return why it is refused."""
    from transformers import AutoTokenizer

    from ingrain.export.huggingface.tokenizer_files import compare_with_sentencepiece

    tokenizer = AutoTokenizer.from_pretrained(str(train(kind, folder)), local_files_only=True)
    return outcome(lambda: compare_with_sentencepiece(tokenizer))


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except IngrainError as error:
        return f"{error.code}: {error.message}"
    return "passes"


def inspection(folder: Path, missing: str | None = None) -> str:
    """Inspect a folder where a package may be missing."""
    from ingrain.export.families.sentence_transformers.checkpoint import inspect

    def find(name: str) -> object | None:
        return None if name == missing else object()

    with mock.patch("ingrain.export.huggingface.tokenizer_files.find_spec", find):
        return outcome(lambda: inspect(folder, trust_remote_code=False))


def written_without_vocabulary(kind: str, folder: Path) -> str:
    """Write the tokenizer that the library makes of a folder without its vocabulary."""
    from transformers import AutoTokenizer

    from ingrain.export.huggingface.tokenizer_files import write_tokenizer

    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return outcome(lambda: write_tokenizer(tokenizer.backend_tokenizer, folder, 8, "right"))


def build_without_tokenizer_json(kind: str, folder: Path) -> None:
    """Build a model of XLM-RoBERTa's or T5's kind whose tokenizer is SentencePiece's file alone."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, T5Config, T5EncoderModel, XLMRobertaConfig, XLMRobertaModel

    from tiny_models import randomize

    plain = train(kind, folder.with_name("plain"))
    tokenizer = AutoTokenizer.from_pretrained(str(plain), local_files_only=True)
    if kind == "t5":
        network: Any = T5EncoderModel(
            T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        )
    else:
        network = XLMRobertaModel(
            XLMRobertaConfig(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=82, pad_token_id=1,
            )
        )  # fmt: skip
    torch.manual_seed(0)
    randomize(network)
    network.save_pretrained(plain)
    part = Transformer(str(plain), max_seq_length=80)
    SentenceTransformer(modules=[part, Pooling(32)], device="cpu").save(str(folder), create_model_card=False)
    # What the library writes of itself, the models of the time before had not.
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 80}')
    (folder / FILES[kind][1]).write_bytes((plain / FILES[kind][1]).read_bytes())


def load_error_without(package: str, folder: Path) -> str:
    """Load a model whose library imports a package that is not there; return the error."""
    import sentence_transformers

    from ingrain.export.families.sentence_transformers.checkpoint import Checkpoint
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource

    def load(*_: object, **__: object) -> object:
        with mock.patch.dict(sys.modules, {package: None}):
            try:
                return __import__(package)
            except ImportError as error:
                raise ValueError("the tokenizer cannot be made") from error

    with mock.patch.object(sentence_transformers, "SentenceTransformer", load):
        checkpoint = Checkpoint(folder, (), custom_code=False)
        return outcome(lambda: SentenceTransformersSource(checkpoint, name="m", trust_remote_code=False))
