"""The page ``/docs`` in a real browser: needs Chromium and ``pip install playwright``, else it is skipped."""

import shutil
from contextlib import asynccontextmanager

import pytest

from ingrain.settings import Settings
from planes import running_planes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
async_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]


@asynccontextmanager
async def docs(tmp_path, plane, **settings):
    """Open the page of a plane with the fake engine; fail on errors in the page and on requests elsewhere."""
    async with running_planes(tmp_path, Settings(**settings)) as planes, async_api.async_playwright() as playwright:
        key = settings.get("api_keys", (None,))[0]
        await planes.load("org/model", key=key)
        await planes.load("cross-encoder/one", key=key)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(120_000)
        troubles, base = [], str(getattr(planes, plane).base_url).rstrip("/")
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda sent: troubles.append(sent.url) if not sent.url.startswith((base, "data:")) else None)
        await page.goto(f"{base}/docs")
        try:
            yield page
        finally:
            await browser.close()
        assert troubles == []


async def send(page, operation):
    """Send the request of an operation as its form stands; return the status and the body of the answer."""
    block = page.locator(f"#operations-Ingrain-{operation}")
    await block.locator(".opblock-summary-control").click()
    await block.locator("button.execute").click()
    answer = block.locator(".live-responses-table .response")
    await answer.wait_for()
    return await answer.locator("td.response-col_status").inner_text(), await answer.locator("pre").first.inner_text()


async def test_the_examples_work_as_they_stand_with_the_loaded_models(tmp_path):
    async with docs(tmp_path, "inference") as page:
        for operation, said in (("embed_text", "embeddings"), ("rerank", "results"), ("ready", "org/model")):
            status, body = await send(page, operation)
            assert status.startswith("200"), body
            assert said in body


async def test_the_model_plane_asks_for_a_key_and_sends_it(tmp_path):
    async with docs(tmp_path, "model", api_keys=("good",)) as page:
        await page.wait_for_selector("#notice:has-text('This server has keys')")
        for key, shown in (("bad", "#notice:has-text('key')"), ("good", ".opblock-tag")):
            await page.fill("#key", key)
            await page.press("#key", "Enter")
            await page.wait_for_selector(shown)
        assert await page.is_hidden("#key-form")
        status, body = await send(page, "model_embedding_size")
        assert (status.partition("\n")[0], "embeddingSize" in body) == ("200", True)
