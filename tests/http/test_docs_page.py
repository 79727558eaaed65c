"""The page ``/docs``: its files, their types, that they load nothing from elsewhere, and a server without them."""

import re

import pytest

from ingrain.server.dialects.table import DIALECTS
from ingrain.server.docs.pages import docs_pages
from ingrain.server.plane.examples import BODIES
from ingrain.settings import Settings
from planes import running_planes

MEDIA = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}


async def test_both_planes_serve_the_page_and_what_it_loads_without_a_key(tmp_path):
    """The document and the routes need a key; the page asks for one."""
    async with running_planes(tmp_path, Settings(api_keys=("good",), console=False)) as planes:
        for client in (planes.inference, planes.model):
            page = await client.get("/docs")
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            loaded = re.findall(r'(?:src|href)="(/docs/[^"]+)"', page.text)
            assert {f"/docs/{name}" for name in ("docs.js", "docs.css", "swagger-ui.css", "swagger-ui-bundle.js")} == {
                *loaded
            }
            for path in loaded:
                file = await client.get(path)
                assert (file.status_code, file.headers["content-type"]) == (200, MEDIA[path.rpartition(".")[2]])
            assert (await client.get("/openapi.json")).status_code == 401


async def test_the_browser_may_load_nothing_from_another_host(planes):
    for path in docs_pages():
        file = await planes.inference.get(path)
        policy = dict(part.strip().split(" ", 1) for part in file.headers["content-security-policy"].split(";"))
        assert policy.pop("default-src") == "'none'"
        allowed = {source for sources in policy.values() for source in sources.split()}
        assert allowed == {"'self'", "'none'", "data:"}
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        if not path.startswith("/docs/swagger-ui"):
            assert "://" not in file.text


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js", "/openapi.json"])
async def test_a_server_without_documentation_has_none_and_names_none(tmp_path, path):
    async with running_planes(tmp_path, Settings(docs=False)) as planes:
        for client in (planes.inference, planes.model):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["message"]) == (404, "There is no such route.")
            assert "/docs" not in (await client.get("/")).text
        await planes.load()
        assert (await planes.embed("red")).status_code == 200


async def test_each_model_that_an_example_names_has_a_loaded_model_that_stands_for_it(planes):
    """The page puts the name of a loaded model in its place."""
    script = (await planes.inference.get("/docs/docs.js")).text
    known = set(re.findall(r'^  "([^"]+)":', script, re.MULTILINE))
    examples = [
        route.example or BODIES.get(route.name, {})
        for one in DIALECTS
        for route in one.routes
        if route.scope == "infer"
    ]
    assert {str(name) for body in examples for name in (body.get("name"), body.get("model")) if name} == known
