"""The manifest: all that serving needs to know about a published model, as one JSON file."""

from __future__ import annotations

from typing import Literal

import msgspec

MANIFEST_FORMAT = 1

Library = Literal["sentence_transformers", "open_clip", "timm"]
Role = Literal["text_encoder", "image_encoder", "classifier"]
DType = Literal["FP32", "FP16", "INT64", "INT32", "UINT8"]


class Tensor(msgspec.Struct, frozen=True):
    """One input or output of a graph. ``shape`` has the batch axis first; -1 is dynamic."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


class StoredFile(msgspec.Struct, frozen=True):
    """A file of the entry, its path relative to the folder that holds it."""

    path: str
    size_bytes: int
    sha256: str


class Graph(msgspec.Struct, frozen=True):
    """One ONNX file, which is one Triton model.

    Attributes:
        name: Triton's name of the model, unique in the repository.
        role: Which part of the user's model this graph is.
        inputs: Inputs as ONNX Runtime reports them.
        outputs: Outputs as ONNX Runtime reports them.
        files: ``model.onnx`` and, for large models, its external data.
        equal_lengths_only: True where a vector depends on the padding beside it (MobileBERT, ConvBERT), so that
            only texts of the same token count may share a batch.
    """

    name: str
    role: Role
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: tuple[StoredFile, ...]
    equal_lengths_only: bool = False


class TextPreprocess(msgspec.Struct, frozen=True):
    """How a text becomes token ids.

    Attributes:
        tokenizer: The `tokenizers` JSON file, with truncation and padding switched off.
        max_tokens: Longest sequence, special tokens included.
        padding_side: Where padding goes.
        pad_id: Token id of padding.
        pad_type_id: Token type id of padding.
        add_special_tokens: False for static embedding models.
        allow_empty: True where a text may have no token at all (static embedding models).
        prompts: The model's own prompts by name.
        default_prompt_name: The prompt that the source's ``encode`` applies when none is named.
        include_prompt: False where prompt tokens are left out of pooling (the graph then has a ``pooling_mask``).
    """

    max_tokens: int
    tokenizer: str = "tokenizer.json"
    padding_side: Literal["right", "left"] = "right"
    pad_id: int = 0
    pad_type_id: int = 0
    add_special_tokens: bool = True
    allow_empty: bool = False
    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None
    include_prompt: bool = True


class Verification(msgspec.Struct, frozen=True):
    """What the proof before publishing measured.

    Attributes:
        max_abs_diff: Largest difference of any vector element to the source library's, both brought to unit length.
        min_cosine: Smallest cosine between our vector and the source library's.
        padding_diff: Largest difference between a row alone and the same row in a padded batch.
        cases: How many vectors were compared.
        tokenizer_cases: How many texts had their ids compared with the source's tokenizer (all equal).
        tolerance: What ``max_abs_diff`` had to stay under.
    """

    max_abs_diff: float
    min_cosine: float
    padding_diff: float
    cases: int
    tokenizer_cases: int
    tolerance: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A published model.

    Attributes:
        format: Version of this file's format; a newer one than ours is never served.
        name: What the user calls the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag, if any.
        revision: Revision asked for, if any.
        commit: The commit that the hub resolved it to, if the hub was asked.
        architecture: The source's own word for the network (``BertModel``).
        created_at: UTC, ISO 8601.
        versions: Versions of Ingrain and of the libraries that made the graphs.
        embedding_size: Width of the vectors, ``D``.
        graphs: The graphs of the model.
        text: How texts are prepared, where the model takes text.
        files: Side files (the tokenizer), relative to the manifest's folder.
        verification: The measured differences by role.
    """

    name: str
    library: Library
    pretrained: str | None = None
    revision: str | None = None
    commit: str | None = None
    architecture: str
    created_at: str
    versions: dict[str, str]
    embedding_size: int
    graphs: tuple[Graph, ...]
    text: TextPreprocess | None = None
    files: tuple[StoredFile, ...] = ()
    verification: dict[Role, Verification] = {}
    format: int = MANIFEST_FORMAT
