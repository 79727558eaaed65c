"""The console in a real browser: needs Chromium (Debian's package), else it is skipped. axe-core checks each view.

``INGRAIN_SCREENSHOTS`` names a folder for pictures of each view.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from browser import checked, needs_browser, opened
from ingrain.settings import Settings
from planes import running_planes

pytestmark = [pytest.mark.slow, needs_browser]
PIXEL = Path(__file__).with_name("pixel.png")


@asynccontextmanager
async def console(tmp_path, *, width=1100, **settings):
    """Open the console of two planes with the fake engine."""
    async with running_planes(tmp_path, Settings(**settings)) as planes:
        key = settings.get("api_keys", (None,))[0]
        for name, library in (("org/model", "sentence_transformers"), ("clip", "open_clip")):
            await planes.load(name, library, key=key)
        await planes.load("cross-encoder/one", key=key)
        async with opened(str(planes.model.base_url).rstrip("/"), "/ui", width=width) as page:
            yield planes, page


async def go(page, view):
    await page.click(f"nav >> text={view}")
    await page.wait_for_selector("main h2, main p")


async def test_a_load_shows_its_progress_and_can_be_stopped(tmp_path):
    async with console(tmp_path) as (planes, page):
        planes.export.hold = asyncio.Event()
        await page.get_by_label("Name").fill("org/new")
        await page.click("button:text-is('Load')")
        await page.wait_for_selector("text=converts 1 of 4 graphs")
        assert await page.get_attribute("progress", "value") == "0.25"
        await checked(page, "models")
        await page.click("text=Stop")
        await page.wait_for_selector("text=was stopped")
        planes.export.hold = None
        await page.click("button:text-is('Load')")
        await page.wait_for_selector("text=is ready")
        await page.click("[aria-label='Unload org/new']")
        await page.click("[aria-label='Load org/new']")
        await page.wait_for_selector("[aria-label='Unload org/new']")


async def test_texts_and_pictures_are_tried(tmp_path):
    async with console(tmp_path) as (_, page):
        await go(page, "Try")
        await page.fill("textarea", "red green\nblue")
        await page.click("button:text-is('Run')")
        await page.wait_for_selector("text=8 dimensions · length 1.000 · 4 tokens · not cut")
        await page.click("summary")
        assert "/embed_text" in await page.inner_text("pre:has-text('curl')")
        await checked(page, "try")
        await page.select_option("select", label="clip: Embed pictures")
        await page.set_input_files("input[type=file]", PIXEL)
        await page.wait_for_selector(".pictures img")
        await page.click("button:text-is('Run')")
        await page.wait_for_selector("h3:has-text('picture 1')")


async def test_a_matrix_compares_texts_with_pictures(tmp_path):
    async with console(tmp_path) as (_, page):
        await go(page, "Similarity")
        await page.select_option("select", label="clip")
        await page.fill("textarea", "red\nblue green")
        await page.set_input_files("input[type=file]", PIXEL)
        await page.wait_for_selector(".pictures img")
        await page.click("text=Compare")
        await page.wait_for_selector(".heat")
        values = await page.locator(".heat tbody td").all_inner_texts()
        assert len(values) == 9
        assert [values[place] for place in (0, 4, 8)] == ["1.00"] * 3
        await checked(page, "similarity")


async def test_lines_are_searched_and_reranked(tmp_path):
    async with console(tmp_path) as (_, page):
        await go(page, "Search")
        await page.click("button:text-is('Search')")
        await page.wait_for_selector("h3:has-text('By the reranker')")
        assert await page.locator("table").nth(0).locator("tr").count() == 6
        await checked(page, "search")
        await go(page, "Labels")
        await page.set_input_files("input[type=file]", PIXEL)
        await page.wait_for_selector(".pictures img")
        await page.click("button:text-is('Label')")
        await page.wait_for_selector("td:has-text('weather')")
        await checked(page, "labels")


async def test_the_traffic_is_shown_as_it_comes(tmp_path):
    async with console(tmp_path) as (planes, page):
        await go(page, "Traffic")
        await page.wait_for_selector(".tile")
        for _ in range(20):
            await planes.embed("red green")
        await page.wait_for_selector(r".tile:has-text('requests/s') b:text-matches('[1-9]')")
        assert re.search(r"ms", await page.inner_text(".tile:has-text('p99')"))
        await checked(page, "traffic")


async def test_a_key_is_asked_for_and_used(tmp_path):
    async with console(tmp_path, api_keys=("good",)) as (_, page):
        await page.wait_for_selector("#notice:has-text('Enter a key above')")
        await page.fill("#key", "good")
        await page.press("#key", "Enter")
        await page.wait_for_selector("td:has-text('org/model')")
        assert await page.is_hidden("#notice")


@pytest.mark.parametrize("width", [360, 1100])
async def test_a_narrow_and_a_dark_page_hold_everything(tmp_path, width):
    async with console(tmp_path, width=width) as (_, page):
        await page.wait_for_selector("td:has-text('org/model')")
        await page.click("#theme")
        assert await page.get_attribute("html", "data-theme") == "dark"
        for view in ("Models", "Try", "Similarity", "Search", "Labels", "Traffic"):
            await go(page, view)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await checked(page, f"{view.lower()}-dark-{width}")


async def test_the_keyboard_reaches_every_view(tmp_path):
    async with console(tmp_path) as (_, page):
        await page.wait_for_selector("td:has-text('org/model')")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        for _ in range(3):
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("nav a[aria-current=page]:text-is('Similarity')")
