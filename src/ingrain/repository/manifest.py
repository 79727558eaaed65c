"""The manifest: all facts about a published model that serving needs, as one JSON file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.pair_template import PairTemplate
from ingrain.repository.token_rules import LateInteraction, TokenRules
from ingrain.repository.tuning import Tuning
from ingrain.repository.verification import Verification
from ingrain.roles import ROLES
from ingrain.vocabulary import DType, InputType, Library, Precision, Role, Task

MANIFEST_FORMAT = 1


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


class Head(msgspec.Struct, frozen=True):
    """What a graph computes besides its main role, from the same network.

    Attributes:
        role: The role.
        outputs: Outputs as ONNX Runtime reports them.
        skipped_tokens: Number of leading tokens of a text without a vector in the result; only of vectors of tokens.
    """

    role: Role
    outputs: tuple[Tensor, ...]
    skipped_tokens: int = 0

    def __post_init__(self) -> None:
        _check_role(self.role)


class Graph(msgspec.Struct, frozen=True):
    """One ONNX file, which is one Triton model.

    Attributes:
        name: Triton's name of the model, unique in the repository.
        role: The part of the user's model that this graph computes; the main one if it has heads.
        inputs: Inputs as ONNX Runtime reports them.
        outputs: Outputs of the main role as ONNX Runtime reports them.
        files: ``model.onnx`` and, for large models, its external data.
        equal_lengths_only: True if a vector depends on the padding in its batch (MobileBERT, ConvBERT), so that only
            texts of the same token count may share a batch.
        packs_tokens: True if most operators run on real tokens only, so that padding costs little.
        heads: What the graph computes for further roles; a request gets only the outputs that it needs.
    """

    name: str
    role: Role
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: tuple[StoredFile, ...]
    equal_lengths_only: bool = False
    packs_tokens: bool = False
    heads: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        _check_role(self.role)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The main role, and those of the heads."""
        return (self.role, *(head.role for head in self.heads))

    @property
    def all_outputs(self) -> tuple[Tensor, ...]:
        """The outputs of all roles."""
        return (*self.outputs, *(output for head in self.heads for output in head.outputs))

    def outputs_of(self, role: Role) -> tuple[Tensor, ...]:
        """Return the outputs of one of the graph's roles."""
        return self.outputs if role == self.role else self.head(role).outputs

    def names_of(self, roles: Iterable[Role]) -> tuple[str, ...]:
        """Return the names of the outputs of some of the graph's roles."""
        return tuple(output.name for role in roles for output in self.outputs_of(role))

    def head(self, role: Role) -> Head:
        """Return the head with a role."""
        return next(head for head in self.heads if head.role == role)


def _check_role(role: Role) -> None:
    if role not in ROLES:
        raise ValueError(f"a graph has the role {role!r}, which is none of {', '.join(ROLES)}")


class JapaneseWords(msgspec.Struct, frozen=True):
    """How MeCab splits a text into words before it is tokenized.

    Attributes:
        dictionary: The package with the dictionary.
        normalize: True if the text is first normalized to NFKC.
        lower: True if the words are then lowercased.
    """

    dictionary: Literal["ipadic", "unidic_lite", "unidic"]
    normalize: bool = True
    lower: bool = False


class TextPreprocess(msgspec.Struct, frozen=True):
    """Preprocessing of texts into token ids.

    Attributes:
        tokenizer: The `tokenizers` JSON file, with truncation and padding switched off.
        max_tokens: Longest sequence, special tokens included.
        padding_side: Where padding goes.
        pad_id: Token id of padding.
        pad_type_id: Token type id of padding.
        add_special_tokens: False for static embedding models.
        allow_empty: True if a text may have no tokens (static embedding models).
        prompts: The model's own prompts by name, empty ones too.
        default_prompt_name: The prompt that the source library's ``encode`` applies when the caller names none.
        include_prompt: False to exclude prompt tokens from pooling (the graph then has a ``pooling_mask``).
        clean: How text is cleaned before it is tokenized, by OpenCLIP's names.
        fixed_length: True if attention includes padding (SigLIP, CLIPA), so that texts are padded to ``max_tokens``.
        zeroed_id: Token id that is replaced by 0 at the end (CLIPA's separator).
        words: How a Japanese text is split into words before it is tokenized.
        token_rules: Tokens with a vector in the result, for a late-interaction model.
        pair_template: How a pair becomes one text; None if pairs are tokenized as the tokenizer does. A model that has
            one takes no single texts.
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
    clean: Literal["none", "clip_lower", "clip_whitespace", "clip_canonicalize"] = "none"
    fixed_length: bool = False
    zeroed_id: int | None = None
    words: JapaneseWords | None = None
    token_rules: TokenRules | None = None
    pair_template: PairTemplate | None = None


class Similarity(msgspec.Struct, frozen=True):
    """How a CLIP model turns the cosine of text and image into a score.

    Attributes:
        scale: Factor of the cosine, already exponentiated.
        bias: Added after scaling.
        activation: ``softmax`` over the labels (CLIP) or ``sigmoid`` of each (SigLIP).
    """

    scale: float
    bias: float = 0.0
    activation: Literal["softmax", "sigmoid"] = "softmax"


class Scoring(msgspec.Struct, frozen=True):
    """How the logits of a text scorer become scores and probabilities.

    Attributes:
        activation: What ``CrossEncoder.predict`` applies to the logits: to each by itself, or over all for ``softmax``.
        problem: What the classes are: alternatives (``single_label``), independent of each other (``multi_label``), or
            none but a quantity (``regression``).
    """

    activation: Literal["identity", "sigmoid", "softmax", "tanh", "relu"] = "identity"
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"


class Calibration(msgspec.Struct, frozen=True):
    """Vectors of sample texts, which give the ranges for int8 vectors.

    Attributes:
        sample: Name of the sample.
        texts: Number of texts in it, ``S``.
        file: The graph's vectors of the texts, ``float32 [S, D]`` in NumPy's format, beside the manifest.
    """

    sample: str
    texts: int
    file: str = "calibration.npy"


class Code(msgspec.Struct, frozen=True):
    """Python code that was run to export a model; serving does not run it.

    Attributes:
        repository: Id on the hub, or the name of a local folder.
        commit: The hub's commit; None for a local folder.
        files: The files that may have been run.
    """

    repository: str
    commit: str | None
    files: tuple[StoredFile, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A published model.

    Attributes:
        format: Version of this file's format; models of a newer format are not served.
        name: The user's name of the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag, if any.
        revision: Requested revision, if any.
        commit: The hub's commit of that revision, if the model came from the hub.
        code: The model's own Python code that was run while it was converted.
        precision: Precision of the graphs; an image tower stays float32 beside an int8 text tower.
        architecture: The source library's name of the network (``BertModel``).
        created_at: UTC, ISO 8601.
        versions: Versions of Ingrain and of the libraries at the export.
        embedding_size: Width of the graphs' output; see ``dimensions``.
        graphs: The graphs of the model.
        text: Preprocessing of texts, if the model takes text; of documents, if there is ``query_text``.
        query_text: Preprocessing of queries, if it differs.
        default_input_type: What a text is taken for if the caller does not say, if the model has an encoder for queries
            and one for documents; None if the caller must say.
        has_token_dimensions: Whether the dimensions of sparse vectors are the tokens of the tokenizer.
        late_interaction: How such a model scores a document for a query.
        image: Preprocessing of images, if the model takes images.
        labels: Names of the classes, if the model classifies; a reranker's single logit has a name, too.
        similarity: How text and image vectors are compared, if the model has both towers.
        scoring: How logits become scores, if the model scores texts or pairs of texts.
        files: Side files (the tokenizer), relative to the manifest's folder.
        verification: The measured differences by role.
        calibration: The calibration of int8 vectors, if the model takes text.
        tunings: Fastest execution of the graphs by machine; added after the model was published.
    """

    name: str
    library: Library
    pretrained: str | None = None
    revision: str | None = None
    commit: str | None = None
    code: tuple[Code, ...] = ()
    precision: Precision = "fp32"
    architecture: str
    created_at: str
    versions: dict[str, str]
    embedding_size: int
    graphs: tuple[Graph, ...]
    text: TextPreprocess | None = None
    query_text: TextPreprocess | None = None
    default_input_type: InputType | None = None
    has_token_dimensions: bool = False
    late_interaction: LateInteraction | None = None
    image: ImagePreprocess | None = None
    labels: tuple[str, ...] = ()
    similarity: Similarity | None = None
    scoring: Scoring | None = None
    files: tuple[StoredFile, ...] = ()
    verification: dict[Role, Verification] = {}
    calibration: Calibration | None = None
    tunings: tuple[Tuning, ...] = ()
    format: int = MANIFEST_FORMAT

    @property
    def untuned(self) -> Manifest:
        """The manifest as it was published."""
        return msgspec.structs.replace(self, tunings=())

    def text_of(self, graph: Graph) -> TextPreprocess | None:
        """Return the preprocessing of the texts that a graph takes; None if it takes none."""
        if not ROLES[graph.role].takes_token_sequences:
            return None
        return self.query_text if ROLES[graph.role].of_queries else self.text

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of all graphs."""
        return tuple(role for graph in self.graphs for role in graph.roles)

    @property
    def does(self) -> str:
        """What the model does, and the routes for it, as the end of "It ...", for errors."""
        return " and ".join(dict.fromkeys(ROLES[role].does for role in self.roles))

    def width_of(self, role: Role) -> int:
        """Return the width of a role's vectors, which the heads of a graph may have of their own."""
        graph = next((graph for graph in self.graphs if role in graph.roles), None)
        width = graph.outputs_of(role)[0].shape[-1] if graph is not None else -1
        return width if width > 0 else self.embedding_size

    def skipped_tokens(self, role: Role) -> int:
        """Return the number of leading tokens of a text without a vector among those of a role."""
        return next((head.skipped_tokens for graph in self.graphs for head in graph.heads if head.role == role), 0)

    @property
    def dimensions(self) -> int | None:
        """Width of the vectors: of the vocabulary for sparse ones. None for a model that gives scores instead."""
        gives_scores = [ROLES[role].gives_scores for role in self.roles]
        return None if gives_scores and all(gives_scores) else self.embedding_size

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the model serves, its main purpose first; they follow from the roles of its graphs."""
        served = dict.fromkeys(task for role in self.roles for task in ROLES[role].tasks)
        if len(self.labels) > 1:
            served.pop("rerank", None)  # which needs one score per pair
        return tuple(served)

    @property
    def task(self) -> Task:
        """The model's main purpose; ``embed`` for one without graphs."""
        return next(iter(self.tasks), "embed")
