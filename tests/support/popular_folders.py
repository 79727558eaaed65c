"""Writes the folder of a popular repository, file by file as it lies on the hub, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from popular_models import POPULAR
from popular_shapes import Popular
from popular_tokenizers import build_popular_tokenizer
from tiny_models import prepare_libraries, randomize

_STATIC_WIDTH = 32
_ROWS = 64  # a network often has more rows than its tokenizer has words
_PACKAGE = "sentence_transformers.models"
# Every repository's configuration says all of these, whatever it uses.
_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def build_popular(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Build one of ``POPULAR``.

    Args:
        name: Its name on the hub.
        folder: Where it goes; made if missing.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch

    row = POPULAR[name]
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = _write_static(folder) if row.static else _write_network(row, folder)
        _write_modules(row, folder, width)
    return folder


def _write_static(folder: Path) -> int:
    """Write a table of vectors in the format of model2vec."""
    import torch

    tokenizer = build_popular_tokenizer("bert", max_tokens=None)
    backend = tokenizer.backend_tokenizer
    backend.save(str(folder / "tokenizer.json"))
    _save({"embeddings": torch.randn(backend.get_vocab_size(), _STATIC_WIDTH)}, folder, "safetensors")
    _write_json(folder / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"]})
    return _STATIC_WIDTH


def _write_network(row: Popular, folder: Path) -> int:
    """Write the transformer and its tokenizer, and return the width of its tokens' vectors."""
    import torch
    import transformers
    from safetensors.torch import load_file

    tokenizer = build_popular_tokenizer(row.tokenizer, max_tokens=row.max_tokens, padding_side=row.padding_side)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    words = -(-len(tokenizer) // _ROWS) * _ROWS
    said = {"vocab_size": words} | {name: id_ for name, id_ in ids.items() if id_ is not None} | row.config
    kind = transformers.CONFIG_MAPPING["gte" if row.config["model_type"] == "new" else row.config["model_type"]]
    native = said if row.native is None else row.native | {key: said[key] for key in ("vocab_size", "pad_token_id")}
    config = kind.from_dict({key: value for key, value in native.items() if key != "auto_map"})
    network = (
        transformers.AutoModel.from_config(config)
        if row.network is None
        else getattr(transformers, row.network)(config)
    )
    randomize(network)
    network.to(getattr(torch, row.dtype)).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    if row.weights == "pickle":
        stored = folder / "model.safetensors"
        _save(load_file(str(stored)), folder, "pickle")
        stored.unlink()
    _write_json(folder / "config.json", {**said, "torch_dtype": row.dtype, "transformers_version": "4.40.0"})
    return int(getattr(config, "hidden_size", 0) or config.d_model)


def _write_modules(row: Popular, folder: Path, width: int) -> None:
    """Write what sentence-transformers reads; nothing for a plain transformers repository."""
    if not row.modules and not row.static:
        return
    first = row.first or (f"{_PACKAGE}.StaticEmbedding" if row.static else f"{_PACKAGE}.Transformer")
    entries = [{"idx": 0, "name": "0", "path": "", "type": first}]
    for number, (kind, options) in enumerate(row.modules, start=1):
        path = f"{number}_{kind}"
        entries.append({"idx": number, "name": str(number), "path": path, "type": f"{_PACKAGE}.{kind}"})
        (folder / path).mkdir()
        width = _WRITERS[kind](options, folder / path, width)
    _write_json(folder / "modules.json", entries)
    said: dict[str, Any] = {"__version__": {"sentence_transformers": "2.7.0", "transformers": "4.40.0"}}
    if row.prompts:
        said |= {"prompts": row.prompts, "default_prompt_name": row.default_prompt}
    _write_json(folder / "config_sentence_transformers.json", said)
    if not row.static and row.max_tokens is not None:
        _write_json(folder / "sentence_bert_config.json", {"max_seq_length": row.max_tokens, "do_lower_case": False})


def _write_pooling(options: dict[str, Any], folder: Path, width: int) -> int:
    modes = {f"pooling_mode_{mode}": False for mode in _MODES}
    _write_json(folder / "config.json", {"word_embedding_dimension": width, **modes, **options})
    return width


def _write_dense(options: dict[str, Any], folder: Path, width: int) -> int:
    import torch

    layer = torch.nn.Linear(width, options["out"], bias=options["bias"])
    randomize(layer)
    config = {"in_features": width, "out_features": options["out"], "bias": options["bias"]}
    _write_json(folder / "config.json", config | {"activation_function": options["activation"]})
    _save({f"linear.{name}": value.detach() for name, value in layer.state_dict().items()}, folder, options["weights"])
    return int(options["out"])


def _write_nothing(options: dict[str, Any], folder: Path, width: int) -> int:  # as the others
    return width


_WRITERS = {"Pooling": _write_pooling, "Dense": _write_dense, "Normalize": _write_nothing}


def _save(tensors: dict[str, Any], folder: Path, weights: str) -> None:
    import torch
    from safetensors.torch import save_file

    if weights == "pickle":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))
