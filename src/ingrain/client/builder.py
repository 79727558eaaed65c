"""The one request builder: receives what a caller asks for, hands on requests as data for either transport."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np
import orjson

from ingrain.api import types
from ingrain.api.routes import ROUTES, Plane, RouteInfo
from ingrain.api.tuning import ModelTuningAnswer
from ingrain.client.answers import (
    DTYPES,
    BothEmbeddings,
    Embeddings,
    Part,
    Probabilities,
    Rows,
    ZeroShotProbabilities,
    reader,
    rows_reader,
)
from ingrain.client.call import Call, checked_request_id
from ingrain.client.items import AsyncTexts, Group, Items, groups, text_cut, texts_of
from ingrain.client.jobs import Bar, Calls, PairJob, RowsJob, SingleJob, count_of
from ingrain.client.options import Options
from ingrain.client.pictures import AsyncPictures, picture_cut, pictures_of, wire_pictures
from ingrain.errors import InvalidRequestError
from ingrain.repository.manifest import ImageStep
from ingrain.vocabulary import Library, Precision, Task

A = TypeVar("A")

_ROUTES: dict[str, RouteInfo] = {route.name: route for route in ROUTES}
_RAW = "application/octet-stream"

Encode = Callable[[Group[Any]], list[str]]
"""Makes what goes over the wire of a request's items."""
Extra = Mapping[str, object] | None
InputType = Literal["query", "document"]
OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]


@dataclass(frozen=True, slots=True)
class Which:
    """A model as a caller names it."""

    name: str
    library: Library | None = None
    pretrained: str | None = None

    def fields(self) -> dict[str, object]:
        """Return what a request says of it."""
        return {"name": self.name, "library": self.library, "pretrained": self.pretrained}

    def query(self) -> dict[str, str]:
        """Return what a query string says of it."""
        return {name: str(value) for name, value in self.fields().items() if value is not None}


@dataclass(frozen=True, slots=True)
class Words:
    """What goes before texts, and what is done and told where one is long.

    Attributes:
        prompt: Before every text; empty for none, not even the model's default.
        prompt_name: Name of one of the model's own prompts.
        input_type: ``query`` or ``document``.
        truncate: False to have a text refused that is longer than the model takes.
        token_counts: True to be told each text's tokens, and whether it was cut.
    """

    prompt: str | None = None
    prompt_name: str | None = None
    input_type: InputType | None = None
    truncate: bool = True
    token_counts: bool = False

    def fields(self) -> dict[str, object]:
        """Return what a request says of it."""
        return {
            "prompt": self.prompt,
            "promptName": self.prompt_name,
            "inputType": self.input_type,
            "truncate": None if self.truncate else False,
            "tokenCounts": self.token_counts or None,
        }


@dataclass(frozen=True, slots=True)
class How:
    """What the vectors are to be, and how the caller is kept informed.

    Attributes:
        normalize: True for unit length.
        n_dims: Only the first dimensions, cut before normalizing.
        output_dtype: What the numbers become; None for floats.
        return_numpy: None for what the client was made with.
        progress: As in ``Bar``.
        request_id: ``X-Request-Id``; of several requests each gets a number behind it.
        extra: Further fields of the request, by the wire's names.
        skip_none: True to leave out items that are missing, instead of refusing them.
    """

    normalize: bool = True
    n_dims: int | None = None
    output_dtype: OutputDtype | None = None
    return_numpy: bool | None = None
    progress: bool | None = None
    request_id: str | None = None
    extra: Extra = None
    skip_none: bool = False

    def fields(self) -> dict[str, object]:
        """Return what a request says of it."""
        return {
            "normalize": self.normalize,
            "nDims": self.n_dims,
            "outputDtype": self.output_dtype,
            **(self.extra or {}),
        }


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures get to the server.

    Attributes:
        headers: ``imageDownloadHeaders``, for pictures that the server fetches.
        steps: The model's geometry, to shrink pictures by; None to send them as they are.
    """

    headers: Mapping[str, str] | None = None
    steps: Sequence[ImageStep] | None = None


class RequestBuilder:
    """Makes requests. It neither sends anything nor reads a file; that is done by whoever sends a request's body."""

    def __init__(self, options: Options) -> None:
        self._options = options

    # --- vectors -------------------------------------------------------------------------------------------------

    def embed_text(self, which: Which, text: AsyncTexts, how: How, words: Words) -> RowsJob[Embeddings]:
        """Return the job of embedding texts."""
        texts = texts_of(text)
        return self._rows_job("texts", texts, lambda: self.text_calls(which, texts, how, words), how, embeddings_of)

    def text_calls(self, which: Which, text: AsyncTexts, how: How, words: Words) -> Calls[Part]:
        """Yield the requests that embed texts, a part of them each."""
        cut = text_cut(self._options.batch_size, skip_none=how.skip_none)
        fields = {**words.fields(), **how.fields()}
        # What is told of each text is told in JSON only.
        may_be_raw = not words.token_counts
        return self._row_calls("embed_text", which, groups(texts_of(text), cut), "text", fields, how, None, may_be_raw)

    def embed_image(self, which: Which, image: AsyncPictures, how: How, look: Look) -> RowsJob[Embeddings]:
        """Return the job of embedding pictures."""
        pictures = pictures_of(image)
        return self._rows_job(
            "pictures", pictures, lambda: self.image_calls(which, pictures, how, look), how, embeddings_of
        )

    def image_calls(self, which: Which, image: AsyncPictures, how: How, look: Look) -> Calls[Part]:
        """Yield the requests that embed pictures, a part of them each."""
        return self._picture_calls("embed_image", which, pictures_of(image), how.fields(), how, look)

    def embed(
        self, which: Which, text: AsyncTexts | None, image: AsyncPictures | None, how: How, words: Words, look: Look
    ) -> PairJob[BothEmbeddings] | SingleJob[BothEmbeddings]:
        """Return the job of embedding texts and pictures side by side."""
        if text is None and image is None:
            return self._single("embed", self._body(which, how.fields()), types.EmbedAnswer, _both_of, how.request_id)

        def finish(texts: Embeddings | None, pictures: Embeddings | None) -> BothEmbeddings:
            milliseconds = max(one.processing_time_ms for one in (texts, pictures) if one is not None)
            return BothEmbeddings(
                text_embeddings=texts.embeddings if texts is not None else None,
                image_embeddings=pictures.embeddings if pictures is not None else None,
                processing_time_ms=milliseconds,
                token_counts=texts.token_counts if texts is not None else None,
                truncated=texts.truncated if texts is not None else None,
                text_positions=texts.positions if texts is not None else None,
                image_positions=pictures.positions if pictures is not None else None,
            )

        return PairJob(
            self.embed_text(which, text, how, words) if text is not None else None,
            self.embed_image(which, image, how, look) if image is not None else None,
            finish,
        )

    def classify_image(self, which: Which, image: AsyncPictures, how: How, look: Look) -> RowsJob[Probabilities]:
        """Return the job of classifying pictures by the model's own labels."""
        pictures, extra = pictures_of(image), dict(how.extra or {})
        return self._rows_job(
            "pictures",
            pictures,
            lambda: self._picture_calls("classify_image", which, pictures, extra, how, look),
            how,
            lambda whole: Probabilities(probabilities=whole.rows, processing_time_ms=whole.milliseconds),
        )

    def classify_zero_shot(
        self, which: Which, image: AsyncPictures, labels: list[str], templates: list[str] | None, how: How, look: Look
    ) -> RowsJob[ZeroShotProbabilities]:
        """Return the job of classifying pictures by the caller's labels."""
        pictures = pictures_of(image)
        fields = {"labels": labels, "templates": templates, **(how.extra or {})}
        return self._rows_job(
            "pictures",
            pictures,
            lambda: self._picture_calls("classify_image_zero_shot", which, pictures, fields, how, look),
            how,
            lambda whole: ZeroShotProbabilities(
                labels=labels, probabilities=whole.rows, processing_time_ms=whole.milliseconds
            ),
        )

    def _rows_job(
        self, what: str, items: Items[Any], calls: Callable[[], Calls[Part]], how: How, finish: Callable[[Part], A]
    ) -> RowsJob[A]:
        empty: Rows = np.empty((0, 0), DTYPES.get(how.output_dtype, "float32")) if self._as_numpy(how) else []
        return RowsJob(
            calls,
            total=count_of(items),
            finish=finish,
            bar=Bar(what=what, wanted=how.progress),
            empty=empty,
            tells_places=how.skip_none,
        )

    def _picture_calls(
        self, route: str, which: Which, pictures: Items[Any], fields: Mapping[str, object], how: How, look: Look
    ) -> Calls[Part]:
        def encode(group: Group[Any]) -> list[str]:
            return wire_pictures(group.items, look.steps, places=group.places)

        found = groups(pictures, picture_cut(skip_none=how.skip_none))
        fields = {**fields, "imageDownloadHeaders": look.headers}
        return self._row_calls(route, which, found, "image", fields, how, encode)

    def _row_calls(
        self,
        route: str,
        which: Which,
        found: Iterator[Group[Any]] | AsyncIterator[Group[Any]],
        field: str,
        fields: Mapping[str, object],
        how: How,
        encode: Encode | None,
        may_be_raw: bool = True,
    ) -> Calls[Part]:
        """Yield one request for each group of items."""
        gives_vectors = _ROUTES[route].answer is types.EmbeddingsAnswer
        accept = _RAW if self._as_numpy(how) and gives_vectors and may_be_raw else "application/json"
        # What is none of these is for the server to refuse.
        dtype = DTYPES.get(how.output_dtype if gives_vectors else None, "float32") if self._as_numpy(how) else None
        identity, numbers = checked_request_id(how.request_id), itertools.count()

        def call_of(group: Group[Any]) -> Call[Part]:
            number = next(numbers)
            return Call(
                plane="inference",
                method="POST",
                path=_ROUTES[route].path,
                body=self._items_body(which, fields, field, group, encode),
                read=rows_reader(group.places, dtype=dtype, tells_places=how.skip_none),
                accept=accept,
                slow_body=encode is not None,
                places=group.places,
                request_id=identity if not number else f"{identity}.{number}",
            )

        if isinstance(found, AsyncIterator):
            return (call_of(group) async for group in found)
        return map(call_of, found)

    def _as_numpy(self, how: How) -> bool:
        return self._options.return_numpy if how.return_numpy is None else how.return_numpy

    def _items_body(
        self, which: Which, fields: Mapping[str, object], field: str, group: Group[Any], encode: Encode | None
    ) -> Callable[[], bytes]:
        def body() -> bytes:
            items = group.items if encode is None else encode(group)
            return self._body(which, {**fields, field: items}, places=group.places)()

        return body

    # --- models --------------------------------------------------------------------------------------------------

    def load_model(
        self,
        which: Which,
        revision: str | None = None,
        precision: Precision | None = None,
        task: Task | None = None,
    ) -> SingleJob[types.MessageAnswer]:
        """Return the job of loading a model."""
        fields = {"revision": revision, "precision": precision, "task": task}
        return self._load("load_model", {**which.fields(), **fields})

    def load_first_generation(self, route: str, which: Which) -> SingleJob[types.MessageAnswer]:
        """Return the job of loading a model by a route that knows the library."""
        return self._load(route, which.fields())

    def download_custom_model(self, fields: Mapping[str, object]) -> SingleJob[types.MessageAnswer]:
        """Return the job of having the server fetch a model from URLs."""
        return self._load("download_custom_model", fields)

    def _load(self, route: str, fields: Mapping[str, object]) -> SingleJob[types.MessageAnswer]:
        return SingleJob(
            Call(
                plane="model",
                method="POST",
                path=_ROUTES[route].path,
                body=lambda: _json(fields),
                read=reader(types.MessageAnswer),
                timeout_s=self._options.load_timeout_s,
            )
        )

    def tune_model(self, which: Which, seconds: float | None) -> SingleJob[ModelTuningAnswer]:
        """Return the job of tuning a model.

        It is not repeatable: if the first try did it and only its answer was lost, a second would measure it all again.
        """
        fields = {**which.fields(), "seconds": seconds}
        return SingleJob(
            Call(
                plane="model",
                method="POST",
                path=_ROUTES["tune_model"].path,
                body=lambda: _json(fields),
                read=reader(ModelTuningAnswer),
                timeout_s=self._options.load_timeout_s,
                repeatable=False,
            )
        )

    def change(self, route: str, which: Which) -> SingleJob[types.MessageAnswer]:
        """Return the job of unloading or deleting a model, or of forgetting its tuning.

        It is not repeatable: if the first try did it and only its answer was lost, a second would be told 404.
        """
        info = _ROUTES[route]
        fields = which.fields()
        return SingleJob(
            Call(
                plane="model",
                method=info.method,
                path=info.path,
                body=lambda: _json(fields),
                read=reader(types.MessageAnswer),
                repeatable=False,
            )
        )

    # --- questions -----------------------------------------------------------------------------------------------

    def ask(self, route: str, kind: type[A], *, plane: Plane | None = None, which: Which | None = None) -> SingleJob[A]:
        """Return the job of one GET."""
        info = _ROUTES[route]
        return SingleJob(
            Call(
                plane=plane or info.plane or "inference",
                method="GET",
                path=info.path,
                params=which.query() if which is not None else None,
                read=reader(kind),
            )
        )

    def _single(
        self, route: str, body: Callable[[], bytes], kind: type[Any], make: Callable[[Any], A], request_id: str | None
    ) -> SingleJob[A]:
        read = reader(kind)
        return SingleJob(
            Call(
                plane="inference",
                method="POST",
                path=_ROUTES[route].path,
                body=body,
                read=lambda reply: make(read(reply)),
                request_id=checked_request_id(request_id),
            )
        )

    def _body(self, which: Which, fields: Mapping[str, object], *, places: Sequence[int] = ()) -> Callable[[], bytes]:
        return lambda: _json({**which.fields(), **fields}, places=places)


def embeddings_of(whole: Part) -> Embeddings:
    """Return rows as an answer."""
    return Embeddings(
        embeddings=whole.rows,
        processing_time_ms=whole.milliseconds,
        token_counts=whole.token_counts,
        truncated=whole.truncated,
        positions=whole.places,
    )


def _both_of(answer: types.EmbedAnswer) -> BothEmbeddings:
    return BothEmbeddings(
        # Strings only where ``extra`` asked for another encoding of the numbers.
        text_embeddings=cast("Rows | None", answer.text_embeddings),
        image_embeddings=cast("Rows | None", answer.image_embeddings),
        processing_time_ms=answer.processing_time_ms,
    )


def _json(fields: Mapping[str, object], *, places: Sequence[int] = ()) -> bytes:
    """Encode a body; what was not given is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return orjson.dumps(given, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise _explain(given, places) from error


def _explain(fields: Mapping[str, object], places: Sequence[int]) -> InvalidRequestError:
    """Say which field, and which item of it, cannot be sent."""
    for name, value in fields.items():
        items = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            try:
                orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY)
            except TypeError:
                place = places[number] if name in ("text", "image") and number < len(places) else number
                at = f"{name}[{place}]" if isinstance(value, list) else name
                what = "text with lone surrogates" if isinstance(item, str) else f"a {type(item).__name__}"
                return InvalidRequestError(f"{at} is {what}, which JSON cannot hold.", param=at)
    return InvalidRequestError("The request holds what JSON cannot.")
