"""The console: its files, what they may do, and the routes under which it reaches both planes."""

import re
from importlib import resources

import pytest

from ingrain.settings import Settings
from planes import running_planes

FILES = [file.name for file in (resources.files("ingrain.server.console") / "static").iterdir()]


async def test_the_files_need_no_key_and_what_they_ask_for_does(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good",))) as planes:
        await planes.load("org/model", key="good")
        page = await planes.model.get("/ui")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for name in FILES:
            path = "/ui/" if name == "index.html" else f"/ui/{name}"
            file = await planes.model.get(path)
            assert file.status_code == 200, path
            assert file.headers["x-content-type-options"] == "nosniff"
        assert (await planes.model.get("/ui/about.json")).json()["needsKey"] is True
        body = {"name": "org/model", "text": "red"}
        assert (await planes.model.post("/ui/api/embed_text", json=body)).status_code == 401
        key = {"authorization": "Bearer good"}
        assert (await planes.model.get("/ui/api/metrics", headers=key)).status_code == 200
        served = await planes.model.post("/ui/api/embed_text", json=body, headers=key)
        native = await planes.inference.post("/embed_text", json=body, headers=key)
        assert served.json()["embeddings"] == native.json()["embeddings"]


async def test_a_page_of_another_site_cannot_use_the_consoles_routes(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        headers = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        body = {"name": "org/model", "text": "red"}
        assert (await planes.model.post("/ui/api/embed_text", json=body, headers=headers)).status_code == 403
        own = {"origin": str(planes.model.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
        assert (await planes.model.post("/ui/api/embed_text", json=body, headers=own)).status_code == 200


@pytest.mark.parametrize("path", ["/ui", "/ui/app.js", "/ui/api/embed_text"])
async def test_a_server_without_the_console_has_none_of_it(tmp_path, path):
    async with running_planes(tmp_path, Settings(console=False)) as planes:
        assert (await planes.model.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/ui", "/ui/api/embed_text"])
async def test_the_inference_plane_has_no_console(tmp_path, path):
    async with running_planes(tmp_path) as planes:
        assert (await planes.inference.get(path)).status_code == 404


async def test_other_methods_are_refused(tmp_path):
    async with running_planes(tmp_path) as planes:
        answer = await planes.model.post("/ui", json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await planes.model.head("/ui")).status_code == 200


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_makes_markup_of_text(name):
    text = (resources.files("ingrain.server.console") / "static" / name).read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://[\w.]+", text))
    assert hosts <= {"http://www.w3.org"}  # the name space of SVG
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    for imported in re.findall(r'from "(/ui/[^"]+)"', text):
        assert imported.removeprefix("/ui/") in FILES
