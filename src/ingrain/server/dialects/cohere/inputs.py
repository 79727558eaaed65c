"""Reads what a request wants embedded: ``texts``, ``images`` or ``inputs``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.server.dialects.cohere.types import CohereEmbedInput, CohereEmbedRequest


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The items of a request.

    Attributes:
        param: Field that holds them.
        texts: Texts.
        images: Data URIs, URLs or base64 of images.
        text_places: Index of each text in the field.
        image_places: Index of each image in the field.
    """

    param: str
    texts: Sequence[str] = ()
    images: Sequence[str] = ()
    text_places: Sequence[int] = ()
    image_places: Sequence[int] = ()


def read_inputs(body: CohereEmbedRequest) -> Inputs:
    """Read the items of a request.

    Raises:
        InvalidRequestError: The request has none or several of the fields, or an item is neither a text nor an image.
    """
    texts, images, inputs = body.texts, body.images, body.inputs
    if texts is not None and images is None and inputs is None:
        return Inputs(param="texts", texts=texts, text_places=range(len(texts)))
    given = [param for param in ("texts", "images", "inputs") if getattr(body, param) is not None]
    if len(given) != 1:
        raise InvalidRequestError(
            f"Give one of texts, images and inputs; the request has {' and '.join(given) or 'none'}.",
            param=given[1] if given else "texts",
        )
    if images is not None:
        return Inputs(param="images", images=images, image_places=range(len(images)))
    assert inputs is not None
    return _separated(inputs)


def _separated(inputs: Sequence[CohereEmbedInput]) -> Inputs:
    texts: dict[int, str] = {}
    images: dict[int, str] = {}
    for place, item in enumerate(inputs):
        name = f"inputs[{place}].content"
        if len(item.content) > 1:
            raise InvalidRequestError(
                f"{name} has {len(item.content)} parts; the model embeds one text or one image at a time.", param=name
            )
        (part,) = item.content
        if part.type == "text" and part.text is not None:
            texts[place] = part.text
        elif part.type == "image_url" and part.image_url is not None:
            images[place] = part.image_url.url
        else:
            raise InvalidRequestError(f"{name}[0] is of type {part.type!r}, but has no {part.type}.", param=name)
    return Inputs(
        param="inputs",
        texts=list(texts.values()),
        images=list(images.values()),
        text_places=list(texts),
        image_places=list(images),
    )
