"""Turn what a caller asks of a route into a request as data; nothing is sent here, and no file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson

from ingrain.api.routes import ROUTES, Plane, RouteInfo
from ingrain.client.answers import reader
from ingrain.client.call import Call, checked_request_id
from ingrain.errors import InvalidRequestError
from ingrain.vocabulary import Library

A = TypeVar("A")

Extra = Mapping[str, object] | None
"""Further fields of a request, by the wire's names."""
InputType = Literal["query", "document"]
OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]

_ROUTES: dict[str, RouteInfo] = {route.name: route for route in ROUTES}


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


def route_path(route: str) -> str:
    """Return the path of a route by its name."""
    return _ROUTES[route].path


def route_call(
    route: str,
    answer: type[A],
    model: ModelName | None = None,
    fields: Mapping[str, object] | None = None,
    *,
    plane: Plane | None = None,
    timeout_s: float | None = None,
    repeatable: bool = True,
    request_id: str | None = None,
) -> Call[A]:
    """Return the one request of a route.

    Args:
        route: Its name in the table of routes.
        answer: Type of the JSON answer.
        model: The model that it is about.
        fields: Further fields of the body.
        plane: Where it goes, for routes that both planes have.
        timeout_s: Seconds that the answer may take; the client's time-out if None.
        repeatable: False where a second try would not do what the first did: if the first was carried out and only its
            answer was lost, the second would be told 404, or do long work again.
        request_id: The caller's own ``X-Request-Id``.
    """
    info = _ROUTES[route]
    given = {**(model.fields() if model is not None else {}), **(fields or {})}
    is_query = info.method == "GET"
    return Call(
        plane=plane or info.plane or "inference",
        method=info.method,
        path=info.path,
        params={name: str(value) for name, value in given.items() if value is not None} if is_query else None,
        body=None if is_query else lambda: json_body(given),
        read=reader(answer),
        timeout_s=timeout_s,
        repeatable=repeatable,
        request_id=checked_request_id(request_id),
    )


def json_body(fields: Mapping[str, object], *, places: Sequence[int] = ()) -> bytes:
    """Encode a body; what was not given (None) is left out.

    Args:
        fields: By the wire's names.
        places: Where each item of ``text`` or ``image`` stands in the caller's list, for errors.

    Raises:
        InvalidRequestError: JSON cannot hold a field; the message names the item.
    """
    given = {name: value for name, value in fields.items() if value is not None}
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
                return InvalidRequestError(f"{at} is {what}, which JSON cannot hold.", param=at)
    return InvalidRequestError("The request holds what JSON cannot.")
