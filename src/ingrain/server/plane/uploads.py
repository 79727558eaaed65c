"""Request bodies with images: JSON, or multipart/form-data with image files."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ingrain.api.types import Request
from ingrain.errors import InvalidRequestError, TooLargeError
from ingrain.server.http.message import Request as HttpRequest
from ingrain.server.plane.bodies import decode, decode_form
from ingrain.server.plane.prepare import LARGE_BODY, is_form
from ingrain.server.plane.services import Services
from ingrain.tasks.item_limit import check_count

R = TypeVar("R", bound=Request)

_FILE_FIELD = "image"
_LIST_FIELDS = {"labels", "templates"}
_MAX_FIELDS = 4096
_WINDOW = 1_048_576


async def read_image_body(services: Services, request: HttpRequest, kind: type[R]) -> tuple[R, list[bytes]]:
    """Decode a request body with images.

    Args:
        services: Services of the plane.
        request: Its body is JSON, or a form with image files in fields called ``image``.
        kind: Type of the body.

    Returns:
        The decoded body and the image files in order. JSON has no files. For a form with files, ``image`` holds their
        numbers.

    Raises:
        TooLargeError: The form has too many files or fields.
        InvalidRequestError: The body cannot be parsed, or a field is not valid.
    """
    if not is_form(request):
        return decode(request.body, kind), []
    fields, files = await _parse_off_loop(services.parsing, request, services.limits.max_items)
    for name in _LIST_FIELDS & fields.keys():
        value = fields[name]
        fields[name] = [value] if isinstance(value, str) else value
    if files and _FILE_FIELD in fields:
        raise InvalidRequestError("Field 'image' is given as files and as text; give one of them.", param="image")
    if files:
        fields[_FILE_FIELD] = [f"file {number}" for number in range(len(files))]
    return decode_form(fields, kind), files


async def _parse_off_loop(
    executor: Executor, request: HttpRequest, max_items: int
) -> tuple[dict[str, str | list[str]], list[bytes]]:
    content_type, body = request.header("content-type"), request.body
    if len(body) <= LARGE_BODY:
        return _parse(content_type, body, max_items)
    request.body = b""
    return await asyncio.get_running_loop().run_in_executor(executor, _parse, content_type, body, max_items)


def _parse(content_type: str, body: bytes, max_items: int) -> tuple[dict[str, str | list[str]], list[bytes]]:
    """Return the fields and the files of a form.

    Raises:
        TooLargeError: The form has too many files or fields.
        InvalidRequestError: It is not valid, or has a file in another field than ``image``.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise InvalidRequestError("The form has no boundary in its Content-Type.", param="Content-Type")
    _check_parts(body, b"--" + boundary, max_items)
    form = _Form(max_items)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_part_data": form.add_data,
            "on_part_end": form.end_part,
            "on_header_field": form.add_header_name,
            "on_header_value": form.add_header_value,
            "on_header_end": form.end_header,
            "on_end": form.end,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The body is not valid multipart/form-data.") from error
    if not form.has_ended:
        raise InvalidRequestError("The form ends before its last boundary.")
    return form.fields, form.files


def _check_parts(body: bytes, delimiter: bytes, max_items: int) -> None:
    """Count the parts before any is built, in short steps, between which other threads run."""
    most, found = max_items + _MAX_FIELDS, 0
    for start in range(0, len(body), _WINDOW):
        found += body.count(delimiter, start, start + _WINDOW + len(delimiter) - 1)
        if found > most + 1:
            raise TooLargeError(
                f"The form has more than {most} parts; the limit is {max_items} files (INGRAIN_MAX_ITEMS) and "
                f"{_MAX_FIELDS} fields.",
                facts={"limit": most},
            )


class _Form:
    """Collects the parts of a form from the callbacks of the parser.

    Attributes:
        fields: Value of each field, or the values of a field that is given several times.
        files: The image files.
        has_ended: Whether the last boundary was found.
    """

    def __init__(self, max_items: int) -> None:
        self.fields: dict[str, str | list[str]] = {}
        self.files: list[bytes] = []
        self.has_ended = False
        self._max_items = max_items
        self._header_name = self._header_value = self._disposition = b""
        self._data: list[bytes] = []

    def begin_part(self) -> None:
        self._disposition, self._data = b"", []

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end_part(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise InvalidRequestError("A part of the form has no name in its Content-Disposition.")
        name, content = options[b"name"].decode(), b"".join(self._data)
        if b"filename" in options:
            self._add_file(name, content)
        else:
            self._add_field(name, content.decode())

    def end(self) -> None:
        self.has_ended = True

    def _add_file(self, name: str, content: bytes) -> None:
        if name not in (_FILE_FIELD, f"{_FILE_FIELD}[]"):
            raise InvalidRequestError(
                f"File field {name[:60]!r} is not known; files go into fields called 'image'.", param=name[:60]
            )
        check_count(len(self.files) + 1, self._max_items, _FILE_FIELD, "images")
        self.files.append(content)

    def _add_field(self, name: str, value: str) -> None:
        if name not in self.fields:
            self.fields[name] = value
        else:
            earlier = self.fields[name]
            if isinstance(earlier, str):
                earlier = self.fields[name] = [earlier]
            earlier.append(value)
