"""The files of the API's documentation: Swagger UI from its package, and ours that show a plane with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import resources

from ingrain.server.http.message import Response
from ingrain.server.page_files import files_in, page_file

DOCS_PATH = "/docs"
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")


def docs_pages() -> Mapping[str, Callable[[], Response]]:
    """Return the functions that read the page's files, by path; each file is read when it is first asked for.

    The files hold no secrets, so that they need no key; the OpenAPI document and the routes do.
    """
    ours = [file.name for file in files_in(resources.files(__package__) / "static")]
    pages = {f"{DOCS_PATH}/{name}": cache(partial(_read, name)) for name in (*ours, *_SWAGGER_UI)}
    pages[DOCS_PATH] = pages.pop(f"{DOCS_PATH}/index.html")
    return pages


def _read(name: str) -> Response:
    from swagger_ui_bundle import swagger_ui_path

    folder = swagger_ui_path if name in _SWAGGER_UI else resources.files(__package__) / "static"
    return page_file(name, (folder / name).read_bytes())
