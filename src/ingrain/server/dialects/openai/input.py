"""The ``input`` field of OpenAI's dialect, told apart into texts, token ids and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.image_source import is_url

Modality = Literal["text", "image"]

_EMBEDDED = "data:image/"
_SPACES = (" ", "\n", "\t")


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What a request holds.

    Attributes:
        texts: Its texts.
        token_ids: Texts as token ids, in the place of ``texts``.
        pictures: Its pictures.
        text_places: Index of each text in the request.
        picture_places: Index of each picture in the request.
        is_list: False where the request holds one text by itself.
        may_hold_pictures: True where some of the texts look like pictures, and the model decides whether they are.
    """

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    pictures: Sequence[str] = ()
    text_places: Sequence[int] = ()
    picture_places: Sequence[int] = ()
    is_list: bool = True
    may_hold_pictures: bool = False

    def __len__(self) -> int:
        return len(self.text_places) + len(self.picture_places)

    def told_apart(self, *, takes_images: bool) -> Input:
        """Tell texts from pictures, for a model that takes pictures or does not.

        Raises:
            InvalidRequestError: A data URI of a picture, for a model that takes texts alone: a vector of its base64
                would be of no use, and nothing would tell. URLs are texts to such a model: people search for them.
        """
        if not takes_images:
            for place, item in enumerate(self.texts):
                if _start(item) == _EMBEDDED:
                    name = f"input[{place}]" if self.is_list else "input"
                    raise InvalidRequestError(
                        f"{name} is a picture (data:image/…), and the model takes texts alone; with `modality` 'text' "
                        "it is embedded as a text.",
                        param=name,
                    )
            return msgspec.structs.replace(self, may_hold_pictures=False)
        texts = [place for place, item in enumerate(self.texts) if not looks_like_picture(item)]
        pictures = [place for place, item in enumerate(self.texts) if looks_like_picture(item)]
        return Input(
            texts=[self.texts[place] for place in texts],
            pictures=[self.texts[place] for place in pictures],
            text_places=texts,
            picture_places=pictures,
            is_list=self.is_list,
        )


def read_input(given: str | list[str | int | list[int]], modality: Modality | None) -> Input:
    """Read the field.

    Args:
        given: A text, a list of texts, a list of token ids, or a list of those.
        modality: What all items are; None to go by their looks.

    Raises:
        InvalidRequestError: A list holds things of several kinds.
    """
    if isinstance(given, str):
        items: Sequence[str] = [given]
    else:
        kind = type(given[0])
        for index, item in enumerate(given):
            if type(item) is not kind:
                raise InvalidRequestError(
                    "input holds items of several kinds; give texts, token ids, or lists of token ids.",
                    param=f"input[{index}]",
                )
        if kind is not str:
            rows = [cast("list[int]", given)] if kind is int else cast("list[list[int]]", given)
            if modality == "image":
                raise InvalidRequestError("modality is 'image', and input holds token ids.", param="modality")
            return Input(token_ids=rows, text_places=range(len(rows)), is_list=kind is not int)
        items = cast("list[str]", given)
    places, is_list = range(len(items)), not isinstance(given, str)
    if modality == "image":
        return Input(pictures=items, picture_places=places, is_list=is_list)
    may_hold_pictures = modality is None and any(map(looks_like_picture, items))
    return Input(texts=items, text_places=places, is_list=is_list, may_hold_pictures=may_hold_pictures)


def looks_like_picture(item: str) -> bool:
    """Tell whether a string is a data URI of a picture, or nothing but an http(s) URL; white space may be around."""
    start = _start(item)
    if start == _EMBEDDED:
        return True
    return start[:4] == "http" and is_url(item) and not any(space in item.strip() for space in _SPACES)


def _start(item: str) -> str:
    start = item[:64].lstrip()  # a picture in base64 is not copied to find out
    if len(start) < len(_EMBEDDED):
        start = item.lstrip()
    return start[: len(_EMBEDDED)].lower()
