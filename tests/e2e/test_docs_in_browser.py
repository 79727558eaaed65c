"""The page ``/docs`` in a real browser: needs Chromium, else it is skipped."""

from contextlib import asynccontextmanager

import pytest

from browser import needs_browser, opened
from ingrain.settings import Settings
from planes import running_planes

pytestmark = [pytest.mark.slow, needs_browser]


@asynccontextmanager
async def docs(tmp_path, plane, **settings):
    """Open the page of a plane with the fake engine."""
    async with running_planes(tmp_path, Settings(**settings)) as planes:
        key = settings.get("api_keys", (None,))[0]
        await planes.load("org/model", key=key)
        await planes.load("cross-encoder/one", key=key)
        async with opened(str(getattr(planes, plane).base_url).rstrip("/"), "/docs") as page:
            yield page


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
