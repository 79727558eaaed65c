"""The task of each kind of inputs and models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ingrain.errors import InvalidRequestError
from ingrain.pipeline.task import Rows
from ingrain.postprocess.probabilities import activate
from ingrain.postprocess.quantize import AnyVectors
from ingrain.postprocess.sparse import SparseVector
from ingrain.postprocess.token_vectors import TokenDtype
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.kserve.inference import Asked, Outcome, Plan, Planned
from ingrain.server.dialects.kserve.interface import interface_of, names
from ingrain.server.dialects.kserve.options import NO_OPTIONS, OF_ENTRIES, OF_SCORES, OF_TEXTS, OF_VECTORS
from ingrain.server.dialects.kserve.tensors import Tensor, Wanted, texts_of
from ingrain.tasks.classify_image import ClassifyImages
from ingrain.tasks.classify_text import probabilities_of
from ingrain.tasks.embed_both import embed_both
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_outputs import Embedded, Embedding, EmbedOutputs
from ingrain.tasks.embed_sparse import SPARSE, SPARSE_QUERIES, EmbedSparse, SparseForm, SparseTexts
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.images import Images
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import rank
from ingrain.tasks.score import ROLE as SCORER
from ingrain.tasks.score import Scored, ScorePairs, ScoreTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR, TOKENS, EmbedTokens, TokenForm
from ingrain.tasks.vectors import VectorForm
from ingrain.vocabulary import Output

_PARTS: dict[Output, tuple[str, ...]] = {
    "dense": ("embedding", "text_embedding"),
    "sparse": ("indices", "values"),
    "multiVector": ("token_embedding", "token_count"),
}
"""The outputs of each kind of vectors."""
_TOKEN_DTYPES: Mapping[str, TokenDtype] = {"float": "float", "int8": "int8", "binary": "binary", "ubinary": "ubinary"}
_PADDING_INDEX = -1
_EMBEDDING = [Wanted("embedding")]
WHOLE = VectorForm(dimensions_param="n_dims", dtype_param="output_dtype")
"""The form of vectors without options."""
_IS_TEXT = re.compile(rb"https?://|data:", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=\s-]*")


def plan(asked: Asked) -> Plan:
    """Return the task of a request.

    Raises:
        InvalidRequestError: An input is missing, or an output or an option does not fit the inputs.
    """
    inputs, model = asked.given.inputs, asked.model
    if "query" in inputs or "document" in inputs:
        return _rank(asked)
    if SCORER in model.queues and "text" in inputs:
        return _classify_texts(asked)
    if "classifier" in model.queues and "image" in inputs:
        return _classify_images(asked)
    if "text" in inputs and "image" in inputs:
        return _embed_both(asked)
    if "image" in inputs:
        return _embed_images(asked)
    if "text" in inputs:
        return _embed_texts(asked)
    raise InvalidRequestError(
        f"The inputs are not enough for model {asked.name.name!r}, which has the inputs "
        f"{names(interface_of(model).inputs)}.",
        param="inputs",
    )


def _embed_texts(asked: Asked) -> Plan:
    model, outputs = asked.model, asked.given.outputs
    if asked.options is NO_OPTIONS and "text_encoder" in model.queues and (not outputs or outputs == _EMBEDDING):
        return Planned(EmbedTexts(asked.name, _texts(asked), WHOLE), embedding_outcome)  # the common case
    roles = model.manifest.roles
    parts: list[Output] = []
    if "text_encoder" in roles:
        parts.append("dense")
    if SPARSE in roles or SPARSE_QUERIES in roles:
        parts.append("sparse")
    if MULTI_VECTOR in roles or TOKENS in roles:
        parts.append("multiVector")
    has_both = "image_encoder" in roles
    available = [name for part in parts for name in _PARTS[part] if has_both or name != "text_embedding"]
    default = _PARTS[parts[0]] if parts[0] != "dense" else ("embedding",)
    wanted = asked.chosen(available, default)
    parts = [part for part in parts if set(_PARTS[part]) & set(wanted)]
    _no_classes(asked)
    allowed = OF_TEXTS | (OF_ENTRIES if "sparse" in parts else frozenset())
    asked.options.only(allowed | (OF_VECTORS if parts != ["sparse"] else frozenset()), model)
    tasks: dict[Output, Embedding] = {part: _embedding(asked, part, alone=len(parts) == 1) for part in parts}
    if len(tasks) == 1:
        return Planned(tasks[parts[0]], lambda done: _vectors_outcome([done], wanted))
    return Planned(EmbedOutputs(tasks), lambda done: _vectors_outcome(list(done.values()), wanted))


def _embedding(asked: Asked, part: Output, *, alone: bool) -> Embedding:
    options, roles = asked.options, asked.model.manifest.roles
    if part == "dense":
        return EmbedTexts(asked.name, _texts(asked), _form(asked))
    if part == "sparse":
        form = SparseForm(top_k=options.top_k, min_weight=options.min_weight or 0.0, input_type=options.side)
        return EmbedSparse(asked.name, _texts(asked), form)
    dtype = _TOKEN_DTYPES.get(options.output_dtype or "float")
    if dtype is None:
        raise InvalidRequestError(f"Vectors of tokens cannot be {options.output_dtype}.", param="output_dtype")
    token_form = TokenForm(normalize=options.normalize, dimensions=options.n_dims, dtype=dtype)
    side = options.side or "document"
    if MULTI_VECTOR not in roles:
        return EmbedTokens(asked.name, _texts(asked, cached=False), token_form, side, "all")
    prompt = options.prompt_choice
    if alone:  # as the route for such vectors
        prompt = PromptChoice(text=options.prompt, name=options.prompt_name, input_type=side)
    return EmbedTokens(asked.name, _texts(asked, cached=False, prompt=prompt), token_form, side)


def embedding_outcome(done: EmbeddedTexts) -> Outcome:
    """Return the outcome of a request for the vectors of texts."""
    return Outcome([Tensor("embedding", done.vectors)], done.truncated)


def _vectors_outcome(done: Sequence[Embedded], wanted: Sequence[str]) -> Outcome:
    made: dict[str, Tensor] = {}
    for result in done:
        if isinstance(result, EmbeddedTexts):
            made |= {name: Tensor(name, result.vectors) for name in _PARTS["dense"]}
        elif isinstance(result, SparseTexts):
            made["indices"], made["values"] = _padded(result.vectors)
        else:
            made["token_embedding"] = Tensor("token_embedding", result.vectors())
            made["token_count"] = Tensor("token_count", np.array(result.counts, np.int32))
    return Outcome([made[name] for name in wanted], done[0].truncated)


def _padded(vectors: Sequence[SparseVector]) -> tuple[Tensor, Tensor]:
    """Return the indices and values of sparse vectors, ``[N, K]`` for K entries of the longest one.

    Shorter ones end with the index -1 and the value 0.
    """
    longest = max(len(vector.indices) for vector in vectors)
    indices = np.full((len(vectors), longest), _PADDING_INDEX, np.int32)
    values = np.zeros((len(vectors), longest), np.float32)
    for row, vector in enumerate(vectors):
        indices[row, : len(vector.indices)] = vector.indices
        values[row, : len(vector.values)] = vector.values
    return Tensor("indices", indices), Tensor("values", values)


def _embed_images(asked: Asked) -> Plan:
    available = ["embedding"]
    if "text_encoder" in asked.model.manifest.roles:
        available.append("image_embedding")
    wanted = asked.chosen(available, ["embedding"])
    _no_classes(asked)
    asked.options.only(OF_VECTORS, asked.model)
    task = EmbedImages(asked.name, _images(asked), _form(asked))
    return Planned(task, lambda rows: Outcome([Tensor(name, rows) for name in wanted]))


async def _embed_both(asked: Asked) -> Outcome:
    parts = ("text_embedding", "image_embedding")
    wanted = asked.chosen(parts, parts)
    _no_classes(asked)
    asked.options.only(OF_TEXTS | OF_VECTORS, asked.model)
    form = _form(asked)
    texts, images = await embed_both(
        asked.services.pipeline,
        EmbedTexts(asked.name, _texts(asked), form),
        EmbedImages(asked.name, _images(asked), form),
    )
    assert texts is not None
    assert images is not None
    made: dict[str, AnyVectors] = {"text_embedding": texts.vectors, "image_embedding": images}
    return Outcome([Tensor(name, made[name]) for name in wanted], texts.truncated)


def _classify_texts(asked: Asked) -> Plan:
    asked.chosen(["probability"], ["probability"])
    asked.options.only(OF_SCORES, asked.model)
    raw, classes = asked.options.raw_scores is True, _classes(asked)

    def outcome(done: Scored) -> Outcome:
        rows = done.logits if raw else probabilities_of(done)
        return Outcome([_labelled(rows, done.manifest.labels, classes)], done.truncated)

    texts = _texts(asked)
    if "text_pair" not in asked.given.inputs:
        return Planned(ScoreTexts(asked.name, texts), outcome)
    seconds = Texts(texts=texts_of("text_pair", asked.given.inputs["text_pair"]), param="text_pair")
    _same_count("text", len(texts), "text_pair", len(seconds))
    return Planned(ScorePairs(asked.name, Pairs(firsts=texts, seconds=seconds)), outcome)


def _classify_images(asked: Asked) -> Plan:
    asked.chosen(["probability"], ["probability"])
    asked.options.only(frozenset(), asked.model)
    labels, classes = asked.model.manifest.labels, _classes(asked)
    task = ClassifyImages(asked.name, _images(asked))
    return Planned(task, lambda rows: Outcome([_labelled(rows, labels, classes)]))


def _labelled(rows: Rows, labels: Sequence[str], classes: int) -> Tensor:
    """Return probabilities, or the best labels of each row as ``probability:index:label``, as Triton writes them."""
    if not classes:
        return Tensor("probability", rows)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :classes]
    texts = [
        f"{row[place]:f}:{place}:{labels[place]}".encode()
        for row, order in zip(rows, best, strict=True)
        for place in order
    ]
    return Tensor("probability", texts, best.shape)


def _rank(asked: Asked) -> Plan:
    inputs = asked.given.inputs
    missing = [name for name in ("query", "document") if name not in inputs]
    if missing or len(inputs) > 2:
        raise InvalidRequestError("A ranking needs the inputs query and document, and no other.", param="inputs")
    asked.chosen(["score"], ["score"])
    _no_classes(asked)
    asked.options.only(OF_SCORES, asked.model)
    queries, documents = inputs["query"], texts_of("document", inputs["document"])
    raw = asked.options.raw_scores is True
    firsts = _texts(asked, "query", is_list=len(queries) > 1)
    pairs = Pairs(firsts=firsts, seconds=Texts(texts=documents, param="document"))
    if len(queries) == 1:
        return _ranked(asked, pairs, raw=raw)
    _same_count("query", len(queries), "document", len(documents))

    def outcome(done: Scored) -> Outcome:
        scores = done.logits if raw else activate(done.logits, done.scoring.activation)
        return Outcome([Tensor("score", scores[:, 0])], done.truncated)

    return Planned(ScorePairs(asked.name, pairs), outcome)


async def _ranked(asked: Asked, pairs: Pairs, *, raw: bool) -> Outcome:
    done = await rank(asked.services.pipeline, asked.name, pairs, raw=raw)
    return Outcome([Tensor("score", done.scores)], done.truncated)


def _texts(
    asked: Asked,
    name: str = "text",
    *,
    cached: bool = True,
    is_list: bool = True,
    prompt: PromptChoice | None = None,
) -> Texts:
    return Texts(
        texts=texts_of(name, asked.given.inputs[name]),
        prompt=prompt or asked.options.prompt_choice,
        truncate=asked.options.truncate is not False,
        param=name,
        is_list=is_list,
        cache_group=asked.given.cache_group if cached else None,
    )


def _form(asked: Asked) -> VectorForm:
    options = asked.options
    return VectorForm(
        normalize=options.normalize is not False,
        dimensions=options.n_dims,
        dtype=options.output_dtype or "float",
        dimensions_param="n_dims",
        dtype_param="output_dtype",
    )


def _images(asked: Asked) -> Images:
    return Images(images=[_image(item) for item in asked.given.inputs["image"]])


def _image(item: str | bytes) -> str | bytes:
    """Return an image as text if it is a URL, a data URI or base64, else as the bytes of a file."""
    if isinstance(item, bytes) and (_IS_TEXT.match(item) or _BASE64.fullmatch(item)):
        return item.decode("latin-1")
    return item


def _classes(asked: Asked) -> int:
    return next((output.classes for output in asked.given.outputs), 0)


def _no_classes(asked: Asked) -> None:
    for output in asked.given.outputs:
        if output.classes:
            raise InvalidRequestError(
                f"Output {output.name!r} has no classes; leave `classification` out.", param=output.name
            )


def _same_count(first: str, firsts: int, second: str, seconds: int) -> None:
    if firsts != seconds:
        raise InvalidRequestError(
            f"Input {first!r} has {firsts} elements and input {second!r} has {seconds}; they must have as many.",
            param=second,
        )
