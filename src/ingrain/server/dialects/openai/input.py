"""Reads what a request in OpenAI's dialect has to embed: texts, token ids or images, in ``input`` or ``messages``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from ingrain.api.openai import InputObject, Message, MessagePart
from ingrain.errors import InvalidRequestError
from ingrain.preprocess.image_source import is_url

Modality = Literal["text", "image"]

_DATA_URI = "data:image/"
_SPACES = (" ", "\n", "\t")


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The items of a request.

    Attributes:
        texts: Texts.
        token_ids: Token ids of each text, instead of ``texts``.
        images: URLs and data URIs of images.
        text_places: Index of each text in the request.
        image_places: Index of each image in the request.
        is_list: False if ``input`` is a single item, not a list.
        may_hold_images: True if some of ``texts`` look like images; ``separate_images`` then decides by the model.
        param: Name of the request field.
    """

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    images: Sequence[str] = ()
    text_places: Sequence[int] = ()
    image_places: Sequence[int] = ()
    is_list: bool = True
    may_hold_images: bool = False
    param: str = "input"

    def __len__(self) -> int:
        return len(self.text_places) + len(self.image_places)

    def separate_images(self, *, takes_images: bool) -> Input:
        """Return the input with texts and images separated, according to what the model takes.

        Raises:
            InvalidRequestError: The model takes only texts, and an item is a data URI of an image, whose base64 makes
                no useful vector. URLs are valid texts for such a model.
        """
        if not takes_images:
            for place, item in enumerate(self.texts):
                if _start(item) == _DATA_URI:
                    name = f"input[{place}]" if self.is_list else "input"
                    raise InvalidRequestError(
                        f"{name} is an image (data:image/…), but the model takes only texts; give `modality` 'text' "
                        "to embed the data URI as a text.",
                        param=name,
                    )
            return msgspec.structs.replace(self, may_hold_images=False)
        texts = [place for place, item in enumerate(self.texts) if not looks_like_image(item)]
        images = [place for place, item in enumerate(self.texts) if looks_like_image(item)]
        return Input(
            texts=[self.texts[place] for place in texts],
            images=[self.texts[place] for place in images],
            text_places=texts,
            image_places=images,
            is_list=self.is_list,
        )


def read_input(given: str | list[str | int | list[int] | InputObject], modality: Modality | None) -> Input:
    """Read the ``input`` field.

    Args:
        given: A text, a list of texts, a list of token ids, a list of lists of token ids, or a list of objects and
            texts.
        modality: Modality of all items; None to recognize images by their form.

    Raises:
        InvalidRequestError: A list mixes texts and token ids, or ``modality`` is ``image`` for token ids.
    """
    if isinstance(given, str):
        items: Sequence[str] = [given]
    else:
        kind = type(given[0])
        for index, item in enumerate(given):
            if type(item) is not kind:
                if {kind, type(item)} == {str, InputObject}:
                    return _read_objects(given)
                raise InvalidRequestError(
                    "input mixes several types of items; give only texts, only token ids, or only lists of token ids.",
                    param=f"input[{index}]",
                )
        if kind is InputObject:
            return _read_objects(given)
        if kind is not str:
            rows = [cast("list[int]", given)] if kind is int else cast("list[list[int]]", given)
            if modality == "image":
                raise InvalidRequestError("modality is 'image', but input holds token ids.", param="modality")
            return Input(token_ids=rows, text_places=range(len(rows)), is_list=kind is not int)
        items = cast("list[str]", given)
    places, is_list = range(len(items)), not isinstance(given, str)
    if modality == "image":
        return Input(images=items, image_places=places, is_list=is_list)
    may_hold_images = modality is None and any(map(looks_like_image, items))
    return Input(texts=items, text_places=places, is_list=is_list, may_hold_images=may_hold_images)


def read_messages(messages: Sequence[Message]) -> Input:
    """Read the ``messages`` field, which vLLM's clients send for an image or a text.

    Raises:
        InvalidRequestError: The messages are not a single text or image.
    """
    parts = [
        part
        for message in messages
        for part in (
            [MessagePart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        )
    ]
    if len(parts) != 1:
        raise InvalidRequestError(
            f"messages have {len(parts)} parts; a vector is that of one text or one image. Send each in a request of "
            "its own, or texts in `input`.",
            param="messages",
        )
    (part,) = parts
    image = part.image_url if part.image_url is None or isinstance(part.image_url, str) else part.image_url.url
    value = part.text if part.type == "text" else image
    if value is None:
        raise InvalidRequestError(f"The part of the messages is of type {part.type}, but has none.", param="messages")
    if part.type == "text":
        return Input(texts=[value], text_places=[0], is_list=False, param="messages")
    return Input(images=[value], image_places=[0], is_list=False, param="messages")


def _read_objects(items: Sequence[str | int | list[int] | InputObject]) -> Input:
    """Read a list of objects with a text or an image each; a string among them is a text."""
    texts: dict[int, str] = {}
    images: dict[int, str] = {}
    for place, item in enumerate(items):
        if isinstance(item, str):
            texts[place] = item
            continue
        values = [item.text, item.image, item.url, item.bytes] if isinstance(item, InputObject) else []
        given = [value for value in values if value is not None]
        if len(given) != 1 or not isinstance(item, InputObject):
            raise InvalidRequestError(
                f"input[{place}] must be a text, or an object with one of the fields text, image, url and bytes.",
                param=f"input[{place}]",
            )
        (texts if item.text is not None else images)[place] = given[0]
    return Input(
        texts=list(texts.values()),
        images=list(images.values()),
        text_places=list(texts),
        image_places=list(images),
    )


def looks_like_image(item: str) -> bool:
    """Return whether a string, stripped, is a data URI of an image or a single http(s) URL."""
    if item[:1].isalpha() and item[0] not in "dDhH":
        return False  # nearly every text
    start = _start(item)
    if start == _DATA_URI:
        return True
    return start[:4] == "http" and is_url(item) and not any(space in item.strip() for space in _SPACES)


def _start(item: str) -> str:
    start = item[:64].lstrip()  # avoids a copy of a long data URI
    if len(start) < len(_DATA_URI):
        start = item.lstrip()
    return start[: len(_DATA_URI)].lower()
