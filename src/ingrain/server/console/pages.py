"""The files of the console as responses."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import orjson

from ingrain import __version__
from ingrain.server.http.message import Response
from ingrain.server.page_files import files_in, page_file

CONSOLE_PATH = "/ui"
CONSOLE_API = f"{CONSOLE_PATH}/api"
"""Where the model plane also serves the routes of the inference plane, so that the page needs one origin only."""


def console_pages(*, inference_port: int, needs_key: bool) -> Mapping[str, Response]:
    """Return the console's files by path. They hold no secrets, so that they need no key; what they ask for does.

    Args:
        inference_port: Port of the inference plane, for the examples of code.
        needs_key: Whether the routes need a key.
    """
    about = orjson.dumps({"version": __version__, "inferencePort": inference_port, "needsKey": needs_key})
    pages = {f"{CONSOLE_PATH}/about.json": page_file("about.json", about)}
    for file in files_in(resources.files(__package__) / "static"):
        pages[f"{CONSOLE_PATH}/{file.name}"] = page_file(file.name, file.read_bytes())
    pages[CONSOLE_PATH] = pages.pop(f"{CONSOLE_PATH}/index.html")
    return pages
