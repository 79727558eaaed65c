"""Build requests from a caller's arguments, without sending them or reading files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson

from ingrain.client.answers import reader
from ingrain.client.call import Call, checked_request_id
from ingrain.errors import InvalidRequestError
from ingrain.vocabulary import Library, Plane

A = TypeVar("A")

Extra = Mapping[str, object] | None
"""Further fields of a request, by the wire's names."""
InputType = Literal["query", "document"]
OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
TokenDtype = Literal["float", "float16", "int8", "binary", "ubinary"]


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model as a caller names it."""

    name: str
    library: Library | None = None
    pretrained: str | None = None

    def fields(self) -> dict[str, object]:
        """Return the fields of a request that name it."""
        return {"name": self.name, "library": self.library, "pretrained": self.pretrained}


def vector_fields(
    normalize: bool, n_dims: int | None, output_dtype: OutputDtype | None, extra: Extra
) -> dict[str, object]:
    """Return the fields of a request that are about its vectors, and the caller's further ones."""
    return {"normalize": normalize, "nDims": n_dims, "outputDtype": output_dtype, **(extra or {})}


def route_call(
    route: str,
    answer: type[A],
    model: ModelName | None = None,
    fields: Mapping[str, object] | None = None,
    *,
    method: Literal["GET", "POST", "DELETE"] = "POST",
    plane: Plane = "inference",
    timeout_s: float | None = None,
    repeatable: bool = True,
    request_id: str | None = None,
    retries: int | None = None,
    success: int = 200,
) -> Call[A]:
    """Return the one request of a route.

    Args:
        route: Its path without the slash.
        answer: Type of the JSON response.
        model: The model.
        fields: Further fields of the body, or of the query string for GET.
        method: HTTP method.
        plane: The plane that serves the route.
        timeout_s: Timeout of the response in seconds; the client's timeout if None.
        repeatable: False if the request is not idempotent: after a lost response, a retry would get 404 or repeat long
            work.
        request_id: The caller's own ``X-Request-Id``.
        retries: Largest number of retries; None for that of the client's policy.
        success: Status of a response that is no error.
    """
    given = {**(model.fields() if model is not None else {}), **(fields or {})}
    is_query = method == "GET"
    return Call(
        plane=plane,
        method=method,
        path=f"/{route}",
        params={name: str(value) for name, value in given.items() if value is not None} if is_query else None,
        body=None if is_query else lambda: json_body(given),
        read=reader(answer),
        timeout_s=timeout_s,
        repeatable=repeatable,
        request_id=checked_request_id(request_id),
        retries=retries,
        success=success,
    )


def json_body(fields: Mapping[str, object], *, places: Sequence[int] = ()) -> bytes:
    """Encode a body, without the fields that are None.

    Args:
        fields: Fields by their JSON names.
        places: Index of each item of ``text`` or ``image`` in the caller's list, for errors.

    Raises:
        InvalidRequestError: A field cannot be encoded as JSON; the message names the item.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):  # which JSON would have as null
            raise InvalidRequestError(f"{name} is {value!r}, which cannot be encoded as JSON.", param=name)
    try:
        return orjson.dumps(given, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise _unencodable(given, places) from error


def _unencodable(fields: Mapping[str, Any], places: Sequence[int]) -> InvalidRequestError:
    for name, value in fields.items():
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            try:
                orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY)
            except TypeError:
                place = places[number] if name in ("text", "image") and number < len(places) else number
                at = f"{name}[{place}]" if isinstance(value, list) else name
                what = "text with lone surrogates" if isinstance(item, str) else f"a {type(item).__name__}"
                return InvalidRequestError(f"{at} is {what}, which cannot be encoded as JSON.", param=at)
    return InvalidRequestError("A field of the request cannot be encoded as JSON.")
