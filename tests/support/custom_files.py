"""The files of custom models, small and without torch, and a server that has them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from picture_server import PictureServer, answer

ST, CLIP, TIMM = "sentence_transformers", "open_clip", "timm"


def safetensors(tensors: Mapping[str, tuple[int, ...]] | None = None, *, pad_to: int = 0) -> bytes:
    """Return a safetensors file of float32 zeros; ``pad_to`` gives its header that length."""
    header, end = {}, 0
    for name, shape in ({"weight": (3, 5), "bias": (3,)} if tensors is None else tensors).items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode().ljust(pad_to)
    return len(text).to_bytes(8, "little") + text + bytes(end)


WEIGHTS = safetensors()
FILES: dict[str, bytes] = {
    "/model.safetensors": WEIGHTS,
    "/config.json": b'{"model_type": "bert", "hidden_size": 32}',
    "/tokenizer.json": b'{"model": {"type": "WordPiece"}}',
    "/tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer", "vocab_file": "/etc/passwd"}',
    "/vocab.txt": b"[PAD]\n[UNK]\n",
    "/pooling.json": b'{"word_embedding_dimension": 32, "pooling_mode_cls_token": true}',
    "/open_clip_config.json": b'{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}}}',
    "/hf_clip_config.json": b'{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, '
    b'"text_cfg": {"hf_tokenizer_name": "a/b"}}, "preprocess_cfg": {"size": 64, "mean": [0.1, 0.1, 0.1]}}',
    "/timm.json": b'{"architecture": "resnet10t", "num_classes": 2, "label_names": ["a", "b"], '
    b'"pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": 2}}',
}


def body_of(host: PictureServer, library: str, **changes: object) -> dict[str, object]:
    """Return the request of a small model; a change to None takes a field out, and ``/path`` becomes a URL."""
    fields: dict[str, dict[str, object]] = {
        ST: {"configJsonUrl": "/config.json", "tokenizerJsonUrl": "/tokenizer.json"},
        CLIP: {"configJsonUrl": "/open_clip_config.json"},
        TIMM: {"configJsonUrl": "/timm.json"},
    }
    body = {"name": "mine", "library": library, "safetensorsUrl": "/model.safetensors"} | fields[library] | changes
    return {
        name: host.url(value) if isinstance(value, str) and value.startswith("/") else value
        for name, value in body.items()
        if value is not None
    }


def serve_files(host: PictureServer, files: Mapping[str, bytes] = FILES) -> None:
    """Have the server answer with files."""
    host.replies |= {path: answer(content) for path, content in files.items()}


def nothing_left(root: Path) -> bool:
    """Tell whether a repository holds no custom source, and nothing on its way to become one."""
    return not list((root / "custom").iterdir()) and not list((root / "staging").iterdir())
