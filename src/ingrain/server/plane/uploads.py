"""Request bodies with images: JSON, or multipart/form-data with image files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ingrain.api.types import Request
from ingrain.errors import InvalidRequestError
from ingrain.server.http.message import Request as HttpRequest
from ingrain.server.plane.bodies import decode, decode_form
from ingrain.server.plane.limits import PlaneLimits
from ingrain.tasks.item_limit import check_count

R = TypeVar("R", bound=Request)

_FILE_FIELD = "image"
_LIST_FIELDS = {"labels", "templates"}
_MAX_FIELDS = 4096
_MAX_FILES = 100_000


async def read_image_body(request: HttpRequest, kind: type[R], limits: PlaneLimits) -> tuple[R, list[bytes]]:
    """Decode a request body with images.

    Args:
        request: Its body is JSON, or a form with image files in fields called ``image``.
        kind: Type of the body.
        limits: Limits of the body size and of the number of files.

    Returns:
        The decoded body and the image files in order. JSON has no files. For a form with files, ``image`` holds their
        numbers.

    Raises:
        TooLargeError: The form has too many files.
        InvalidRequestError: The body cannot be parsed, or a field is not valid.
    """
    body = request.body
    if not request.header("content-type").lower().startswith("multipart/form-data"):
        return decode(body, kind), []
    fields, files = await _parse(request, body, limits)
    for name in _LIST_FIELDS & fields.keys():
        value = fields[name]
        fields[name] = [value] if isinstance(value, str) else value
    if files and _FILE_FIELD in fields:
        raise InvalidRequestError("Field 'image' is given as files and as text; give one of them.", param="image")
    check_count(len(files), limits.max_items, _FILE_FIELD, "images")
    if files:
        fields[_FILE_FIELD] = [f"file {number}" for number in range(len(files))]
    return decode_form(fields, kind), files


def _without_charset(content_type: str) -> Headers:
    """Remove the charset: forms are UTF-8, and some other codecs decode to invalid text."""
    kept = [part for part in content_type.split(";") if not part.strip().lower().startswith("charset")]
    return Headers({"content-type": ";".join(kept)})


async def _parse(
    request: HttpRequest, body: bytes, limits: PlaneLimits
) -> tuple[dict[str, str | list[str]], list[bytes]]:
    async def stream() -> AsyncIterator[bytes]:
        yield body
        yield b""

    parser = MultiPartParser(
        _without_charset(request.header("content-type")),
        stream(),  # type: ignore[arg-type]  # the parser accepts any async generator
        max_files=_MAX_FILES,
        max_fields=_MAX_FIELDS,
        max_part_size=limits.max_body_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequestError("The body is not valid multipart/form-data.") from error
    try:
        fields: dict[str, str | list[str]] = {}
        files = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in (_FILE_FIELD, f"{_FILE_FIELD}[]"):
                    raise InvalidRequestError(
                        f"File field {name[:60]!r} is not known; files go into fields called 'image'.", param=name[:60]
                    )
                files.append(await value.read())
            elif name in fields:
                earlier = fields[name]
                fields[name] = [*([earlier] if isinstance(earlier, str) else earlier), value]
            else:
                fields[name] = value
        return fields, files
    finally:
        await form.close()
