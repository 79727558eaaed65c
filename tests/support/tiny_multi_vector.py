"""Small late-interaction models in the layouts that they have on the hub, with random weights, built on the spot."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES
from tiny_models import MAX_TOKENS, WIDTH, prepare_libraries, randomize, small_config
from tiny_tokenizers import build_tokenizer

TOKEN_WIDTH = 12


def build_stanford(
    folder: Path,
    *,
    markers: tuple[str, str] = ("[unused0]", "[unused1]"),
    family: str = "BERT",
    settings: dict[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Build a checkpoint of ColBERT's own code: ``colbertv2.0``, answerai-colbert-small, jina-colbert.

    Args:
        folder: Where it goes.
        markers: The markers of queries and documents: tokens of the vocabulary.
        family: The network, a key of ``FAMILIES``.
        settings: Contents of ``artifact.metadata``; None for a folder without this file.
        seed: Seed of the weights.
    """
    import torch
    from safetensors.torch import load_file, save_file

    _build_network(folder, family, pieces=markers, seed=seed)
    prefix = "roberta" if "RoBERTa" in family else "bert"
    tensors = {f"{prefix}.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tensors["linear.weight"] = 0.2 * torch.randn(TOKEN_WIDTH, WIDTH)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    _change(folder / "config.json", architectures=["HF_ColBERT"])
    if settings is not None:
        query, document = markers
        (folder / "artifact.metadata").write_text(
            json.dumps({"query_token_id": query, "doc_token_id": document, "dim": TOKEN_WIDTH, **settings})
        )
    return folder


def build_pylate(
    folder: Path,
    *,
    family: str = "ModernBERT",
    markers: tuple[str, str] = ("[Q] ", "[D] "),
    heads: Sequence[dict[str, Any]] = ({"out_features": TOKEN_WIDTH},),
    settings: dict[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Build a folder as PyLate 1 saves it: GTE-ModernColBERT, mxbai-edge-colbert.

    Args:
        folder: Where it goes.
        family: The network, a key of ``FAMILIES``.
        markers: The markers of queries and documents, which PyLate adds to the tokenizer.
        heads: Options of the linear layers, in order.
        settings: Further settings of ``config_sentence_transformers.json``.
        seed: Seed of the weights.
    """
    import torch
    from safetensors.torch import save_file

    _build_network(folder, family, added=markers, seed=seed)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    width = WIDTH
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, head in enumerate(heads, 1):
            out = head["out_features"]
            part = folder / f"{number}_Dense"
            part.mkdir()
            tensors = {"linear.weight": 0.2 * torch.randn(out, width)}
            if head.get("use_residual") and out != width:
                tensors["residual.weight"] = 0.2 * torch.randn(out, width)
            save_file(tensors, part / "model.safetensors", {"format": "pt"})
            identity = "torch.nn.modules.linear.Identity"
            options = {"in_features": width, "bias": False, "activation_function": identity, **head}
            (part / "config.json").write_text(json.dumps(options))
            modules.append({"idx": number, "name": str(number), "path": part.name, "type": "pylate.models.Dense.Dense"})
            width = out
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 63, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps(
            {
                "__version__": {"sentence_transformers": "4.0.2", "transformers": "4.48.0", "pytorch": "2.5.1"},
                "prompts": {},
                "default_prompt_name": None,
                "similarity_fn_name": "MaxSim",
                "query_prefix": markers[0],
                "document_prefix": markers[1],
                "query_length": 16,
                "document_length": 64,
                "attend_to_expansion_tokens": False,
                "skiplist_words": list(string.punctuation),
                "do_query_expansion": True,
                **(settings or {}),
            }
        )
    )
    return folder


def build_native(
    folder: Path,
    *,
    family: str = "BERT",
    transformer: dict[str, Any] | None = None,
    mask: dict[str, Any] | None = None,
    more: Sequence[Any] = (),
    normalize: bool = True,
    seed: int = 0,
    **options: Any,
) -> Path:
    """Build a folder as sentence-transformers' own ``MultiVectorEncoder`` saves it.

    Args:
        folder: Where it goes.
        family: The network, a key of ``FAMILIES``.
        transformer: Further arguments of the ``Transformer`` module.
        mask: Arguments of the ``MultiVectorMask`` module.
        more: Names of further modules, which go to the end.
        normalize: True to end with ``Normalize``.
        seed: Seed of the weights.
        **options: Further arguments of the ``MultiVectorEncoder`` (``prompts``).
    """
    prepare_libraries()
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder import modules as library

    network = _build_network(folder.with_name(f"{folder.name}.network"), family, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = Dense(WIDTH, TOKEN_WIDTH, False, torch.nn.Identity(), module_input_name="token_embeddings")
        randomize(head)
    parts = [Transformer(str(network), **(transformer or {})), head, library.MultiVectorMask(**(mask or {}))]
    parts += [Normalize(module_input_name="token_embeddings")] if normalize else []
    parts += [getattr(library, name)(pool_factor=2) for name in more]
    MultiVectorEncoder(modules=parts, device="cpu", **options).save(str(folder), create_model_card=False)
    return folder


def _build_network(
    folder: Path, family: str, *, pieces: Sequence[str] = (), added: Sequence[str] = (), seed: int
) -> Path:
    """Build a plain transformers folder whose tokenizer has further pieces or added tokens."""
    prepare_libraries()
    import torch
    from tokenizers import Tokenizer
    from transformers import AddedToken, AutoModel

    kind = FAMILIES[family]
    tokenizer = build_tokenizer(
        kind.tokenizer, kind.template, token_type_ids=kind.token_type_ids, max_tokens=MAX_TOKENS
    )
    if pieces:
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        vocabulary = content["model"]["vocab"]
        for piece in pieces:
            if isinstance(vocabulary, dict):
                vocabulary[piece] = len(vocabulary)
            else:
                vocabulary.append([piece, -20.0])
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in added])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModel.from_config(small_config(kind, tokenizer))
        randomize(network)
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


MULTI_VECTOR: dict[str, Callable[[Path], Path]] = {
    "colbertv2.0 (ColBERT's own layout, BERT)": partial(
        build_stanford, settings={"query_maxlen": 16, "doc_maxlen": 60, "mask_punctuation": True}
    ),
    "answerai-colbert-small (attends to the mask tokens)": partial(
        build_stanford,
        settings={"query_maxlen": 20, "doc_maxlen": 60, "mask_punctuation": False, "attend_to_mask_tokens": True},
        seed=1,
    ),
    "jina-colbert (XLM-RoBERTa, markers of its own)": partial(
        build_stanford,
        family="XLM-RoBERTa",
        markers=("[QueryMarker]", "[DocumentMarker]"),
        settings={"query_maxlen": 16, "doc_maxlen": 60},
    ),
    "GTE-ModernColBERT (PyLate, ModernBERT)": partial(build_pylate, settings={"query_length": 10}),
    "Reason-ModernColBERT (PyLate, queries longer than the local window)": partial(
        build_pylate, settings={"query_length": 40}
    ),
    "mxbai-edge-colbert (PyLate, three heads)": partial(
        build_pylate,
        heads=(
            {"out_features": 40},
            {"out_features": 24, "use_residual": True},
            {"out_features": 8},
        ),
        settings={"attend_to_expansion_tokens": True, "skiplist_words": [], "query_length": 24},
    ),
    "PyLate without query expansion": partial(
        build_pylate, family="BERT", settings={"do_query_expansion": False, "query_length": 20}
    ),
    "MultiVectorEncoder, queries of at least 12 tokens": partial(
        build_native,
        transformer={
            "query_expansion": {"strategy": "min", "length": 12},
            "query_length": 40,
            "document_length": 70,
        },
        mask={"skiplist_words": [",", ".", "the"], "skiplist_tasks": ["query", "document"]},
        prompts={"query": "search: ", "document": "text: "},
    ),
    "MultiVectorEncoder without Normalize": partial(build_native, family="MPNet", normalize=False),
}
"""Builders of models that can be converted, by the rows' names in the table of compatibility."""

REFUSED_MULTI_VECTOR: dict[str, Callable[[Path], Path]] = {
    "MultiVectorEncoder with token pooling": partial(build_native, more=("HierarchicalTokenPooling",)),
}
"""Builders of models that are refused."""
