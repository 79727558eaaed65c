"""A real browser for pages that a server writes: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright import async_api

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SHOTS = os.environ.get("INGRAIN_SCREENSHOTS")
_SERIOUS = ("serious", "critical")

needs_browser = pytest.mark.skipif(_CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")


@asynccontextmanager
async def opened(base: str, path: str, *, width: int = 1100) -> AsyncIterator[Any]:
    """Open a page; fail on errors in it, on what its content policy forbids, and on requests to other hosts."""
    async with async_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        # Colours that fade into each other would be measured on their way.
        page = await browser.new_page(viewport={"width": width, "height": 800}, reduced_motion="reduce")
        page.set_default_timeout(120_000)
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda sent: troubles.append(sent.url) if not sent.url.startswith((base, "data:")) else None)
        await page.goto(f"{base}{path}")
        try:
            yield page
        finally:
            await browser.close()
        assert troubles == []


async def checked(page: Any, name: str) -> None:
    """Look for serious faults of accessibility; keep a picture if ``INGRAIN_SCREENSHOTS`` names a folder."""
    if _SHOTS:
        await page.screenshot(path=Path(_SHOTS) / f"{name}.png", full_page=True)
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run()")
    assert found["passes"], "axe has checked nothing"
    serious = [one for one in found["violations"] if one["impact"] in _SERIOUS]
    assert not serious, [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious]
